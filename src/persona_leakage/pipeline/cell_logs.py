"""What the stages after the training log of a cell."""

from persona_leakage.data.questions import read_questions
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.run_table import grouped
from persona_leakage.pipeline.tracking import CellRun
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Study
from persona_leakage.study.results import read_cell


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
    run.log_metrics(grouped(numbers))
    run.log_folder(folder, "analysis")
    run.log_table(finished.personas, "personas.json")
