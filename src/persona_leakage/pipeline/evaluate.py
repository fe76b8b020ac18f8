"""Score the fine-tuned model of a cell."""

import functools
from contextlib import ExitStack

from persona_leakage.behaviours.evaluation import evaluate
from persona_leakage.data.catalog import load_personas
from persona_leakage.data.persona_sets import evaluated_for
from persona_leakage.data.questions import from_records
from persona_leakage.errors import command
from persona_leakage.files import read_json, whole
from persona_leakage.model.loading import load_adapted, load_tokenizer
from persona_leakage.model.processes import devices, scorer
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.tracking import Stopwatch, cell_run
from persona_leakage.pipeline.upload import log_evaluation
from persona_leakage.study.parameters import Cell, load_study


@command
def main(cell: Cell) -> None:
    """Write the table of scores; log its profile to the cell's run."""
    study = load_study()
    personas = load_personas(paths.CATALOG)
    chosen = read_json(paths.similarity(study) / "personas.json")
    evaluated = evaluated_for(cell.source, chosen["evaluated"])
    questions = from_records(paths.questions(study) / "evaluate.jsonl")
    directory = paths.model(study)
    clock = Stopwatch()
    load = functools.partial(
        load_adapted, directory, paths.adapter(study, cell), study.model.precision
    )
    with cell_run(study, cell) as run, ExitStack() as stack:
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
        run.log_metrics(clock.parts)
        log_evaluation(run, study)


if __name__ == "__main__":
    main(cell_from_arguments())
