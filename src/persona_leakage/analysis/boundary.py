"""The leakage boundary: a logistic curve of outcome over cosine, and who does not follow it."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from scipy.optimize import least_squares
from scipy.special import expit

from persona_leakage.analysis.ranks import ROUNDING, Floats, constant
from persona_leakage.study.outcome import Outcome

RESAMPLES = 2_000
SPAN = 2 * math.log(9)  # a logistic curve goes from 90 % to 10 % over this many of its scales
FEWEST = 8  # personas: two for each of the four parameters
ODD = 3.0  # robust standard deviations from which a residual is called an outlier
PARAMETERS = ("midpoint", "width", "floor", "ceiling")


@dataclass(frozen=True)
class Boundary:
    """A fitted boundary, or the reason why there is none.

    Attributes
    ----------
    midpoint : float
        Cosine at which the outcome is half-way between ceiling and floor.
    width : float
        Cosine over which it goes through the middle 80 % of that way.
    floor, ceiling : float
        Outcomes that the curve tends to, the lower and the higher; the floor is on the source's
        side where the behaviour lowers the outcome, the ceiling where it raises it.
    low, high : dict of float
        95 % bootstrap interval over personas of each parameter.
    p : float
        Permutation p-value of the curve against a constant, one-sided: nearer personas moved in
        the direction of the behaviour.
    grid, lower, upper : list of float
        Cosines, and the 95 % band of the curve over them.
    personas : int
        How many it was fitted to.
    direction : {-1, 1}
        Whether the outcome falls (-1) or rises with the cosine.
    reason : str or None
        Why no boundary can be fitted; the parameters are then not to be used. There is a curve all
        the same when the outcome follows the cosine and only the place of its middle is unknown.
    """

    midpoint: float
    width: float
    floor: float
    ceiling: float
    low: dict[str, float]
    high: dict[str, float]
    p: float
    grid: list[float]
    lower: list[float]
    upper: list[float]
    personas: int
    direction: Literal[-1, 1]
    reason: str | None

    @property
    def has_curve(self) -> bool:
        """Whether the outcome follows the cosine at all."""
        return bool(self.grid)

    def expected(self, cosine: npt.ArrayLike) -> Floats:
        """Evaluate the curve at these cosines: outcomes, of the same shape.

        Parameters
        ----------
        cosine : array-like
            Towards the source.
        """
        left = self.midpoint - np.asarray(cosine, dtype=float)
        high = expit(-self.direction * left * SPAN / self.width)  # share of the way to the ceiling
        outcomes: Floats = self.floor + (self.ceiling - self.floor) * high
        return outcomes


def no_boundary(
    reason: str, personas: int, direction: Literal[-1, 1], p: float = float("nan")
) -> Boundary:
    """Say that a boundary could not be fitted, and why.

    Parameters
    ----------
    reason : str
        Why.
    personas : int
        How many there were.
    direction : {-1, 1}
        Of the outcome.
    p : float
        Of the curve against a constant, where that was tested.
    """
    nan = float("nan")
    return Boundary(nan, nan, nan, nan, {}, {}, p, [], [], [], personas, direction, reason)


def fit(
    cosine: npt.ArrayLike,
    level: npt.ArrayLike,
    outcome: Outcome,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Boundary:
    """Fit ``floor + (ceiling - floor) / (1 + exp(2 ln 9 (cosine - midpoint) / width))``.

    Least squares over personas (each was asked as many questions), floor and ceiling within the
    outcome's bounds, the midpoint within the observed cosines. Midpoint and width are searched on a
    grid, where floor and ceiling follow in closed form, and polished with SciPy's
    ``least_squares``; intervals are expanded percentile bootstrap over personas on the same grid.
    An outcome that the behaviour raises is fitted upside down.

    Parameters
    ----------
    cosine : array-like of shape (personas,)
        Towards the source.
    level : array-like of shape (personas,)
        Mean outcome of each.
    outcome : Outcome
        Its bounds, its direction and its name.
    seed : int
        Of the bootstrap and of the permutations.
    resamples : int
        Number of either.

    Returns
    -------
    Boundary
        With ``reason`` when there are too few personas, when the outcome does not follow the cosine
        more than chance would have it (p >= 0.05), or when its middle is at the end of the range.
    """
    x, levels = np.asarray(cosine, dtype=float), np.asarray(level, dtype=float)
    if len(x) < FEWEST:
        return no_boundary(
            f"{len(x)} personas are fewer than the {FEWEST} it takes", len(x), outcome.direction
        )
    if not (np.isfinite(x).all() and np.isfinite(levels).all()):
        return no_boundary(f"a cosine or {outcome.name} is not a number", len(x), outcome.direction)
    if constant(x) or constant(levels):
        return no_boundary(
            f"all personas have the same cosine or the same {outcome.name}",
            len(x),
            outcome.direction,
        )
    y = _upright(levels, outcome)
    rng = np.random.default_rng(seed)
    _, near = _shapes(x, 31, 12)  # coarse: the test needs the error alone
    error, _ = _best(near, y[None], np.ones((1, len(x))))
    permuted = rng.permuted(np.broadcast_to(y, (resamples, len(y))), axis=1)
    errors, _ = _best(near, permuted, np.ones_like(permuted))
    p = float((1 + (errors <= error + ROUNDING * (y**2).sum()).sum()) / (1 + resamples))
    verb, noun = ("falls", "fall") if outcome.direction < 0 else ("rises", "rise")
    if p >= 0.05:
        return no_boundary(
            f"a curve that {verb} with the cosine fits no better than a constant (p {p:.2g})",
            len(x),
            outcome.direction,
            p,
        )
    # fine: the step between midpoints must be small against their interval
    shapes, near = _shapes(x, 201, 16)
    _, (closest, its_ends) = _best(near, y[None], np.ones((1, len(x))))
    start = np.array([*shapes[closest[0]], *its_ends[0]])
    midpoint, width, floor, ceiling = _polish(x, y, start, shapes)
    reason = None
    edge = 0.01 * np.ptp(x)
    if not x.min() + edge < midpoint < x.max() - edge:
        side = "nearest" if midpoint > x.mean() else "farthest"
        reason = f"the middle of the {noun} lies beyond the {side} persona asked"
    weights = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=resamples).astype(float)
    _, (which, ends) = _best(near, np.broadcast_to(y, weights.shape), weights)
    tails = _expanded_tails(len(x))
    grid = np.linspace(x.min(), x.max(), 101)
    near = expit((shapes[which, :1] - grid) * SPAN / shapes[which, 1:])
    curves = _upright(ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * near, outcome, back=True)
    lower, upper = np.percentile(curves, tails, axis=0)
    drawn = np.column_stack([shapes[which], np.sort(_upright(ends, outcome, back=True), axis=1)])
    low, high = np.percentile(drawn, tails, axis=0)
    floor, ceiling = sorted(_upright(np.array([floor, ceiling]), outcome, back=True).tolist())
    return Boundary(
        midpoint,
        width,
        floor,
        ceiling,
        dict(zip(PARAMETERS, low.tolist(), strict=True)),
        dict(zip(PARAMETERS, high.tolist(), strict=True)),
        p,
        grid.tolist(),
        lower.tolist(),
        upper.tolist(),
        len(x),
        outcome.direction,
        reason,
    )


def _upright(values: Floats, outcome: Outcome, *, back: bool = False) -> Floats:
    """Map outcomes to fractions that the behaviour lowers, or such fractions back to outcomes."""
    span = outcome.high - outcome.low
    if back:
        values = values if outcome.direction < 0 else 1 - values
        return outcome.low + span * values
    fractions: Floats = (values - outcome.low) / span
    return fractions if outcome.direction < 0 else 1 - fractions


def _expanded_tails(personas: int) -> list[float]:
    """Percentiles for a 95 % interval from few personas: wider than 2.5 and 97.5.

    The bootstrap knows nothing of the four parameters' degrees of freedom; the expanded percentile
    interval (Hesterberg 2015, section 5.4) takes the tails from Student's t.
    """
    freedom = personas - len(PARAMETERS)
    tail = 100 * stats.norm.sf(math.sqrt(personas / freedom) * stats.t.isf(0.025, freedom))
    return [tail, 100 - tail]


def _shapes(x: Floats, midpoints: int, widths: int) -> tuple[Floats, Floats]:
    """Midpoints and widths to try: (shapes, 2), and how near each makes x: (shapes, personas)."""
    shapes = np.array(
        [
            (midpoint, width)
            for midpoint in np.linspace(x.min(), x.max(), midpoints)
            for width in np.ptp(x) * np.geomspace(0.02, 4.0, widths)
        ]
    )
    return shapes, expit((shapes[:, :1] - x) * SPAN / shapes[:, 1:])


def _best(
    near: Floats, y: Floats, weights: Floats
) -> tuple[Floats, tuple[npt.NDArray[np.int64], Floats]]:
    """Least squares of ``y = floor + (ceiling - floor) near`` for each row of ``y``, best shape.

    The optimum is inside the feasible triangle 0 <= floor <= ceiling <= 1 or on one of its edges,
    each of which has a closed form.

    Returns the squared errors (rows,), and of the best: shape (rows,), floor and ceiling (rows, 2).
    """
    errors, which, ends = [], [], []
    for start in range(0, len(y), 100):  # bounds the memory
        w, rows = weights[start : start + 100], y[start : start + 100]
        s1 = w.sum(axis=1, keepdims=True)
        sy, syy = (w * rows).sum(axis=1, keepdims=True), (w * rows**2).sum(axis=1, keepdims=True)
        sg, sgg, sgy = w @ near.T, w @ (near**2).T, (w * rows) @ near.T
        with np.errstate(invalid="ignore", divide="ignore"):
            rise = (s1 * sgy - sg * sy) / (s1 * sgg - sg**2)
            inside = (sy - rise * sg) / s1
            # on the edges: floor 0; ceiling 1; flat
            from_zero = np.clip(sgy / sgg, 0, 1)
            to_one = np.clip(((sgg - sg) - (sgy - sy)) / (sgg - 2 * sg + s1), 0, 1)
            flat = np.broadcast_to(sy / s1, rise.shape)
            feasible = (inside >= 0) & (rise >= 0) & (inside + rise <= 1)
        candidates = [
            (inside, rise, feasible),
            (np.zeros_like(rise), from_zero, np.isfinite(from_zero)),
            (1 - to_one, to_one, np.isfinite(to_one)),
            (flat, np.zeros_like(rise), np.ones_like(feasible)),
        ]
        with np.errstate(invalid="ignore"):
            losses = np.stack(
                [
                    np.where(
                        allowed,
                        syy + a**2 * s1 + b**2 * sgg - 2 * a * sy - 2 * b * sgy + 2 * a * b * sg,
                        np.inf,
                    )
                    for a, b, allowed in candidates
                ]
            )
        kind, shape = np.divmod(
            losses.transpose(1, 0, 2).reshape(len(rows), -1).argmin(axis=1), losses.shape[2]
        )
        each = np.arange(len(rows))
        errors.append(losses[kind, each, shape])
        which.append(shape)
        floors = np.stack([a for a, _, _ in candidates])[kind, each, shape]
        rises = np.stack([b for _, b, _ in candidates])[kind, each, shape]
        ends.append(np.column_stack([floors, floors + rises]))
    return np.concatenate(errors), (np.concatenate(which), np.concatenate(ends))


def _polish(x: Floats, y: Floats, start: Floats, shapes: Floats) -> list[float]:
    lower = [shapes[:, 0].min(), shapes[:, 1].min(), 0.0, 0.0]
    upper = [shapes[:, 0].max(), shapes[:, 1].max(), 1.0, 1.0]

    def residuals(values: Floats) -> Floats:
        midpoint, width, floor, ceiling = values
        left: Floats = floor + (ceiling - floor) * expit((midpoint - x) * SPAN / width) - y
        return left

    solved = least_squares(residuals, np.clip(start, lower, upper), bounds=(lower, upper))
    better = 2 * solved.cost <= (residuals(start) ** 2).sum() and solved.x[2] <= solved.x[3]
    return [float(value) for value in (solved.x if better else start)]


def outliers(table: pd.DataFrame, boundary: Boundary, outcome: Outcome) -> pd.DataFrame:
    """Personas that the curve does not explain, farthest first.

    A residual is an outlier when it lies more than three robust standard deviations (1.4826 times
    the median absolute deviation; Huber & Ronchetti 2009, section 5.1) from the median residual.

    Parameters
    ----------
    table : DataFrame
        Bystanders of ``persona_table``.
    boundary : Boundary
        Of ``fit``, to these bystanders.
    outcome : Outcome
        Its scale.

    Returns
    -------
    DataFrame
        ``persona``, ``category``, ``raw``, ``after``, ``expected`` (outcomes), ``residual`` (in
        the outcome's unit), ``z`` (robust), ``sharing`` (outliers of the same category). Empty when
        there is no curve, or when most residuals are the same but for rounding.
    """
    columns = ["persona", "category", "raw", "after", "expected", "residual", "z", "sharing"]
    if not boundary.has_curve or table.empty:
        return pd.DataFrame(columns=columns)
    expected = boundary.expected(table["raw"].to_numpy(float))
    residual = outcome.scale * (table["after"].to_numpy(float) - expected)
    centre = np.median(residual)
    spread = 1.4826 * np.median(np.abs(residual - centre))
    if spread <= ROUNDING * outcome.scale * (outcome.high - outcome.low):
        return pd.DataFrame(columns=columns)
    rated = table[["persona", "category", "raw", "after"]].assign(
        expected=expected, residual=residual, z=(residual - centre) / spread
    )
    odd = rated[rated["z"].abs() > ODD].copy()
    odd["sharing"] = odd.groupby("category")["persona"].transform("size").astype(int)
    order = odd["z"].abs().sort_values(ascending=False).index
    return odd.loc[order, columns].reset_index(drop=True)
