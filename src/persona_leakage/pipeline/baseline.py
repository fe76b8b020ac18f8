"""Score the untouched base model."""

import functools

from persona_leakage.data.persona_sets import Evaluated
from persona_leakage.data.questions import read_questions
from persona_leakage.errors import command
from persona_leakage.files import read_as
from persona_leakage.model.loading import context, load_model, load_tokenizer
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.scores import score_personas
from persona_leakage.pipeline.weights import checked_weights
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Write the scores of every persona."""
    study = load_study()
    personas = read_as(paths.evaluated(study), Evaluated).personas
    directory = paths.model(study)
    score_personas(
        paths.baseline(study),
        personas,
        read_questions(paths.questions(study) / "evaluate.jsonl"),
        study,
        checked_weights(directory),
        load_tokenizer(directory),
        functools.partial(load_model, directory, study.model.precision),
        context(directory),
    )


if __name__ == "__main__":
    main()
