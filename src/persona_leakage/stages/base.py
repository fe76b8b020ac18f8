"""Fetch the base model."""

from persona_leakage.errors import command
from persona_leakage.model import fetch
from persona_leakage.params import load_study
from persona_leakage.stages import paths


@command
def main() -> None:
    """Write the model folder."""
    study = load_study()
    fetch(study.model.origin, paths.model(study))


if __name__ == "__main__":
    main()
