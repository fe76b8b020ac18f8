"""The best of many predictors is good by selection: what is said of it counts all that were tried.

Whatever lets a reader pick one of many, a layer or a measure, says three things by these functions:
whether it is related to the damage at all (``adjusted_p``), between what its number lies
(``simultaneous``), and which others may be the best just as well (``contenders``).
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from persona_leakage.analysis.evidence import people_of
from persona_leakage.analysis.ranks import ROUNDING, Floats, constant, levels
from persona_leakage.analysis.surrogates import surrogates
from persona_leakage.analysis.weighted_ranks import group_weights, rank_correlations
from persona_leakage.data.relations import clusters_of
from persona_leakage.study.outcome import Outcome

RESAMPLES = 1_999
FEWEST = 5  # personas, beside two for each covariate
CONFIDENCE = 0.95
COVARIATES = ("before", "prompt_length")  # what every persona brings along


def compare(
    table: pd.DataFrame,
    bystanders: pd.DataFrame,
    similarity: pd.DataFrame,
    outcome: Outcome,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Rank the predictors by how well each explains the same personas' changes.

    Rho is a partial rank correlation: words and geometry are compared given what every persona
    brings along, the baseline outcome and the length of its prompt.

    Parameters
    ----------
    table : DataFrame
        Of ``predictors``; one row per persona, higher meaning nearer to the source.
    bystanders : DataFrame
        Of ``persona_table``: ``persona``, ``category``, ``relation``, ``prompt``, ``delta`` and
        ``COVARIATES``, in the order of the table.
    similarity : DataFrame
        Square: cosine of every persona to every other, over which damage is smooth.
    outcome : Outcome
        Its direction says which rho is steep: below zero where what is taught lowers the outcome.
    seed : int
        Of surrogates and bootstrap.
    resamples : int
        Of either.

    Returns
    -------
    DataFrame
        ``predictor``; ``rho`` with ``low``, ``high`` (95 % for all predictors at once, bootstrap
        over personas of one relation and category); ``p`` (``adjusted_p``); ``contender``, whether
        it may be the steepest; ``plain``, Spearman's rho without covariates. Steepest first. Not
        numbers for a predictor that is constant or not all numbers, and for all of them where the
        changes are, or the personas are too few.
    """
    y, given = (bystanders[names].to_numpy(dtype=float) for names in ("delta", list(COVARIATES)))
    p = _p_of(table, bystanders, similarity, given, seed, resamples)
    found = pd.DataFrame(
        dict.fromkeys(("rho", "low", "high", "plain"), np.nan), index=table.columns
    ).assign(p=p, contender=False)
    usable = p.index[p.notna()].tolist()
    if usable:
        x = table[usable].to_numpy(dtype=float)
        alike = bystanders["relation"].fillna("") + "/" + bystanders["category"]
        weights = group_weights(alike, resamples, np.random.default_rng(seed))
        drawn = rank_correlations(x, y, weights, given)
        found.loc[usable, "rho"] = drawn[0]
        found.loc[usable, "low"], found.loc[usable, "high"] = simultaneous(drawn[1:])
        found.loc[usable, "plain"] = rank_correlations(x, y, weights[:1])[0]
        found.loc[usable, "contender"] = contenders(outcome.direction * drawn)
    ranked = found.sort_values("rho", ascending=outcome.direction < 0, kind="stable")
    return ranked.rename_axis(index="predictor").reset_index()


def _p_of(
    table: pd.DataFrame,
    bystanders: pd.DataFrame,
    similarity: pd.DataFrame,
    given: Floats,
    seed: int,
    resamples: int,
) -> pd.Series:
    names = bystanders["persona"].tolist()
    clusters = clusters_of(people_of(bystanders))
    return adjusted_p(
        table,
        bystanders["delta"].to_numpy(dtype=float),
        similarity.loc[names, names].to_numpy(dtype=float),
        [clusters[name] for name in names],
        given=given,
        seed=seed,
        resamples=resamples,
    )


def adjusted_p(
    table: pd.DataFrame,
    change: Floats,
    similarity: Floats,
    clusters: Sequence[Hashable],
    *,
    given: Floats | None = None,
    seed: int,
    resamples: int = RESAMPLES,
) -> pd.Series:
    """Adjust the p-value of each predictor's rho for the choice among all of them.

    Single-step max-statistic (Westfall & Young 1993, section 2.3): the largest rho of all
    predictors, each in units of its own standard deviation by chance, is compared over
    ``surrogates``, which keep families and the smoothness of damage. The p of the steepest
    predictor is the p of "one of them explains the damage".

    Parameters
    ----------
    table : DataFrame
        One row per persona, one column per predictor.
    change : ndarray of shape (personas,)
        Mean changes, in the order of the table.
    similarity : ndarray of shape (personas, personas)
        Over which damage is smooth.
    clusters : sequence of shape (personas,)
        Who may share an effect.
    given : ndarray of shape (personas, covariates) or None
        Held constant: ranks of changes, surrogates and predictors are freed of what the ranks of
        these explain of them.
    seed : int
        Of the surrogates.
    resamples : int
        Their number.

    Returns
    -------
    Series
        Two-sided p by predictor; not a number for one that is constant, not all numbers or
        explained by the covariates, and for all of them where the changes are, or are fewer than
        ``FEWEST`` and two for each covariate.
    """
    p = pd.Series(np.nan, index=table.columns, dtype=float)
    values = np.asarray(change, dtype=float)
    held = np.empty((len(values), 0)) if given is None else np.asarray(given, dtype=float)
    everything = (values, held, np.asarray(similarity))
    few = len(values) < FEWEST + 2 * held.shape[1]
    if few or not all(np.isfinite(each).all() for each in everything) or constant(values):
        return p
    freed = _freed_of(held)
    own = freed(stats.rankdata(levels(values))[None])
    columns = table.to_numpy(dtype=float).T
    known = [
        number
        for number, column in enumerate(columns)
        if np.isfinite(column).all() and not constant(column)
    ]
    if not known or not own.any():
        return p
    ranked = freed(np.stack([stats.rankdata(levels(columns[number])) for number in known]))
    left = np.flatnonzero(ranked.any(axis=1))
    usable = [known[row] for row in left]
    if not usable:
        return p
    drawn = surrogates(own[0], similarity, clusters, np.random.default_rng(seed), resamples)
    by_chance = np.abs(freed(drawn.argsort(axis=1).argsort(axis=1).astype(float)) @ ranked[left].T)
    observed = np.abs(ranked[left] @ own[0])
    spread = np.sqrt((by_chance**2).mean(axis=0))
    most = (by_chance / spread).max(axis=1)
    extreme = most[:, None] >= observed / spread - ROUNDING
    p.iloc[usable] = (1 + extreme.sum(axis=0)) / (1 + resamples)
    return p


def simultaneous(drawn: Floats) -> tuple[Floats, Floats]:
    """Put intervals around many numbers that hold them all at once, in 95 of 100 cases.

    Percentile intervals, each as far out in its own bootstrap as the others in theirs, so that 95 %
    of the samples lie within all of them (Mandel & Betensky 2008, "Simultaneous confidence
    intervals based on the percentile bootstrap approach"). One number alone has its percentiles.

    Parameters
    ----------
    drawn : ndarray of shape (samples, numbers)
        Bootstrap of all of them, each row over one sample. Rows where one is not a number are left
        out, unless it is none in most of them.

    Returns
    -------
    tuple of ndarray of shape (numbers,)
        Lower and upper ends; not numbers for one that is none in most samples.
    """
    low, high = np.full((2, drawn.shape[1]), np.nan)
    often = np.isfinite(drawn).mean(axis=0) > 0.5
    rows = drawn[:, often][np.isfinite(drawn[:, often]).all(axis=1)]
    if not often.any() or len(rows) < 2:
        return low, high
    ranks = stats.rankdata(rows, axis=0)  # equal samples lie equally far out
    outward = np.maximum(ranks, len(rows) + 1 - ranks).max(axis=1)
    tail = (len(rows) - float(np.quantile(outward, CONFIDENCE))) / (len(rows) - 1)
    low[often], high[often] = np.quantile(rows, [max(tail, 0.0), min(1 - tail, 1.0)], axis=0)
    return low, high


def contenders(drawn: Floats) -> np.ndarray:
    """Say which are not told from the highest of many numbers, which was chosen for being so.

    Any of them might have been the highest, so what counts is the largest of the differences of all
    pairs, each in units of its standard error: 95 % of the bootstrap lies below the bound
    (single-step max-statistic: Westfall & Young 1993, section 2.3; for means of normal variables
    it is Tukey's range). Differences from the highest one alone would tell some of many equal
    numbers apart in most studies.

    Parameters
    ----------
    drawn : ndarray of shape (1 + samples, numbers)
        What was seen, then the bootstrap, each row over one sample.

    Returns
    -------
    ndarray of bool of shape (numbers,)
        All of them where none is a number.
    """
    if not np.isfinite(drawn[0]).any():
        return np.ones(drawn.shape[1], dtype=bool)
    seen, resampled = drawn[0], drawn[1:]
    resampled = resampled[np.isfinite(resampled).any(axis=1)]
    best = int(np.nanargmax(seen))
    behind, largest = np.zeros_like(seen), np.zeros(len(resampled))
    for one in range(len(seen)):
        apart = (resampled[:, [one]] - resampled) - (seen[one] - seen)
        known = np.isfinite(apart).sum(axis=0)
        error = np.sqrt(np.nansum(apart**2, axis=0) / np.maximum(known, 1))
        error[error == 0] = np.inf  # itself, what is as it is, and what is no number
        largest = np.fmax(largest, np.nan_to_num(apart / error).max(axis=1))
        if one == best:
            behind = (seen[best] - seen) / error
    told: np.ndarray = behind > np.quantile(largest, CONFIDENCE)
    return ~told


def _freed_of(given: Floats) -> Callable[[Floats], Floats]:
    """Return what takes from rows of ranks what the covariates' ranks explain, at length 1.

    A row of which nothing is left becomes zeros.
    """
    design = np.column_stack([np.ones(len(given)), *(stats.rankdata(levels(z)) for z in given.T)])
    axes, sizes, _ = np.linalg.svd(design, full_matrices=False)
    axes = axes[:, sizes > ROUNDING * sizes[0]]

    def freed(ranks: Floats) -> Floats:
        left = ranks - (ranks @ axes) @ axes.T
        length = np.linalg.norm(left, axis=1, keepdims=True)
        nothing = length <= ROUNDING * np.linalg.norm(ranks, axis=1, keepdims=True)
        unit: Floats = np.where(nothing, 0.0, left / np.where(nothing, 1.0, length))
        return unit

    return freed
