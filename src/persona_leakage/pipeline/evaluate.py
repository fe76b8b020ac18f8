"""Score the fine-tuned model of a cell."""

import functools
import shutil

from persona_leakage.data.persona_sets import Evaluated, by_name, evaluated_for
from persona_leakage.data.questions import read_questions
from persona_leakage.errors import command
from persona_leakage.files import Record, read_as
from persona_leakage.model.loading import context, load_adapted, load_tokenizer
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.cell_logs import log_evaluation
from persona_leakage.pipeline.scores import score_personas
from persona_leakage.pipeline.stopwatch import Stopwatch
from persona_leakage.pipeline.tracking import cell_run
from persona_leakage.pipeline.weights import checked_weights
from persona_leakage.study.cell import GIVEN, Cell
from persona_leakage.study.parameters import load_study


@command
def main(cell: Cell) -> None:
    """Write the scores of every persona; log how long it took to the cell's run.

    Parameters
    ----------
    cell : Cell
        Its adapter has been trained.
    """
    study = load_study()
    print(f"{study.place(cell)}: asking everyone", flush=True)
    participants = read_as(paths.evaluated(study), Evaluated)
    personas = by_name(participants.personas)
    questions = read_questions(paths.questions(study) / "evaluate.jsonl")
    directory, adapter = paths.model(study), paths.adapter(study, cell)
    shutil.rmtree(paths.checkpoints(study, cell), ignore_errors=True)  # the training is over
    clock = Stopwatch()
    weights: Record = {"base": checked_weights(directory), "adapter": checked_weights(adapter)}
    if cell.variant == GIVEN:  # trained on another scaling, an adapter would be another one
        weights["scaling"] = study.train.lora.scaling
    with cell_run(study, cell) as run:
        with run.watched(), clock.time("score"):
            tokens = score_personas(
                paths.scores(study, cell),
                [personas[name] for name in evaluated_for(cell.source, participants.evaluated)],
                questions,
                study,
                weights,
                load_tokenizer(directory),
                functools.partial(load_adapted, directory, adapter, study.model.precision),
                context(directory),
            )
        if tokens:
            clock.rate("score", tokens)
            run.log_metrics(clock.parts)
        log_evaluation(run, study)


if __name__ == "__main__":
    main(cell_from_arguments())
