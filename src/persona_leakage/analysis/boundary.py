"""The leakage boundary: a logistic curve of outcome over cosine, and who does not follow it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from scipy.special import expit

from persona_leakage.analysis.ranks import ROUNDING, Floats, constant
from persona_leakage.study.outcome import Outcome

RESAMPLES = 1_000
SPAN = 2 * math.log(9)  # a logistic curve goes from 90 % to 10 % over this many of its scales
FEWEST = 8  # personas: two for each of the four parameters
LEVEL = 0.05  # of the test of the fit, and share of cells without outliers in which one is named
PARAMETERS = ("midpoint", "width", "floor", "ceiling")
NORMAL_95 = float(stats.norm.isf(0.025))


class Fitted(Protocol):
    """What is read of a boundary, fitted now or read back."""

    @property
    def width(self) -> float:
        """In cosines."""

    @property
    def low(self) -> dict[str, float]:
        """Lower ends, by parameter."""

    @property
    def high(self) -> dict[str, float]:
        """Upper ends, by parameter."""


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
        95 % parametric bootstrap interval of each parameter.
    p : float
        Permutation p-value of the curve against a constant, one-sided: nearer personas moved in
        the direction of the behaviour.
    dispersion : float
        Chi-squared over degrees of freedom of the residuals: 1 where personas lie off the curve by
        no more than the noise of their questions.
    fit_p : float
        Of that chi-squared: below ``LEVEL`` the curve does not hold.
    spread, cutoff : float
        Robust standard deviation of the residuals over their standard errors, and how many of them
        make an outlier: in one cell of twenty without any, one persona exceeds it.
    grid, lower, upper : list of float
        Cosines, and the 95 % band of the curve over them.
    personas : int
        How many it was fitted to, outliers included.
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
    dispersion: float
    fit_p: float
    spread: float
    cutoff: float
    grid: list[float]
    lower: list[float]
    upper: list[float]
    personas: int
    direction: Literal[-1, 1]
    reason: str | None

    @property
    def has_curve(self) -> bool:
        """Whether the outcome follows the cosine, and along a logistic curve."""
        return bool(self.grid)

    @property
    def fits(self) -> bool:
        """Whether the noise of the questions explains how far personas lie off the curve."""
        return self.fit_p >= LEVEL

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
    reason: str,
    personas: int,
    direction: Literal[-1, 1],
    p: float = math.nan,
    dispersion: float = math.nan,
    fit_p: float = math.nan,
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
    dispersion, fit_p : float
        How far personas lie off the curve, where one was fitted.
    """
    nan = math.nan
    return Boundary(
        midpoint=nan,
        width=nan,
        floor=nan,
        ceiling=nan,
        low={},
        high={},
        p=p,
        dispersion=dispersion,
        fit_p=fit_p,
        spread=nan,
        cutoff=nan,
        grid=[],
        lower=[],
        upper=[],
        personas=personas,
        direction=direction,
        reason=reason,
    )


def _noise(table: pd.DataFrame, expected: Floats, outcome: Outcome) -> Floats:
    """Find the standard errors of the personas' mean outcomes over their questions.

    Binomial around what is expected for an outcome of two values, else read off the 95 % interval.
    """
    if outcome.binary:
        span, count = outcome.high - outcome.low, table["questions"].to_numpy(float)
        share = np.clip((expected - outcome.low) / span, 1 / (4 * count), 1 - 1 / (4 * count))
        errors: Floats = span * np.sqrt(share * (1 - share) / count)
    else:
        errors = (table["after_high"] - table["after_low"]).to_numpy(float) / (2 * NORMAL_95)
    return errors


def fit(
    table: pd.DataFrame, outcome: Outcome, *, seed: int, resamples: int = RESAMPLES
) -> Boundary:
    """Fit ``floor + (ceiling - floor) / (1 + exp(2 ln 9 (cosine - midpoint) / width))``.

    Least squares over personas, floor and ceiling within the outcome's bounds, the midpoint within
    the observed cosines; started from the best of a grid of shapes, where floor and ceiling follow
    in closed form. Outliers are set aside (see ``outliers``), one persona in fifty at most, and the
    rest must fit: chi-squared of the residuals over the noise of the questions. Intervals are
    percentile intervals of a parametric bootstrap (Efron & Tibshirani 1993, section 6.5): around
    the curve, every persona is drawn again with the noise of its questions (or with more, where the
    residuals exceed it), and the curve is fitted again. An outcome that the behaviour raises is
    fitted upside down.

    Parameters
    ----------
    table : DataFrame
        Bystanders of ``persona_table``: ``raw``, ``after``, ``questions``; ``after_low``,
        ``after_high`` where the outcome has more than two values.
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
        more than chance would have it (p >= 0.05), when it follows it along another curve, or when
        its middle is at the end of the range.
    """
    x, levels = (table[name].to_numpy(float) for name in ("raw", "after"))
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
    shapes, near = _shapes(x)
    error_of_all, start = _best(shapes, near, y[None])
    permuted = rng.permuted(np.broadcast_to(y, (resamples, len(y))), axis=1)
    errors, _ = _best(shapes, near, permuted)
    p = float((1 + (errors <= error_of_all + ROUNDING * (y**2).sum()).sum()) / (1 + resamples))
    verb, noun = ("falls", "fall") if outcome.direction < 0 else ("rises", "rise")
    if p >= LEVEL:
        return no_boundary(
            f"a curve that {verb} with the cosine fits no better than a constant (p {p:.2g})",
            len(x),
            outcome.direction,
            p,
        )
    bounds = _bounds(x)
    fitted = _solve(x, y[None], start, bounds)
    noise = _question_noise(table, fitted, outcome)
    if not (noise > 0).all():  # nor where it is not a number
        return no_boundary(
            f"the noise of a persona's {outcome.name} is not known", len(x), outcome.direction, p
        )
    cutoff = _cutoff(x, *_redrawn(x, fitted, noise, bounds, rng, min(resamples, 500)), noise)
    kept = np.ones(len(x), dtype=bool)
    most = max(1, len(x) // 50)  # more are no outliers but another curve
    for _ in range(5):
        residual = (y - _curves(x, fitted)[0]) / noise
        spread = float(_spread(residual[None, kept])[0])
        inside = np.abs(residual) <= cutoff * spread
        if (inside == kept).all() or (~inside).sum() > most or spread <= ROUNDING:
            break
        kept = inside
        fitted = _solve(x[kept], y[None, kept], fitted, bounds)
        noise = _question_noise(table, fitted, outcome)
    residual = (y - _curves(x, fitted)[0]) / noise
    spread = float(_spread(residual[None, kept])[0])
    freedom = int(kept.sum()) - len(PARAMETERS)
    chi_squared = float((residual[kept] ** 2).sum())
    dispersion, fit_p = chi_squared / freedom, float(stats.chi2.sf(chi_squared, freedom))
    if fit_p < LEVEL:
        return no_boundary(
            "a logistic curve does not hold: the squared distances from it are "
            f"{dispersion:.1f} times what the noise of the questions makes",
            len(x),
            outcome.direction,
            p,
            dispersion,
            fit_p,
        )
    reason = None
    edge = 0.01 * np.ptp(x)
    midpoint, width, floor, ceiling = _readable(fitted)[0]
    if not x.min() + edge < midpoint < x.max() - edge:
        side = "nearest" if midpoint > x.mean() else "farthest"
        reason = f"the middle of the {noun} lies beyond the {side} persona asked"
    wide = noise[kept] * math.sqrt(max(1.0, dispersion))
    _, drawn = _redrawn(x[kept], fitted, wide, bounds, rng, resamples)
    grid = np.linspace(x.min(), x.max(), 101)
    tails = [2.5, 97.5]
    lower, upper = np.percentile(_upright(_curves(grid, drawn), outcome, back=True), tails, axis=0)
    ends = np.sort(_upright(_readable(drawn)[:, 2:], outcome, back=True), axis=1)
    low, high = np.percentile(np.column_stack([_readable(drawn)[:, :2], ends]), tails, axis=0)
    floor, ceiling = sorted(_upright(np.array([floor, ceiling]), outcome, back=True).tolist())
    return Boundary(
        midpoint=float(midpoint),
        width=float(width),
        floor=floor,
        ceiling=ceiling,
        low=dict(zip(PARAMETERS, low.tolist(), strict=True)),
        high=dict(zip(PARAMETERS, high.tolist(), strict=True)),
        p=p,
        dispersion=dispersion,
        fit_p=fit_p,
        spread=spread,
        cutoff=cutoff,
        grid=grid.tolist(),
        lower=lower.tolist(),
        upper=upper.tolist(),
        personas=len(x),
        direction=outcome.direction,
        reason=reason,
    )


def _upright(values: Floats, outcome: Outcome, *, back: bool = False) -> Floats:
    """Map outcomes to fractions that the behaviour lowers, or such fractions back to outcomes."""
    span = outcome.high - outcome.low
    if back:
        values = values if outcome.direction < 0 else 1 - values
        return outcome.low + span * values
    fractions: Floats = (values - outcome.low) / span
    return fractions if outcome.direction < 0 else 1 - fractions


def _question_noise(table: pd.DataFrame, fitted: Floats, outcome: Outcome) -> Floats:
    """Noise of ``_noise`` around a curve, as a fraction of the outcome's span."""
    expected = _upright(_curves(table["raw"].to_numpy(float), fitted)[0], outcome, back=True)
    return _noise(table, expected, outcome) / (outcome.high - outcome.low)


def _bounds(x: Floats) -> tuple[Floats, Floats]:
    """Bound midpoint, logarithm of the width, floor and ceiling from below and from above."""
    narrow, wide = np.log(np.ptp(x) * np.array([0.01, 4.0]))
    return np.array([x.min(), narrow, 0.0, 0.0]), np.array([x.max(), wide, 1.0, 1.0])


def _near(x: Floats, curves: Floats) -> Floats:
    """Share of the way from ceiling to floor of each curve at each cosine: (curves, personas)."""
    near: Floats = expit((curves[:, :1] - x) * SPAN * np.exp(-curves[:, 1:2]))
    return near


def _curves(x: Floats, curves: Floats) -> Floats:
    """Fractions of (curves, 4) parameters at each cosine: (curves, personas)."""
    floor, ceiling = curves[:, 2:3], curves[:, 3:4]
    fractions: Floats = floor + (ceiling - floor) * _near(x, curves)
    return fractions


def _readable(curves: Floats) -> Floats:
    """Midpoint, width, floor and ceiling of (curves, 4) parameters."""
    return np.column_stack([curves[:, 0], np.exp(curves[:, 1]), curves[:, 2:]])


def _shapes(x: Floats) -> tuple[Floats, Floats]:
    """Midpoints and log-widths to start from: (shapes, 2), and how near each makes x."""
    shapes = np.array(
        [
            (midpoint, width)
            for midpoint in np.linspace(x.min(), x.max(), 31)
            for width in np.log(np.ptp(x) * np.geomspace(0.02, 4.0, 12))
        ]
    )
    return shapes, _near(x, shapes)


def _best(shapes: Floats, near: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Least squares of ``y = floor + (ceiling - floor) near`` for each row of ``y``, best shape.

    The optimum is inside the feasible triangle 0 <= floor <= ceiling <= 1 or on one of its edges,
    each of which has a closed form.

    Returns the squared errors (rows,), and the best curve (rows, 4).
    """
    errors, curves = [], []
    s1, sg, sgg = float(y.shape[1]), near.sum(axis=1), (near**2).sum(axis=1)
    for rows in np.array_split(y, range(100, len(y), 100)):  # bounds the memory
        sy, syy = rows.sum(axis=1, keepdims=True), (rows**2).sum(axis=1, keepdims=True)
        sgy = rows @ near.T
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
        floors = np.stack([a for a, _, _ in candidates])[kind, each, shape]
        rises = np.stack([b for _, b, _ in candidates])[kind, each, shape]
        curves.append(np.column_stack([shapes[shape], floors, floors + rises]))
    return np.concatenate(errors), np.concatenate(curves)


def _solve(x: Floats, y: Floats, start: Floats, bounds: tuple[Floats, Floats]) -> Floats:
    """Least squares of a curve for each row of ``y``: Levenberg-Marquardt over all rows at once.

    SciPy's ``least_squares`` does the same for one row, and takes a minute for two thousand. A
    parameter at a bound is held there while its gradient leads out (Nocedal & Wright 2006, sections
    10.3 and 16.7).

    Parameters
    ----------
    x : ndarray of shape (personas,)
        Cosines.
    y : ndarray of shape (rows, personas)
        Fractions.
    start : ndarray of shape (4,) or (rows, 4)
        Midpoint, logarithm of the width, floor, ceiling.
    bounds : tuple of ndarray of shape (4,)
        Of ``_bounds``.
    """
    lowest, highest = bounds
    curves = np.clip(np.broadcast_to(start, (len(y), 4)), lowest, highest)
    loss = ((_curves(x, curves) - y) ** 2).sum(axis=1)
    damping = np.full(len(y), 1e-3)
    active = np.arange(len(y))
    for _ in range(30):
        here = curves[active]
        near, scale = _near(x, here), SPAN * np.exp(-here[:, 1:2])
        rise = here[:, 3:4] - here[:, 2:3]
        residual = here[:, 2:3] + rise * near - y[active]
        steep = rise * near * (1 - near) * scale
        jacobian = np.stack([steep, -steep * (here[:, :1] - x), 1 - near, near], axis=1)
        gradient = np.einsum("rpn,rn->rp", jacobian, residual)
        hessian = np.einsum("rpn,rqn->rpq", jacobian, jacobian)
        held = ((here <= lowest) & (gradient > 0)) | ((here >= highest) & (gradient < 0))
        free = ~held
        hessian = hessian * free[:, :, None] * free[:, None, :]
        diagonal = np.einsum("rpp->rp", hessian)
        ridge = damping[active, None] * diagonal + 1e-12 + held
        step = np.linalg.solve(
            hessian + ridge[:, :, None] * np.eye(4), (gradient * free)[..., None]
        )
        there = np.clip(here - step[..., 0], lowest, highest)
        new = ((_curves(x, there) - y[active]) ** 2).sum(axis=1)
        better = new < loss[active]
        gained = (loss[active] - new) > 1e-6 * loss[active]
        curves[active[better]], loss[active[better]] = there[better], new[better]
        damping[active] *= np.where(better, 0.2, 4.0)
        active = active[np.where(better, gained, damping[active] < 1e8)]
        if not len(active):
            break
    return curves


def _redrawn(
    x: Floats,
    fitted: Floats,
    noise: Floats,
    bounds: tuple[Floats, Floats],
    rng: np.random.Generator,
    resamples: int,
) -> tuple[Floats, Floats]:
    """Draw every persona around the curve, and fit again: (resamples, personas), (resamples, 4)."""
    around = rng.normal(_curves(x, fitted), noise, size=(resamples, len(x)))
    y = np.clip(around, 0, 1)
    return y, _solve(x, y, fitted, bounds)


def _spread(residuals: Floats) -> Floats:
    """Robust standard deviation of each row: 1.4826 times the median absolute residual."""
    spread: Floats = 1.4826 * np.median(np.abs(residuals), axis=1)
    return spread


def _cutoff(x: Floats, y: Floats, curves: Floats, noise: Floats) -> float:
    """How far, in robust standard deviations, the farthest persona of a cell without outliers is.

    The 95th percentile over what was drawn around the curve: the largest of as many residuals is
    its own reference (Westfall & Young 1993).
    """
    residuals = (y - _curves(x, curves)) / noise
    farthest = np.abs(residuals).max(axis=1) / np.maximum(_spread(residuals), ROUNDING)
    return float(np.quantile(farthest, 1 - LEVEL))


def log_width(boundaries: Sequence[Fitted]) -> tuple[float, float]:
    """Logarithm of a source's width, mean over its seeds, with a standard error.

    The logarithm of a width, unlike the width, is as far from both ends of its interval. Seeds
    share their personas, so that to average them does not make the error smaller.

    Parameters
    ----------
    boundaries : sequence of Boundary or BoundaryResult
        Of one source, each without a ``reason``.
    """
    ends = np.log([[each.low["width"], each.high["width"]] for each in boundaries])
    errors = (ends[:, 1] - ends[:, 0]) / (2 * NORMAL_95)
    return float(np.log([each.width for each in boundaries]).mean()), float(errors.mean())


def outliers(table: pd.DataFrame, boundary: Boundary, outcome: Outcome) -> pd.DataFrame:
    """Personas that the curve does not explain, farthest first.

    A residual is an outlier when it lies ``boundary.cutoff`` robust standard deviations (1.4826
    times the median absolute residual, each over the noise of its questions; Huber & Ronchetti
    2009, section 5.1) or more off the curve. In 5 % of cells without an outlier one is named all
    the same.

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
    if not boundary.has_curve or table.empty or boundary.spread <= ROUNDING:
        return pd.DataFrame(columns=columns)
    expected = boundary.expected(table["raw"].to_numpy(float))
    residual = table["after"].to_numpy(float) - expected
    rated = table[["persona", "category", "raw", "after"]].assign(
        expected=expected,
        residual=outcome.scale * residual,
        z=residual / (_noise(table, expected, outcome) * boundary.spread),
    )
    odd = rated[rated["z"].abs() > boundary.cutoff].copy()
    odd["sharing"] = odd.groupby("category")["persona"].transform("size").astype(int)
    order = odd["z"].abs().sort_values(ascending=False).index
    return odd.loc[order, columns].reset_index(drop=True)
