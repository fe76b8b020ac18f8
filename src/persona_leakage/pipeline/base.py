"""Fetch the base model."""

from persona_leakage.errors import command
from persona_leakage.model.kernels import settle
from persona_leakage.model.origin import fetch
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.weights import note_weights
from persona_leakage.study.parameters import load_study
from persona_leakage.training.adapter import check_adaptable


@command
def main() -> None:
    """Write the model folder, and the hashes of its weights."""
    settle()
    study = load_study()
    directory = paths.model(study)
    fetch(study.model.origin, directory)
    check_adaptable(directory, study.train)  # here, since hours of other work come before training
    note_weights(directory)


if __name__ == "__main__":
    main()
