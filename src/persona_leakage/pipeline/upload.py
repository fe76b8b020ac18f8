"""Put a cell that is on disk into MLflow: after a server was down, or after `dvc pull`.

    python -m persona_leakage.pipeline.upload villain 42 contrastive

The stages log with the same functions, so what is there already is not added again.
"""

import pandas as pd

from persona_leakage.data.questions import read_questions
from persona_leakage.errors import InputError, command
from persona_leakage.files import read_jsonl
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.tracking import CellRun, cell_run
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Study, load_study
from persona_leakage.study.results import read_cell

CURVE = "train/loss"


def log_curve(run: CellRun, row: dict[str, float]) -> None:
    """Log a step of the training.

    Parameters
    ----------
    run : CellRun
        Of the cell.
    row : dict
        ``step``, ``epoch``, ``loss``, ``learning_rate``, ``grad_norm``, as in ``curve.csv``.
    """
    values = {f"train/{name}": value for name, value in row.items() if name != "step"}
    run.log_metrics(values, int(row["step"]))


def log_training(run: CellRun, study: Study, cell: Cell) -> None:
    """Log the adapter and the examples it was trained on; the curve has been logged.

    Parameters
    ----------
    run : CellRun
        Of the cell, opened with ``anew_after=CURVE``.
    study : Study
        Whose cell it is.
    cell : Cell
        One that has been trained.
    """
    run.resume_if_same(CURVE)
    examples = paths.contrast(study, cell) / "examples.jsonl"
    run.log_dataset(pd.DataFrame(read_jsonl(examples)), "training", examples)
    run.log_folder(paths.adapter(study, cell), "adapter")


def log_evaluation(run: CellRun, study: Study) -> None:
    """Log the questions that every persona was asked.

    Parameters
    ----------
    run : CellRun
        Of the cell.
    study : Study
        Its questions are logged.
    """
    file = paths.questions(study) / "evaluate.jsonl"
    run.log_questions(read_questions(file), "evaluation", file)


def log_analysis(run: CellRun, study: Study, cell: Cell) -> None:
    """Log the numbers, tables and figures of a cell, if it has been analysed.

    Parameters
    ----------
    run : CellRun
        Of the cell.
    study : Study
        Whose cell it is.
    cell : Cell
        One that may have been analysed.
    """
    folder = paths.analysis(study, cell)
    finished = read_cell(folder)
    if finished is None:
        return
    numbers, boundary = dict(finished.result.headline), finished.result.boundary
    if boundary.reason is None:
        numbers |= {"boundary_midpoint": boundary.midpoint, "boundary_width": boundary.width}
    run.log_metrics(numbers)
    run.log_folder(folder, "analysis")
    run.log_table(finished.personas, "personas.json")


@command
def main(cell: Cell) -> None:
    """Log whatever of a cell is on disk.

    Parameters
    ----------
    cell : Cell
        A cell that `dvc repro` or `mlflow run` has computed here.
    """
    study = load_study()
    curve = paths.adapter(study, cell) / "curve.csv"
    if not curve.exists():
        raise InputError(f"{curve}: no such file; compute it with `dvc repro train@{cell}`")
    with cell_run(study, cell, anew_after=CURVE) as run:
        for row in pd.read_csv(curve).to_dict("records"):
            log_curve(run, {str(name): value for name, value in row.items()})
        log_training(run, study, cell)
        if paths.scores(study, cell).exists():
            log_evaluation(run, study)
        log_analysis(run, study, cell)


if __name__ == "__main__":
    main(cell_from_arguments())
