"""How two sides go together over personas: correlation and partial correlation, with tests."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from persona_leakage.analysis.ranks import ROUNDING, Floats, constant, levels

RESAMPLES = 10_000
TAILS = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class Correlation:
    """A rank or linear correlation over personas.

    Attributes
    ----------
    r : float
        The coefficient; not a number when one side is constant or holds what is not a number.
    p : float
        Two-sided permutation p-value.
    low, high : float
        95 % bootstrap interval over personas.
    n : int
        Number of personas.
    """

    r: float
    p: float
    low: float
    high: float
    n: int


def _none(personas: int) -> Correlation:
    nan = float("nan")
    return Correlation(nan, nan, nan, nan, personas)


def correlation(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    method: Literal["spearman", "pearson"],
    *,
    seed: int,
) -> Correlation:
    """Correlate with a permutation p-value and a bootstrap interval, 10,000 seeded resamples each.

    Bootstrap samples with a constant side have no correlation and are left out.

    Parameters
    ----------
    x, y : array-like of shape (personas,)
        Values that differ by rounding alone share a rank.
    method : {"spearman", "pearson"}
        Over ranks, or over the values.
    seed : int
        Of the permutations and of the bootstrap.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(a) < 3 or not _all_finite(a, b) or constant(a) or constant(b):
        return _none(len(a))
    places = levels(a), levels(b)
    ranked = method == "spearman"
    ra, rb = (stats.rankdata(each) for each in places) if ranked else (a, b)
    rng = np.random.default_rng(seed)
    permuted = rng.permuted(np.broadcast_to(rb, (RESAMPLES, len(b))), axis=1)
    p = _two_sided(_pearson(ra, permuted), _pearson(ra, rb))
    index = rng.integers(len(a), size=(RESAMPLES, len(a)))
    if ranked:
        sa, sb = (stats.rankdata(each[index], axis=1) for each in places)
    else:
        sa, sb = a[index], b[index]
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = _pearson(sa, sb)
    for each in places:
        resampled[np.ptp(each[index], axis=1) == 0] = np.nan
    low, high = np.nanpercentile(resampled, TAILS)
    return Correlation(float(_pearson(ra, rb)), p, float(low), float(high), len(a))


def partial_correlation(
    x: npt.ArrayLike, y: npt.ArrayLike, given: npt.ArrayLike, *, seed: int
) -> Correlation:
    """Spearman correlation of what ``given`` leaves unexplained in the ranks of both sides.

    Ranks of x and y are regressed on the ranks of the covariates; the residuals are correlated
    (Kendall & Stuart 1979, chapter 27). The p-value is of ``freedman_lane``; the interval is a
    bootstrap over personas.

    Parameters
    ----------
    x, y : array-like of shape (personas,)
        Values that differ by rounding alone share a rank.
    given : array-like of shape (personas, covariates)
        A covariate that is the same for all personas explains nothing and is ignored. One that
        explains a side fully leaves nothing to correlate: not a number.
    seed : int
        Of the permutations and of the bootstrap.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    z = np.asarray(given, dtype=float)
    z = z[:, None] if z.ndim == 1 else z
    if len(a) < z.shape[1] + 4 or not _all_finite(a, b, z) or constant(a) or constant(b):
        return _none(len(a))
    places = np.stack([levels(values) for values in (a, b, *z.T)])
    ranks = stats.rankdata(places, axis=1)
    observed = float(_partial(ranks))
    if np.isnan(observed):
        return _none(len(a))
    rng = np.random.default_rng(seed)
    p = freedman_lane(ranks[0], ranks[1], ranks[2:].T, rng)
    draws = rng.integers(len(a), size=(RESAMPLES // 10, len(a)))
    resampled = _partial(stats.rankdata(places[:, draws].swapaxes(0, 1), axis=2))
    low, high = np.nanpercentile(resampled, TAILS)
    return Correlation(observed, p, float(low), float(high), len(a))


def freedman_lane(
    x: Floats, y: Floats, given: Floats, rng: np.random.Generator, resamples: int = RESAMPLES
) -> float:
    """Two-sided permutation p-value of the partial correlation of x and y (Freedman & Lane 1983).

    What the covariates leave of y is permuted, added to what they explain, and *regressed on them
    again*: without that last step (Kennedy 1995) few personas give p-values that are too small
    (Winkler et al. 2014).

    Parameters
    ----------
    x, y : ndarray of shape (personas,)
        The two sides.
    given : ndarray of shape (personas, covariates)
        What is held constant.
    rng : numpy.random.Generator
        Draws the permutations.
    resamples : int
        Their number.
    """
    design = np.column_stack([np.ones(len(y)), given])
    residuals = np.eye(len(y)) - design @ np.linalg.pinv(design)
    left_x, left_y = residuals @ x, residuals @ y
    permuted = rng.permuted(np.broadcast_to(left_y, (resamples, len(y))), axis=1)
    # what the covariates explain of y they explain in each permutation: it drops out here
    again = permuted @ residuals
    return _two_sided(_pearson(left_x, again), _pearson(left_x, left_y))


def _partial(ranks: Floats) -> Floats:
    """Partial correlation of the first two of (..., 2 + covariates, personas) ranks.

    Not a number where the covariates explain either fully.
    """
    centred = (ranks - ranks.mean(axis=-1, keepdims=True)).swapaxes(-1, -2)
    sides, given = centred[..., :2], centred[..., 2:]
    left = sides - given @ (np.linalg.pinv(given) @ sides)
    nothing = np.linalg.norm(left, axis=-2) <= ROUNDING * np.linalg.norm(sides, axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = _pearson(left[..., 0], left[..., 1])
    return np.where(nothing.any(axis=-1), np.nan, r)


def _two_sided(permuted: Floats, observed: Floats) -> float:
    """Share of permutations at least as extreme, the observed one included.

    p = (1 + number at least as extreme) / (1 + permutations): Phipson & Smyth 2010.
    """
    extreme = np.abs(permuted) >= np.abs(observed) - ROUNDING
    return (1 + int(extreme.sum())) / (1 + len(permuted))


def _pearson(a: Floats, b: Floats) -> Floats:
    a = a - a.mean(axis=-1, keepdims=True)
    b = b - b.mean(axis=-1, keepdims=True)
    r: Floats = (a * b).sum(axis=-1) / np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return r


def _all_finite(*sides: Floats) -> bool:
    return all(bool(np.isfinite(side).all()) for side in sides)
