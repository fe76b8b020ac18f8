"""A step or a gradient: how the change depends on similarity."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from persona_leakage.analysis.estimate import UNKNOWN, Estimate
from persona_leakage.analysis.ranks import Floats, constant, levels
from persona_leakage.analysis.two_way import Resampled, mean_draws, percentile, rho_draws, taken

Shape = Literal["none", "step", "gradient", "cannot tell"]

FEWEST = 12  # personas of a group, for a step and a slope on each of its sides
SIDE = 4  # personas on a side of a step, at least
MARGIN = 0.05  # of the outcome's range: a difference that does not count
FAMILY, OUTSIDE = 0, 1  # the groups of a ``Resampled``


@dataclass(frozen=True)
class Steps:
    """What a step explains, and what it leaves to a gradient.

    Attributes
    ----------
    shape : str
        See ``shape_of``.
    between : Estimate
        The family's mean change minus that of the others.
    step, slope : Estimate
        Within the family: change at the best single step of similarity, nearer side minus farther;
        and the slope within both sides, as a change over the family's whole range of ranks. Both in
        the unit of the changes.
    outside_slope : Estimate
        The same slope among the others.
    """

    shape: Shape
    between: Estimate
    step: Estimate
    slope: Estimate
    outside_slope: Estimate


def shape_of(
    resampled: Resampled,
    similarity: Floats,
    *,
    reach: float,
    direction: Literal[-1, 1],
    by_similarity: bool,
) -> Steps:
    """Tell a step from a gradient.

    Personas that fall for what they are, and not for how near they are, fall alike: being of the
    source's family is one such step, any threshold of similarity another. Both are taken out, the
    threshold where it explains most (a regression tree of one split; Breiman et al. 1984), within
    the family and among the others apart. What similarity still explains on the two sides of that
    threshold is a gradient:

    - *gradient*: the slope that is left is in the taught direction, its interval without zero;
    - *step*: the family differs from the others, or its nearer half from its farther, but the
      interval of the slope left includes zero and excludes half of what a straight line of that
      difference has;
    - *none*: the family differs from the others by less than 5 % of the outcome's range, and no
      rho's interval is without zero in the taught direction;
    - *cannot tell*: anything else, and any set of personas chosen by their similarity, in which
      relatives are near by selection.

    Parameters
    ----------
    resampled : Resampled
        With the family as its first group and the others as its second.
    similarity : ndarray of shape (personas,)
        To the source.
    reach : float
        The outcome's range.
    direction : {-1, 1}
        Taught.
    by_similarity : bool
        Whether similarity chose who was asked.
    """
    family, others = (mean_draws(resampled, [group]) for group in (FAMILY, OUTSIDE))
    between = percentile(family[0] - others[0], family[1] - others[1])
    step, slope = _steps(resampled, similarity, FAMILY)
    _, outside_slope = _steps(resampled, similarity, OUTSIDE)
    rhos = [percentile(*rho_draws(resampled, similarity, [group])) for group in (FAMILY, OUTSIDE)]
    return Steps(
        _verdict(between, step, slope, outside_slope, rhos, reach, direction, by_similarity),
        between,
        step,
        slope,
        outside_slope,
    )


def _verdict(
    between: Estimate,
    step: Estimate,
    slope: Estimate,
    outside_slope: Estimate,
    rhos: list[Estimate],
    reach: float,
    direction: Literal[-1, 1],
    by_similarity: bool,
) -> Shape:
    if by_similarity:
        return "cannot tell"
    if any(_taught(each, direction) for each in (slope, outside_slope)):
        return "gradient"
    follows = any(_taught(rho, direction) for rho in rhos)
    small = -MARGIN * reach < between.low and between.high < MARGIN * reach
    if small and not follows:
        return "none"
    # a straight line that makes the difference between two halves is twice as high over the whole
    steps = [
        direction * difference.value
        for difference, found in ((between, _taught(between, direction)), (step, follows))
        if found and np.isfinite(difference.value)
    ]
    steepest = max(direction * slope.low, direction * slope.high)
    if steps and np.isfinite(steepest) and steepest < max(steps):
        return "step"
    return "cannot tell"


def _taught(estimate: Estimate, direction: Literal[-1, 1]) -> bool:
    return estimate.excludes(0.0) and direction * estimate.value > 0


def _steps(resampled: Resampled, similarity: Floats, group: int) -> tuple[Estimate, Estimate]:
    members, drawn = taken(resampled, [group])
    if len(members) < FEWEST or constant(similarity[members]):
        return UNKNOWN, UNKNOWN
    place = np.zeros(len(similarity))
    place[members] = levels(similarity[members])
    place[members] /= place[members].max()
    order = np.sort(place[members]), np.argsort(place[members], kind="stable")
    observed = _split(order[0][None], resampled.mean[members][order[1]][None])
    x = place[drawn]
    by_place = np.argsort(x, axis=1, kind="stable")
    y = np.take_along_axis(np.take_along_axis(resampled.means, drawn, axis=1), by_place, axis=1)
    draws = _split(np.take_along_axis(x, by_place, axis=1), y)
    step, slope = (
        percentile(float(one[0]), many) for one, many in zip(observed, draws, strict=True)
    )
    return step, slope


def _split(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Best split of each row by place, and the common slope within both of its sides.

    Rows are sorted by x, from 0 to 1; equal x stay on one side.
    """
    size = x.shape[1]
    count = np.arange(SIDE, size - SIDE + 1)
    sums = np.cumsum(y, axis=1)
    low, all_ = sums[:, count - 1], sums[:, -1:]
    gain = (low / count - all_ / size) ** 2 * count * size / (size - count)
    gain[x[:, count - 1] == x[:, count]] = -1.0  # not between equals
    cut = count[gain.argmax(axis=1)]
    near = np.arange(size) >= cut[:, None]

    def about(values: Floats) -> Floats:
        above = (values * near).sum(axis=1) / near.sum(axis=1)
        below = (values * ~near).sum(axis=1) / (~near).sum(axis=1)
        return values - np.where(near, above[:, None], below[:, None])

    lower = np.take_along_axis(sums, cut[:, None] - 1, axis=1)[:, 0]
    step = (all_[:, 0] - lower) / (size - cut) - lower / cut
    left = about(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (left * y).sum(axis=1) / (left**2).sum(axis=1)
    return step, slope
