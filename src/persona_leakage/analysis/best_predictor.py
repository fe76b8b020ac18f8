"""The best of many predictors is good by selection: p-values that count all that were tried."""

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from persona_leakage.analysis.ranks import ROUNDING, Floats, constant, levels
from persona_leakage.analysis.surrogates import surrogates

RESAMPLES = 1_999
FEWEST = 5  # personas


def adjusted_p(
    table: pd.DataFrame,
    change: Floats,
    similarity: Floats,
    clusters: Sequence[Hashable],
    *,
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
    seed : int
        Of the surrogates.
    resamples : int
        Their number.

    Returns
    -------
    Series
        Two-sided p by predictor; not a number for one that is constant or not all numbers, and for
        all of them where the changes are, or are fewer than five.
    """
    p = pd.Series(np.nan, index=table.columns, dtype=float)
    values = np.asarray(change, dtype=float)
    columns = table.to_numpy(dtype=float).T
    usable = [
        number
        for number, column in enumerate(columns)
        if np.isfinite(column).all() and not constant(column)
    ]
    if len(values) < FEWEST or not np.isfinite(values).all() or constant(values) or not usable:
        return p
    if not np.isfinite(similarity).all():
        return p
    ranked = _unit(np.stack([stats.rankdata(levels(columns[number])) for number in usable]))
    drawn = surrogates(values, similarity, clusters, np.random.default_rng(seed), resamples)
    by_chance = np.abs(_unit(drawn.argsort(axis=1).argsort(axis=1).astype(float)) @ ranked.T)
    observed = np.abs(ranked @ _unit(stats.rankdata(levels(values))[None])[0])
    spread = np.sqrt((by_chance**2).mean(axis=0))
    most = (by_chance / spread).max(axis=1)
    extreme = most[:, None] >= observed / spread - ROUNDING
    p.iloc[usable] = (1 + extreme.sum(axis=0)) / (1 + resamples)
    return p


def _unit(ranks: Floats) -> Floats:
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    unit: Floats = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return unit
