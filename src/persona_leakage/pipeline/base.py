"""Fetch the base model."""

from transformers.utils import logging

from persona_leakage.errors import command
from persona_leakage.model.origin import fetch
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Write the model folder."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    study = load_study()
    fetch(study.model.origin, paths.model(study))


if __name__ == "__main__":
    main()
