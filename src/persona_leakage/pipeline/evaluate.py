"""Score the fine-tuned model of a cell."""

import functools
from contextlib import ExitStack

import mlflow

from persona_leakage.behaviours.evaluation import evaluate
from persona_leakage.data.catalog import load_personas
from persona_leakage.data.persona_sets import evaluated_for
from persona_leakage.data.questions import read_questions
from persona_leakage.errors import command
from persona_leakage.files import read_json, whole
from persona_leakage.model.loading import load_adapted, load_tokenizer
from persona_leakage.model.processes import devices, scorer
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.tracking import Stopwatch, cell_run, log_questions
from persona_leakage.study.parameters import Cell, load_study


@command
def main(cell: Cell) -> None:
    """Write the table of scores; log its profile to the cell's run."""
    study = load_study()
    personas = load_personas(paths.CATALOG)
    chosen = read_json(paths.similarity(study) / "personas.json")
    evaluated = evaluated_for(cell.source, chosen["evaluated"])
    path = paths.questions(study) / "evaluate.jsonl"
    questions = read_questions(path)
    directory = paths.model(study)
    clock = Stopwatch()
    load = functools.partial(
        load_adapted, directory, paths.adapter(study, cell), study.model.precision
    )
    with cell_run(study, cell), ExitStack() as stack:
        with clock.time("load_adapted"):
            score = stack.enter_context(scorer(load, devices()))
        with clock.time("score"):
            scores = evaluate(
                score,
                load_tokenizer(directory),
                [personas[name] for name in evaluated],
                questions,
                study,
            )
        with whole(paths.scores(study, cell)) as partial:
            scores.to_parquet(partial, index=False)
        clock.rate("score", int(scores["tokens"].sum()))
        mlflow.log_metrics(clock.parts)
        log_questions(questions, "evaluation", str(path))


if __name__ == "__main__":
    main(cell_from_arguments())
