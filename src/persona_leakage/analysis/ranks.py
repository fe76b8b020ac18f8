"""Which numbers are equal: the order of means that were computed in floating point, and its rho."""

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

# a mean over answers is a whole count over their number, and 0.8 - 0.7 is not 0.5 - 0.4 in floating
# point; two different counts differ by far more than this share of the largest value
ROUNDING = 1e-9


def levels(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Rank the distinct values from 0, smallest first; what differs by rounding alone is equal.

    Parameters
    ----------
    values : array-like of shape (n,)
        Finite numbers.

    Returns
    -------
    ndarray of shape (n,)
        The place of each value among the distinct ones.
    """
    plain = np.asarray(values, dtype=float)
    order = np.argsort(plain, kind="stable")
    place = np.zeros(len(plain), dtype=np.int64)
    if len(plain):
        steps = np.diff(plain[order]) > ROUNDING * np.abs(plain).max()
        place[order[1:]] = np.cumsum(steps)
    return place


def constant(values: npt.ArrayLike) -> bool:
    """Say whether all values are equal but for rounding; one value, or none, is.

    Parameters
    ----------
    values : array-like of shape (n,)
        Finite numbers.
    """
    return not levels(values).any()


def rank_correlation(x: npt.ArrayLike, y: npt.ArrayLike, fewest: int) -> float:
    """Spearman's correlation, where what differs by rounding alone is a tie.

    Parameters
    ----------
    x, y : array-like of shape (n,)
        Finite numbers.
    fewest : int
        Of fewer there is none.

    Returns
    -------
    float
        Not a number for fewer than ``fewest``, and where one side is constant.
    """
    places, others = levels(x), levels(y)
    if len(places) < fewest or not places.any() or not others.any():
        return float("nan")
    return float(stats.spearmanr(places, others).statistic)
