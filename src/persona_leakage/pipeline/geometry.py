"""Compute every pair's similarity at every layer: arithmetic, no model."""

from safetensors.numpy import load_file

from persona_leakage.errors import command
from persona_leakage.files import read_json, whole
from persona_leakage.geometry.cosines import table
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Write ``pairs.parquet``."""
    study = load_study()
    folder = paths.centroids(study)
    manifest = read_json(folder / "manifest.json")
    vectors = load_file(folder / "centroids.safetensors")["centroids"]
    pairs = table(vectors, manifest["personas"], manifest["layers"])
    with whole(paths.pairs(study)) as partial:
        pairs.to_parquet(partial, index=False)


if __name__ == "__main__":
    main()
