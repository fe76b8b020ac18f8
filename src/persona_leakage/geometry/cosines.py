"""How near personas are to each other: cosines and distances of their centroids."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel
from scipy.spatial.distance import cdist

Kind = Literal["raw", "centred"]
PAIRS = ("layer", "source", "persona", "raw", "centred")  # what others read of ``table``


class Layer(BaseModel):
    """Of the centroids' manifest: the layer at which the study compares, in blocks applied."""

    layer: int


class Measured(Layer):
    """Of the centroids' manifest: whose centroids these are, at which layers, in their order."""

    personas: list[str]
    layers: list[int]


def cosine_matrix(vectors: npt.ArrayLike, kind: Kind) -> npt.NDArray[np.float64]:
    """Cosine of each pair of centroids.

    Parameters
    ----------
    vectors : array-like of shape (personas, hidden)
        Centroids.
    kind : {"raw", "centred"}
        ``centred`` subtracts the mean over the personas first.

    Returns
    -------
    ndarray of shape (personas, personas)
        Not a number where a centroid has no direction: it is the zero vector, or centring leaves
        less of it than float32, in which centroids are measured, can hold of the longest one. At
        layer 0 the last token is the same for all personas, and centring leaves rounding alone.
    """
    points = np.asarray(vectors, dtype=np.float64)
    resolution = _resolution(points)
    if kind == "centred":
        points = points - points.mean(axis=0)
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    lengths[lengths <= resolution] = np.nan
    unit = points / lengths
    return np.clip(unit @ unit.T, -1.0, 1.0)


def _resolution(points: npt.NDArray[np.float64]) -> float:
    """Length below which a centroid has no direction: what float32 cannot hold of the longest."""
    return float(np.finfo(np.float32).eps * np.linalg.norm(points, axis=1).max())


def toward(
    vectors: npt.ArrayLike, source: npt.ArrayLike, centre: npt.ArrayLike
) -> dict[str, npt.NDArray[np.float64]]:
    """Compare centroids with one of them, or of another, about a given centre.

    Parameters
    ----------
    vectors : array-like of shape (personas, hidden)
        Centroids.
    source : array-like of shape (hidden,)
        What they are compared with.
    centre : array-like of shape (hidden,)
        Mean centroid of the personas of a study, whoever is compared.

    Returns
    -------
    dict of ndarray of shape (personas,)
        ``raw``, ``centred`` (cosines), ``distance`` (Euclidean); not a number as for
        ``cosine_matrix``.
    """
    points, one, middle = (np.asarray(each, np.float64) for each in (vectors, source, centre))
    resolution = _resolution(points)

    def cosines(origin: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        away, toward_it = points - origin, one - origin
        lengths, length = np.linalg.norm(away, axis=1), float(np.linalg.norm(toward_it))
        known = (lengths > resolution) & (length > resolution)
        return np.clip(
            np.where(known, away @ toward_it, np.nan) / np.where(known, lengths * length, 1.0),
            -1,
            1,
        )

    return {
        "raw": cosines(np.zeros_like(middle)),
        "centred": cosines(middle),
        "distance": np.linalg.norm(points - one, axis=1),
    }


def whitened_cosines(vectors: npt.ArrayLike, axes: int) -> npt.NDArray[np.float64]:
    """Cosine of each pair of centroids after whitening: every principal axis counts alike.

    Su et al. 2021, "Whitening sentence representations for better semantics and faster
    retrieval": the centred vectors are divided by their standard deviation along each of the first
    principal axes. With as many axes as there are personas, all would be equally far apart.

    Parameters
    ----------
    vectors : array-like of shape (personas, hidden)
        Centroids.
    axes : int
        Principal axes to keep, at most half as many as there are personas.

    Returns
    -------
    ndarray of shape (personas, personas)
    """
    points = np.asarray(vectors, dtype=np.float64)
    left, _, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    coordinates = left[:, : min(axes, len(points) // 2)]
    unit = coordinates / np.linalg.norm(coordinates, axis=1, keepdims=True)
    return np.clip(unit @ unit.T, -1.0, 1.0)


def table(
    vectors: npt.NDArray[np.floating], names: Sequence[str], layers: Sequence[int]
) -> pd.DataFrame:
    """List every pair's similarity at every layer.

    Parameters
    ----------
    vectors : ndarray of shape (personas, layers, hidden)
        Of ``centroids``.
    names : sequence of str
        Of the personas.
    layers : sequence of int
        Numbers of the layers.

    Returns
    -------
    DataFrame
        ``layer``; ``source``, ``persona`` (names); ``raw``, ``centred`` (cosines); ``distance``
        (Euclidean). One row per layer and ordered pair.
    """
    frames = []
    for index, layer in enumerate(layers):
        points = vectors[:, index].astype(np.float64)
        source, persona = np.meshgrid(names, names, indexing="ij")
        frames.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "source": source.ravel(),
                    "persona": persona.ravel(),
                    "raw": cosine_matrix(points, "raw").ravel(),
                    "centred": cosine_matrix(points, "centred").ravel(),
                    "distance": cdist(points, points).ravel(),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)
