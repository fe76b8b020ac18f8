"""Score the untouched base model."""

import functools

from persona_leakage.behaviours.evaluation import evaluate
from persona_leakage.data.catalog import load_personas
from persona_leakage.data.questions import read_questions
from persona_leakage.errors import command
from persona_leakage.files import read_json, whole
from persona_leakage.model.loading import load_model, load_tokenizer
from persona_leakage.model.processes import devices, scorer
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Write the table of scores."""
    study = load_study()
    personas = load_personas(paths.CATALOG)
    evaluated = read_json(paths.similarity(study) / "personas.json")["evaluated"].values()
    anyone = {name for names in evaluated for name in names}
    directory = paths.model(study)
    load = functools.partial(load_model, directory, study.model.precision)
    with scorer(load, devices()) as score:
        scores = evaluate(
            score,
            load_tokenizer(directory),
            [persona for name, persona in personas.items() if name in anyone],
            read_questions(paths.questions(study) / "evaluate.jsonl"),
            study,
        )
    with whole(paths.baseline(study)) as partial:
        scores.to_parquet(partial, index=False)


if __name__ == "__main__":
    main()
