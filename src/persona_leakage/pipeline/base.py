"""Fetch the base model."""

from persona_leakage.errors import command
from persona_leakage.model.loading import fetch
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Write the model folder."""
    study = load_study()
    fetch(study.model.origin, paths.model(study))


if __name__ == "__main__":
    main()
