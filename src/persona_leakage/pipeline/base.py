"""Fetch the base model."""

from persona_leakage.errors import command
from persona_leakage.model.kernels import settle
from persona_leakage.model.origin import fetch
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.weights import note_weights
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Write the model folder, and the hashes of its weights."""
    settle()
    study = load_study()
    directory = paths.model(study)
    fetch(study.model.origin, directory)
    note_weights(directory)


if __name__ == "__main__":
    main()
