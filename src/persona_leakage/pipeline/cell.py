"""Compute one cell, or a step of it, without being one of the study's list.

    python -m persona_leakage.pipeline.cell villain 42 contrastive

What all cells share comes from DVC, which computes it when it is not there; the cell's own stages
are the very functions that DVC runs, and log to the run that they always log to. The command line
is checked before anything runs.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from persona_leakage.data.catalog import load_personas
from persona_leakage.errors import InputError, command
from persona_leakage.pipeline import lock, paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Study, load_study

SHARED = ("questions", "personas", "geometry", "baseline")
PREPARED = (*SHARED, "predictors")

# names of modules: their libraries take seconds to import, and much is refused before
STEPS = {"train": ("contrast", "train"), "evaluate": ("evaluate",), "analyse": ("analyse",)}
STAGES = tuple(stage for stages in STEPS.values() for stage in stages)


@command
def main(cell: Cell, stages: Sequence[str] = STAGES) -> None:
    """Run the shared stages, then the cell's.

    Parameters
    ----------
    cell : Cell
        Any cell of the study, also one that ``params.yaml`` does not list.
    stages : sequence of str, optional
        Of ``STEPS``; all of them.

    Raises
    ------
    InputError
        The catalog has no such source, or an earlier step of the cell is not done.
    """
    check(cell)
    study = load_study()
    missing = lacking(study, cell, stages[0])
    if missing is not None:
        step, folder = missing
        raise InputError(
            f"{folder}: no such folder; `mlflow run . -e {step} -P source={cell.source} "
            f"-P seed={cell.seed} -P variant={cell.variant}` makes it"
        )
    repro(*SHARED)
    for stage in stages:
        run(stage, cell)


def run(stage: str, cell: Cell) -> None:
    """Run a stage of a cell in this process.

    Parameters
    ----------
    stage : str
        Of ``STAGES``.
    cell : Cell
        What comes before that stage is there.
    """
    import_module(f"persona_leakage.pipeline.{stage}").main(cell)


def check(cell: Cell) -> None:
    """Refuse a cell whose source nobody is.

    Parameters
    ----------
    cell : Cell
        As it was named.

    Raises
    ------
    InputError
        The catalog has no such source.
    """
    if cell.source not in load_personas(paths.AUTHORED):
        raise InputError(
            f"source is {cell.source!r}, which is no persona of catalog/personas.yaml; correct it "
            "or add a line there"
        )


def lacking(study: Study, cell: Cell, stage: str) -> tuple[str, Path] | None:
    """Return the step that has to be done before a stage, and what it makes, if it is not there.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    cell : Cell
        Of it, or beside it.
    stage : str
        The first that is to run.
    """
    before = {
        "evaluate": ("train", paths.adapter(study, cell)),
        "analyse": ("evaluate", paths.scores(study, cell)),
    }
    if stage in before and not before[stage][1].exists():
        return before[stage]
    return None


def repro(*stages: str) -> None:
    """Let DVC compute what is not there or not up to date; end as it ends where it fails.

    Parameters
    ----------
    *stages : str
        Of ``dvc.yaml``; all where none is named.
    """
    if code := lock.dvc("repro", "--quiet", *stages):
        sys.exit(code)


if __name__ == "__main__":
    main(cell_from_arguments())
