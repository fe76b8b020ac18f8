"""Personas of one family are alike: a slope's test that is robust to it."""

from collections.abc import Hashable, Sequence

import numpy as np
from scipy import stats

from persona_leakage.analysis.ranks import ROUNDING, Floats, constant, levels

RESAMPLES = 4_999
# Webb's six points (2023; mean 0, variance 1): signs alone take 2^clusters values
WEBB = np.sqrt(np.array([0.5, 1.0, 1.5]))


def wild_cluster_p(
    x: Floats,
    y: Floats,
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> float:
    """Two-sided p of the slope of y over the ranks of x, whatever holds within a cluster.

    Restricted wild cluster bootstrap of the t statistic (Cameron, Gelbach & Miller 2008) with
    Webb's weights: the residuals of a model without slope are multiplied, cluster by cluster, by
    random numbers of mean 0 and variance 1, and the slope is fitted and studentised again. It
    needs several clusters of some weight: where one family alone is near to the source it rejects
    too rarely (MacKinnon & Webb 2018), so that it stands beside the primary test, not for it.

    Parameters
    ----------
    x, y : ndarray of shape (personas,)
        Similarity and mean change.
    clusters : sequence of shape (personas,)
        Whose errors go together.
    rng : numpy.random.Generator
        Draws the weights.
    resamples : int
        Their number.

    Returns
    -------
    float
        Not a number for fewer than three clusters, when a side is constant or not all numbers.
    """
    _, group = np.unique(np.asarray([str(each) for each in clusters]), return_inverse=True)
    count = int(group.max()) + 1 if len(group) else 0
    if count < 3 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    if constant(x) or constant(y):
        return float("nan")
    ranked = stats.rankdata(levels(x))
    ranked = (ranked - ranked.mean()) / np.linalg.norm(ranked - ranked.mean())
    member = np.zeros((count, len(x)))
    member[group, np.arange(len(x))] = 1.0

    def studentised(sides: Floats) -> Floats:
        centred = sides - sides.mean(axis=1, keepdims=True)
        slope = centred @ ranked
        left = centred - slope[:, None] * ranked
        score = (left * ranked) @ member.T
        error = np.sqrt((score**2).sum(axis=1))
        with np.errstate(invalid="ignore", divide="ignore"):
            t: Floats = np.where(error > ROUNDING, np.abs(slope) / error, np.inf)
        return t

    residual = (y - y.mean()) / np.linalg.norm(y - y.mean())
    points = np.concatenate([-WEBB, WEBB])
    weights = points[rng.integers(len(points), size=(resamples, count))]
    observed = studentised(residual[None])[0]
    extreme = studentised(weights[:, group] * residual) >= observed * (1 - ROUNDING)
    return (1 + int(extreme.sum())) / (1 + resamples)
