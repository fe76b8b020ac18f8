"""Is the gradient this source's? Its rho among those of personas pretended to be the source."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from persona_leakage.analysis.ranks import ROUNDING, Floats, constant, levels
from persona_leakage.analysis.surrogates import surrogates

RESAMPLES = 1_999
FEWEST = 5  # bystanders, and pretenders


@dataclass(frozen=True)
class PseudoSource:
    """How a source's rho stands among those of pretended sources.

    Attributes
    ----------
    rho : float
        The source's; not a number where it cannot be had.
    place : int
        Where it stands, steepest in the taught direction first; 0 where it cannot be had.
    pretenders : int
        Personas that it is compared with, itself included.
    middle, spread : float
        Mean and standard deviation of the pretenders' rhos, the source's not among them.
    p : float
        Two-sided.
    """

    rho: float
    place: int
    pretenders: int
    middle: float
    spread: float
    p: float


def pseudo_source(
    change: pd.Series,
    similarity: pd.DataFrame,
    source: str,
    family: Collection[str],
    clusters: Mapping[str, str],
    direction: Literal[-1, 1],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> PseudoSource:
    """Compare the source's rho with those of everyone outside its family, as if they were it.

    Rho of a persona is Spearman's correlation of the bystanders' similarity to it with their
    changes, without itself. Where all bystanders that are far from any character improve, every
    rho has the same sign, and where the geometry has few directions they come in a few bundles:
    neither the size of rho nor its bare rank among the others is evidence. What is compared is
    therefore the source's *standing*: its distance from the pretenders' mean rho, in their standard
    deviations. What standing chance gives is not read from the pretenders either, since a family
    that moves together counts once, not fifty times, and the source's own is left out: it is drawn
    from ``surrogates``, smooth damage that is as likely as the damage observed and has nothing to
    do with the source. The p-value is the share of surrogates that let the source stand as far from
    its pretenders on either side (with the observed one: Phipson & Smyth 2010).

    What the bare rank and the standing do in simulated studies is in ``docs/statistics.md``: at
    a level of .05 the rank rejects a true null in a fifth to two fifths of them.

    Parameters
    ----------
    change : Series
        Mean change of each bystander, by persona. The source is not among them.
    similarity : DataFrame
        Square, of all personas; those outside the family are the pretenders, bystanders or not.
    source : str
        Who was trained.
    family : collection of str
        The source's, itself included.
    clusters : mapping of str to str
        Who may share an effect.
    direction : {-1, 1}
        Which way the taught behaviour moves the outcome.
    seed : int
        Of the surrogates.
    resamples : int
        Their number.

    Returns
    -------
    PseudoSource
        Not a number with fewer than five bystanders or pretenders, or where the source's
        similarities or the changes are constant or not all numbers.
    """
    everyone = list(similarity.index)
    bystanders = list(change.index)
    pretenders = [name for name in everyone if name not in family and name != source]
    values = change.to_numpy(float)
    square = similarity.to_numpy(float)
    at = {name: row for row, name in enumerate(everyone)}
    asked = np.array([at[name] for name in bystanders], dtype=np.int64)
    nan = float("nan")
    none = PseudoSource(nan, 0, len(pretenders) + 1, nan, nan, nan)
    if min(len(bystanders), len(pretenders)) < FEWEST or not np.isfinite(values).all():
        return none
    if not np.isfinite(square).all() or constant(values) or constant(square[at[source], asked]):
        return none
    candidates = np.array([at[source], *(at[name] for name in pretenders)])
    toward = square[np.ix_(candidates, asked)]
    # a bystander's own place among the bystanders, which it leaves when it is pretended
    own = np.array([_place(asked, candidate) for candidate in candidates])
    rho = _rhos(toward, own, values)
    kept = np.isfinite(rho)
    middle, spread = float(rho[1:][kept[1:]].mean()), float(rho[1:][kept[1:]].std())
    if kept[1:].sum() < FEWEST or spread <= ROUNDING:
        return none
    rng = np.random.default_rng(seed)
    inside = square[np.ix_(asked, asked)]
    drawn = surrogates(values, inside, [clusters[name] for name in bystanders], rng, resamples)
    standing = _standings(toward[kept], own[kept], drawn)
    observed = abs(rho[0] - middle) / spread
    steeper = direction * rho[1:][kept[1:]] >= direction * rho[0] - ROUNDING
    return PseudoSource(
        rho=float(rho[0]),
        place=1 + int(steeper.sum()),
        pretenders=int(kept.sum()),
        middle=middle,
        spread=spread,
        p=(1 + int((standing >= observed - ROUNDING).sum())) / (1 + resamples),
    )


def _place(asked: npt.NDArray[np.int64], candidate: int) -> int:
    found = np.flatnonzero(asked == candidate)
    return int(found[0]) if len(found) else -1


def _rhos(toward: Floats, own: npt.NDArray[np.int64], change: Floats) -> Floats:
    """Spearman's rho of each candidate, over the bystanders without itself."""
    ranks = np.broadcast_to(stats.rankdata(levels(change)), toward.shape)
    rhos: Floats = (_apart(_ranks(toward), own) * _apart(ranks, own)).sum(axis=1)
    return rhos


def _ranks(toward: Floats) -> Floats:
    ranks: Floats = stats.rankdata([levels(row) for row in toward], axis=1)
    return ranks


def _apart(ranks: Floats, own: npt.NDArray[np.int64]) -> Floats:
    """Ranks of each row without its own persona, centred and of unit length, 0 at its own place.

    Not numbers where they are all the same.
    """
    rows = np.flatnonzero(own >= 0)
    self = np.full((len(ranks), 1), np.inf)
    self[rows, 0] = ranks[rows, own[rows]]
    # those above it move down by one, those that tie with it by a half
    left = ranks - (ranks > self) - 0.5 * (ranks == self)
    left[rows, own[rows]] = 0
    left -= left.sum(axis=1, keepdims=True) / (left.shape[1] - np.isfinite(self))
    left[rows, own[rows]] = 0
    with np.errstate(invalid="ignore", divide="ignore"):
        unit: Floats = left / np.linalg.norm(left, axis=1, keepdims=True)
    return unit


def _standings(toward: Floats, own: npt.NDArray[np.int64], drawn: Floats) -> Floats:
    """How far the first candidate's rho stands from the others', for each surrogate.

    Surrogates have no ties: leaving out one persona lowers the ranks above its own by one.
    """
    ranks = drawn.argsort(axis=1).argsort(axis=1).astype(float)
    sides = _apart(_ranks(toward), own)
    rhos = ranks @ sides.T
    for number, self in enumerate(own):
        if self >= 0:
            rhos[:, number] -= (ranks > ranks[:, [self]]) @ sides[number]
    size = drawn.shape[1] - (own >= 0)
    rhos /= np.sqrt(size * (size**2 - 1) / 12)
    middle, spread = rhos[:, 1:].mean(axis=1), rhos[:, 1:].std(axis=1)
    standing: Floats = np.abs(rhos[:, 0] - middle) / spread
    return standing
