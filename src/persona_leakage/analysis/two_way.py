"""Both other personas and other questions could have been asked: the two-way bootstrap."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import stats

from persona_leakage.analysis.estimate import UNKNOWN, Estimate
from persona_leakage.analysis.ranks import Floats, constant, levels

RESAMPLES = 1_000
TAILS = (2.5, 97.5)  # percentiles
FEWEST = 5  # personas of a correlation

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Resampled:
    """Mean changes under resampled questions, and which personas each resample holds.

    Attributes
    ----------
    mean : ndarray of shape (personas,)
        Mean change of each persona over the questions asked.
    noise : float
        Variance of such a mean over choices of questions, averaged over personas, without what a
        question does to all personas alike.
    means : ndarray of shape (resamples, personas)
        The same means over each resample's questions.
    noises, extra : ndarray of shape (resamples, personas), (resamples,)
        Noise variance that one question's answer has in each resample; by how much less the mean of
        a resample's questions, some of them drawn twice, evens it out: sum of squared shares.
    drawn : ndarray of shape (resamples, personas)
        Which personas each resample holds, group after group.
    groups : tuple of slice
        Columns of ``drawn``, by group.
    members : tuple of ndarray
        The personas of each group.
    """

    mean: Floats
    noise: float
    means: Floats
    noises: Floats
    extra: Floats
    drawn: Indices
    groups: tuple[slice, ...]
    members: tuple[Indices, ...]


def resample(
    change: Floats,
    groups: Sequence[npt.ArrayLike],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Resampled:
    """Draw personas and, independently, questions with replacement.

    The pigeonhole bootstrap (Owen 2007; McCullagh 2000): a resample is the table of the drawn
    personas by the drawn questions. For a mean its variance is never too small, where resampling
    one side alone forgets the other. Personas are drawn within their group, whose sizes are the
    design's.

    Parameters
    ----------
    change : ndarray of shape (personas, questions)
        After minus before; every one a number.
    groups : sequence of array-like of int
        Rows of ``change``, group by group; a row in no group is never drawn, its mean is known all
        the same.
    rng : numpy.random.Generator
        Draws.
    resamples : int
        Their number.
    """
    personas, questions = change.shape
    counts = rng.multinomial(questions, np.full(questions, 1 / questions), size=resamples)
    shares = counts.T / questions
    mean = change.mean(axis=1)
    rest = change - mean[:, None] - change.mean(axis=0) + change.mean()
    rows = [np.asarray(group, dtype=np.int64) for group in groups]
    # the variance that personas and questions leave, freed of what their means took of it
    freedom = max((questions - 1) / questions * (1 - 1 / max(personas, 2)), np.finfo(float).tiny)
    squares = rest**2 / freedom
    ends = np.cumsum([0, *(len(group) for group in rows)])
    everyone = np.concatenate(rows) if rows else np.empty(0, np.int64)
    return Resampled(
        mean=mean,
        noise=float(squares[everyone].mean() / questions) if len(everyone) else float("nan"),
        means=(change @ shares).T,
        noises=(squares @ shares).T,
        extra=(shares**2).sum(axis=0),
        drawn=np.concatenate(
            [
                group[rng.integers(len(group), size=(resamples, len(group)))]
                if len(group)
                else np.empty((resamples, 0), np.int64)
                for group in rows
            ],
            axis=1,
        ),
        groups=tuple(slice(int(a), int(b)) for a, b in pairwise(ends)),
        members=tuple(rows),
    )


def taken(resampled: Resampled, groups: Sequence[int]) -> tuple[Indices, Indices]:
    """Return who is in these groups, and who of them is drawn in each resample.

    Parameters
    ----------
    resampled : Resampled
        Of ``resample``.
    groups : sequence of int
        Numbers of groups.

    Returns
    -------
    tuple of ndarray
        Rows of shape (personas,), and (resamples, personas).
    """
    members = np.concatenate([resampled.members[group] for group in groups])
    drawn = np.concatenate([resampled.drawn[:, resampled.groups[g]] for g in groups], axis=1)
    return members, drawn


def mean_draws(resampled: Resampled, groups: Sequence[int]) -> tuple[float, Floats]:
    """Mean change of the personas of some groups, as observed and in each resample.

    Parameters
    ----------
    resampled : Resampled
        Of ``resample``.
    groups : sequence of int
        Numbers of groups; not a number for none.
    """
    members, drawn = taken(resampled, groups)
    if not len(members):
        return float("nan"), np.full(len(drawn), np.nan)
    values = np.take_along_axis(resampled.means, drawn, axis=1)
    return float(resampled.mean[members].mean()), values.mean(axis=1)


def rho_draws(
    resampled: Resampled, similarity: Floats, groups: Sequence[int]
) -> tuple[float, Floats]:
    """Spearman's rho of similarity and mean change, as observed and in each resample.

    Parameters
    ----------
    resampled : Resampled
        Of ``resample``.
    similarity : ndarray of shape (personas,)
        In the order of the rows.
    groups : sequence of int
        Numbers of groups; not a number for fewer than five personas, or when a side is constant.
    """
    members, drawn = taken(resampled, groups)
    observed = resampled.mean[members]
    if len(members) < FEWEST or constant(similarity[members]) or constant(observed):
        return float("nan"), np.full(len(drawn), np.nan)
    places = np.zeros(len(similarity), np.int64)
    places[members] = levels(similarity[members])
    rho = float(stats.spearmanr(places[members], levels(observed)).statistic)
    drawn_change = np.round(np.take_along_axis(resampled.means, drawn, axis=1), 12)
    return rho, _correlate(
        stats.rankdata(places[drawn], axis=1), stats.rankdata(drawn_change, axis=1)
    )


def reliability_draws(resampled: Resampled, groups: Sequence[int]) -> tuple[float, Floats, Floats]:
    """Share of the variance between personas that the choice of questions did not make.

    One minus residual over persona mean square of a two-way table (Hoyt 1941), which is Cronbach's
    alpha (1951) and the mean of all split halves stepped up by Spearman and Brown's formula.

    Parameters
    ----------
    resampled : Resampled
        Of ``resample``.
    groups : sequence of int
        Numbers of groups.

    Returns
    -------
    float
        As observed, 0 at least; not a number where no persona differs.
    ndarray of shape (resamples,)
        The reliability, at the number of questions asked, that each resample stands for.
    ndarray of shape (resamples,)
        The reliability of the resample's own means, which is lower since questions are drawn twice.
    """
    members, drawn = taken(resampled, groups)
    if len(members) < 2 or constant(resampled.mean[members]):
        unknown = np.full(len(drawn), np.nan)
        return float("nan"), unknown, unknown
    observed = 1 - resampled.noise / resampled.mean[members].var(ddof=1)
    between = np.take_along_axis(resampled.means, drawn, axis=1).var(axis=1)
    between = between * len(members) / (len(members) - 1)
    once = np.take_along_axis(resampled.noises, drawn, axis=1).mean(axis=1)
    questions = once.mean() / resampled.noise if resampled.noise > 0 else np.inf
    true = np.maximum(between - once * resampled.extra, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        alone = true / (true + once / questions)
        own = true / (true + once * resampled.extra)
    return max(float(observed), 0.0), alone, own


def percentile(value: float, draws: Floats) -> Estimate:
    """95 % percentile interval of a mean (Efron & Tibshirani 1993, chapter 13).

    Parameters
    ----------
    value : float
        As observed.
    draws : ndarray of shape (resamples,)
        The same in each resample; those that are not a number are left out.
    """
    known = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(known):
        return UNKNOWN
    low, high = np.percentile(known, TAILS)
    return Estimate(value, float(low), float(high))


def centred_percentile(value: float, draws: Floats) -> Estimate:
    """95 % percentile interval of a correlation, about the correlation observed.

    Questions drawn twice add noise to the noise that is there, so that the correlations of the
    resamples are nearer to zero than the one observed, as that is nearer than the true one. Their
    spread is kept, on Fisher's scale (1921), and their middle put where it was.

    Parameters
    ----------
    value : float
        As observed.
    draws : ndarray of shape (resamples,)
        The same in each resample; those that are not a number are left out.
    """
    known = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(known):
        return UNKNOWN
    most = 1 - 1e-9
    scale = np.arctanh(np.clip(known, -most, most))
    shift = np.arctanh(np.clip(value, -most, most)) - np.median(scale)
    low, high = np.tanh(np.percentile(scale, TAILS) + shift)
    return Estimate(value, min(float(low), value), max(float(high), value))


def disattenuated(rho: float, rho_draws: Floats, reliability: float, own: Floats) -> Estimate:
    """Correlation with the changes freed of the noise of questions (Spearman 1904).

    Rho over the square root of the reliability. Similarity is taken to be without noise. Kept
    within -1 and 1; not a number where the reliability is nought.

    Parameters
    ----------
    rho : float
        As observed.
    rho_draws : ndarray of shape (resamples,)
        In each resample.
    reliability : float
        As observed.
    own : ndarray of shape (resamples,)
        Reliability of each resample's own means, of ``reliability_draws``.
    """
    if not (np.isfinite(rho) and reliability > 0):
        return UNKNOWN
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = np.where(own > 0, rho_draws / np.sqrt(own), np.sign(rho_draws))
    value = float(np.clip(rho / np.sqrt(reliability), -1, 1))
    found = percentile(value, np.clip(draws, -1, 1))
    return Estimate(value, min(found.low, value), max(found.high, value))


def _correlate(a: Floats, b: Floats) -> Floats:
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        r: Floats = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return r
