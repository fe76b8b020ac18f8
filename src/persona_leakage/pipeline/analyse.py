"""Compute the tables, statistics and figures of a cell."""

from collections.abc import Mapping
from pathlib import Path

from persona_leakage.errors import command
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.finished import is_finished, made_of, note_finished
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Study, load_study


@command
def main(cell: Cell) -> None:
    """Write ``result.json``, ``personas.csv``, ``curve.csv`` and figures; log them to the run.

    An analysis that is there, made of the same, is logged alone.

    Parameters
    ----------
    cell : Cell
        Whose adapter, scores and baseline are there.
    """
    study = load_study()
    folder = paths.analysis(study, cell)
    key = made_of(study, inputs(study, cell))
    if is_finished(study, cell, folder, key):
        log(study, cell, {})
        return
    # here, since what is finished needs no statistics, which take a second to import
    from persona_leakage.pipeline.cell_analysis import write_analysis

    seconds = write_analysis(study, cell, folder)
    note_finished(study, cell, folder, key)
    log(study, cell, seconds)


def log(study: Study, cell: Cell, seconds: Mapping[str, float]) -> None:
    """Log an analysis to the cell's run.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    cell : Cell
        One that is analysed.
    seconds : mapping
        Of ``Stopwatch``; empty where nothing was computed.
    """
    from persona_leakage.pipeline.cell_logs import log_analysis
    from persona_leakage.pipeline.tracking import cell_run

    with cell_run(study, cell) as run:
        log_analysis(run, study, cell)
        run.log_metrics(seconds)


def inputs(study: Study, cell: Cell) -> list[Path]:
    """Name the files and folders that an analysis is made of.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    cell : Cell
        Of it, or beside it.
    """
    return [
        paths.adapter(study, cell) / "curve.csv",
        paths.baseline(study),
        paths.centroids(study) / "manifest.json",
        paths.contrast(study, cell) / "manifest.json",
        paths.evaluated(study),
        paths.pairs(study),
        paths.personas(study),
        paths.questions(study),
        paths.scores(study, cell),
    ]


if __name__ == "__main__":
    main(cell_from_arguments())
