"""Studies with a known truth: a geometry, damage over it, and answers to questions."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from persona_leakage.data.catalog import SOURCES, load_personas
from persona_leakage.data.relations import clusters_of
from persona_leakage.geometry.cosines import cosine_matrix

ROOT = Path(__file__).parent.parent
LAYER = 20


@dataclass(frozen=True)
class Geometry:
    """Personas, their cosines, and who belongs together.

    Attributes
    ----------
    raw, centred : DataFrame
        Square, persons by name.
    clusters : dict of str to str
        By name; the five sources' clusters bear the sources' names.
    """

    raw: pd.DataFrame
    centred: pd.DataFrame
    clusters: dict[str, str]

    @property
    def names(self) -> list[str]:
        """Of the personas."""
        return list(self.raw.index)

    def family(self, source: str) -> frozenset[str]:
        """Name whoever is in the source's cluster."""
        return frozenset(n for n, of in self.clusters.items() if of == self.clusters[source])


def qwen(every: int = 2) -> Geometry:
    """Load the real one: personas in Qwen2.5-Coder-1.5B-Instruct, layer 20.

    Parameters
    ----------
    every : int
        1 takes all 307 personas, 2 the sources and every second one of the others, and so on.
    """
    folder = ROOT / "kept" / "qwen" / "centroids"
    manifest = json.loads((folder / "manifest.json").read_text())
    vectors = load_file(folder / "centroids.safetensors")["centroids"]
    personas = load_personas(ROOT / "catalog")
    kept = [
        row for row, name in enumerate(manifest["personas"]) if name in SOURCES or row % every == 0
    ]
    names = [manifest["personas"][row] for row in kept]
    points = vectors[kept, manifest["layers"].index(LAYER)]
    return _geometry(points, names, clusters_of(personas))


def small(personas: int = 120, seed: int = 0) -> Geometry:
    """Make one up: five families and single personas, few directions (a ratio of 4.7)."""
    rng = np.random.default_rng(seed)
    each = personas // 6
    of = [source for source in SOURCES for _ in range(each)]
    names = [
        source if number == 0 else f"{source}_{number}"
        for source in SOURCES
        for number in range(each)
    ]
    singles = [f"single_{number}" for number in range(personas - len(names))]
    scale = 1 / np.arange(1, 41) ** 0.9
    middles = {source: rng.standard_normal(40) for source in SOURCES}
    vectors = [middles[source] + rng.standard_normal(40) for source in of]
    vectors += [1.4 * rng.standard_normal(40) for _ in singles]
    # a large common part, as all prompts have in a model: raw cosines are close to 1
    points = np.column_stack([np.array(vectors) * scale, np.full(len(vectors), 15.0)])
    clusters = dict(zip([*names, *singles], [*of, *singles], strict=True))
    return _geometry(points, [*names, *singles], clusters)


def _geometry(vectors, names, clusters) -> Geometry:
    raw, centred = (
        pd.DataFrame(cosine_matrix(vectors, kind), names, names) for kind in ("raw", "centred")
    )
    return Geometry(raw, centred, {name: clusters[name] for name in names})


def participation(similarity: pd.DataFrame) -> float:
    """How many directions a geometry has: (sum of eigenvalues)^2 / sum of their squares."""
    values = np.linalg.eigvalsh(similarity.to_numpy())
    return float(values.sum() ** 2 / (values**2).sum())


def fields(geometry: Geometry) -> dict[str, np.ndarray]:
    """Factors of the covariances that damage without a source may have, by what they are."""
    count = len(geometry.names)
    kin = np.array([geometry.clusters[name] for name in geometry.names])
    same = (kin[:, None] == kin).astype(float)
    raw, centred = geometry.raw.to_numpy(), geometry.centred.to_numpy()

    def gaussian(similarity: np.ndarray, width: float) -> np.ndarray:
        distance = np.maximum(1 - similarity, 0)
        return np.exp(-distance / (width * np.median(distance)))

    covariances = {
        "no structure": np.eye(count),
        **{
            f"families, ICC {icc}": icc * same + (1 - icc) * np.eye(count)
            for icc in (0.2, 0.5, 0.8)
        },
        "smooth: centred cosines as covariance": centred,
        "smooth: Gaussian kernel, narrow": gaussian(raw, 0.1),
        "smooth: Gaussian kernel, wide": gaussian(centred, 1.0),
        "smooth and families, half noise": 0.25 * centred + 0.25 * same + 0.5 * np.eye(count),
    }
    return {
        name: np.linalg.cholesky(covariance + 1e-6 * np.eye(count))
        for name, covariance in covariances.items()
    }


def answers(
    damage: np.ndarray, questions: int, rng: np.random.Generator, flips: float = 0.08
) -> np.ndarray:
    """Draw changes of answers, -1, 0 or 1, whose mean is the damage.

    Parameters
    ----------
    damage : ndarray of shape (personas,)
        True mean changes, from -1 to 1.
    questions : int
        How many.
    rng : Generator
        Draws.
    flips : float
        Share of answers that change both ways without damage.
    """
    # some questions are broken by any training, whoever is asked
    shared = np.clip(damage[:, None] + rng.normal(0, 0.05, questions), -0.9, 0.9)
    total = np.maximum(np.abs(shared), flips)
    draw = rng.random((len(damage), questions))
    change = np.zeros_like(draw)
    change[draw < total] = -1.0
    change[draw < (total + shared) / 2] = 1.0
    return change
