"""The spread of a persona's states, not their mean alone: Gaussians of the residual stream."""

import numpy as np
import numpy.typing as npt
import torch
from sklearn.covariance import ledoit_wolf

Array = npt.NDArray[np.floating]


def principal_axes(states: torch.Tensor, count: int) -> tuple[Array, Array]:
    """Find the mean and the first principal axes of states, by the covariance's eigenvectors.

    Parameters
    ----------
    states : Tensor of shape (states, hidden)
        Of all personas and prompts, at one layer.
    count : int
        Axes to keep, no more than ``hidden``.

    Returns
    -------
    tuple of ndarray
        The mean (hidden,) and the axes (count, hidden), that of the largest variance first.
    """
    points = states.double()
    centre = points.mean(dim=0)
    covariance = torch.cov((points - centre).T)
    _, vectors = torch.linalg.eigh(covariance)  # ascending
    return centre.cpu().numpy(), vectors[:, -count:].flip(1).T.cpu().numpy()


def gaussian(points: npt.ArrayLike) -> tuple[Array, Array]:
    """Mean and shrunk covariance of one persona's states.

    The covariance is Ledoit and Wolf's 2004 ("A well-conditioned estimator for large-dimensional
    covariance matrices"), as scikit-learn has it: with few prompts the plain one has no inverse.

    Parameters
    ----------
    points : array-like of shape (prompts, axes)
        Coordinates on the principal axes.

    Returns
    -------
    tuple of ndarray
        (axes,) and (axes, axes).
    """
    values = np.asarray(points, dtype=np.float64)
    covariance, _ = ledoit_wolf(values)
    return values.mean(axis=0), covariance


def jeffreys(
    mean: npt.ArrayLike, covariance: npt.ArrayLike, means: npt.ArrayLike, covariances: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    r"""Symmetric Kullback-Leibler divergence of one Gaussian and each of others, in nats.

    KL(P||Q) + KL(Q||P), Jeffreys 1946; for Gaussians in k dimensions it is
    ``(tr(S_Q^-1 S_P) + tr(S_P^-1 S_Q) - 2 k + d' (S_P^-1 + S_Q^-1) d) / 2`` with ``d`` the
    difference of the means (Kullback 1959, "Information theory and statistics", chapter 9).

    Parameters
    ----------
    mean : array-like of shape (axes,)
        Of the one.
    covariance : array-like of shape (axes, axes)
        Of the one; positive definite.
    means : array-like of shape (others, axes)
        Of the others.
    covariances : array-like of shape (others, axes, axes)
        Of the others; positive definite.

    Returns
    -------
    ndarray of shape (others,)
    """
    one, others = np.asarray(covariance, np.float64), np.asarray(covariances, np.float64)
    inverse, inverses = np.linalg.inv(one), np.linalg.inv(others)
    gap = np.asarray(means, np.float64) - np.asarray(mean, np.float64)
    traces = np.einsum("nij,ji->n", inverses, one) + np.einsum("ij,nji->n", inverse, others)
    away = np.einsum("ni,nij,nj->n", gap, inverses + inverse, gap)
    divergence: npt.NDArray[np.float64] = (traces - 2 * gap.shape[1] + away) / 2
    return divergence
