"""Compute every pair's similarity at every layer: arithmetic, no model."""

from persona_leakage.errors import command
from persona_leakage.files import read_as, read_tensor, write_parquet
from persona_leakage.geometry.cosines import Measured, table
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Write ``pairs.parquet``."""
    study = load_study()
    folder = paths.centroids(study)
    manifest = read_as(folder / "manifest.json", Measured)
    shape = (len(manifest.personas), len(manifest.layers))
    vectors = read_tensor(folder / "centroids.safetensors", "centroids", shape)
    write_parquet(paths.pairs(study), table(vectors, manifest.personas, manifest.layers))


if __name__ == "__main__":
    main()
