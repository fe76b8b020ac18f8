"""How near personas are to sources at every layer: cosines, distances, Gaussians."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from persona_leakage.geometry.cosines import cosine_matrix, whitened_cosines
from persona_leakage.geometry.moments import gaussian, jeffreys, principal_axes

# Twenty neutral questions leave a covariance of more axes than this to the shrinkage alone.
AXES = 16


@dataclass(frozen=True)
class Moments:
    """The Gaussian of each persona's states at one layer, on the layer's principal axes.

    Attributes
    ----------
    centre : ndarray of shape (hidden,)
        What is subtracted from a state.
    axes : ndarray of shape (axes, hidden)
        On which it is then projected.
    means : ndarray of shape (personas, axes)
        Of the projections.
    covariances : ndarray of shape (personas, axes, axes)
        Shrunk: see ``moments.gaussian``.
    """

    centre: npt.NDArray[np.floating]
    axes: npt.NDArray[np.floating]
    means: npt.NDArray[np.floating]
    covariances: npt.NDArray[np.floating]


def moments(states: torch.Tensor) -> Moments:
    """Fit a Gaussian to each persona's states at one layer.

    Parameters
    ----------
    states : Tensor of shape (personas, prompts, hidden)
        At the last token of the neutral prompts.
    """
    centre, axes = principal_axes(states.flatten(0, 1), min(AXES, states.shape[-1]))
    points = (states.cpu().numpy() - centre) @ axes.T
    means, covariances = zip(*(gaussian(each) for each in points), strict=True)
    return Moments(centre, axes, np.stack(means), np.stack(covariances))


def nearness(
    states: torch.Tensor, fitted: Moments, names: Sequence[str], sources: Sequence[str]
) -> pd.DataFrame:
    """Compare every persona with every source at one layer.

    Parameters
    ----------
    states : Tensor of shape (personas, prompts, hidden)
        As for ``moments``.
    fitted : Moments
        Of these states.
    names : sequence of str
        Of the personas.
    sources : sequence of str
        Some of the names.

    Returns
    -------
    DataFrame
        Index: (``source``, ``persona``), each source with all personas. Columns: ``raw``,
        ``centred``, ``whitened`` (cosines of the means over the prompts), ``distance`` (Euclidean,
        of the same), ``kl`` (``moments.jeffreys``, in nats).
    """
    centroids = states.mean(dim=1).cpu().numpy().astype(np.float64)
    raw, centred = (cosine_matrix(centroids, kind) for kind in ("raw", "centred"))
    whitened = whitened_cosines(centroids, AXES)
    frames = {}
    for source in sources:
        row = list(names).index(source)
        frames[source] = pd.DataFrame(
            {
                "raw": raw[row],
                "centred": centred[row],
                "whitened": whitened[row],
                "distance": np.linalg.norm(centroids - centroids[row], axis=1),
                "kl": jeffreys(
                    fitted.means[row], fitted.covariances[row], fitted.means, fitted.covariances
                ),
            },
            index=pd.Index(names, name="persona"),
        )
    return pd.concat(frames, names=["source"])
