"""Rank correlations in samples that hold a persona several times, without writing it twice."""

import numpy as np
import pandas as pd

from persona_leakage.analysis.ranks import ROUNDING, Floats, levels


def group_weights(groups: pd.Series, draws: int, rng: np.random.Generator) -> Floats:
    """Draw groups of personas with replacement: how often each persona stands in each sample.

    Parameters
    ----------
    groups : Series of shape (personas,)
        Who is drawn together, such as personas written alike; each alone where there is one group.
    draws : int
        Samples.
    rng : numpy.random.Generator
        Draws.

    Returns
    -------
    ndarray of shape (1 + draws, personas)
        First what was seen: everyone once.
    """
    codes = pd.factorize(groups)[0]
    if not codes.any():
        codes = np.arange(len(groups))
    number = int(codes.max()) + 1
    counts = np.ones((1 + draws, number))
    counts[1:] = rng.multinomial(number, np.full(number, 1 / number), size=draws)
    return counts[:, codes]


def rank_correlations(x: Floats, y: Floats, weights: Floats, given: Floats | None = None) -> Floats:
    """Spearman's of y with each column of x, given covariates where there are any.

    With covariates it is the correlation of what their ranks leave of the ranks of both sides
    (Kendall & Stuart 1979, chapter 27).

    Parameters
    ----------
    x : ndarray of shape (rows, columns)
        Finite numbers.
    y : ndarray of shape (rows,)
        Finite numbers; what differs by rounding alone shares a rank.
    weights : ndarray of shape (samples, rows)
        How often each row stands in a sample.
    given : ndarray of shape (rows, covariates) or None
        Held constant.

    Returns
    -------
    ndarray of shape (samples, columns)
        Not a number where a side is constant in a sample, or the covariates explain it fully.
    """
    basis: list[Floats] = []
    for covariate in () if given is None else given.T:
        axis, length = _left(weighted_ranks(covariate, weights), weights, basis)
        # a covariate that the sample, or the others, leave nothing of explains nothing
        basis.append(np.where(length > 0, axis / np.where(length > 0, length, 1.0), 0.0))
    b, norm = _left(weighted_ranks(y, weights), weights, basis)
    weighted = weights * b
    columns = []
    for values in x.T:
        a, length = _left(weighted_ranks(values, weights), weights, basis)
        both = (length * norm)[:, 0]
        shared = (weighted * a).sum(axis=1)
        columns.append(np.divide(shared, both, out=np.full(len(both), np.nan), where=both > 0))
    return np.column_stack(columns)


def weighted_ranks(values: Floats, weights: Floats) -> Floats:
    """Middle ranks, less their mean, of values that stand in a sample several times each.

    Parameters
    ----------
    values : ndarray of shape (rows,)
        Finite numbers.
    weights : ndarray of shape (samples, rows)
        How often each stands there.

    Returns
    -------
    ndarray of shape (samples, rows)
    """
    places = levels(values)
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.diff(places[order], prepend=-1))
    groups = np.add.reduceat(weights[:, order], starts, axis=1)
    # the mean of middle ranks is half the sample's size, whatever the ties
    half = groups.sum(axis=1, keepdims=True) / 2
    middle: Floats = (np.cumsum(groups, axis=1) - groups / 2 - half)[:, places]
    return middle


def _left(ranks: Floats, weights: Floats, basis: list[Floats]) -> tuple[Floats, Floats]:
    """Take from ranks what axes of length 1 explain; what is left and its length (samples, 1)."""
    whole = np.sqrt((weights * ranks * ranks).sum(axis=1, keepdims=True))
    for axis in basis:
        ranks = ranks - (weights * ranks * axis).sum(axis=1, keepdims=True) * axis
    length = np.sqrt((weights * ranks * ranks).sum(axis=1, keepdims=True))
    return ranks, np.where(length > ROUNDING * whole, length, 0.0)
