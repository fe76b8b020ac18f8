"""Compute one cell from start to end: the entry point of ``mlflow run``.

What all cells share comes from DVC, which computes it when it is not there; the cell's own stages
are the very functions that DVC runs, and log to the run that they always log to. The command line
is checked before anything runs.
"""

import subprocess
import sys

from persona_leakage.data.catalog import load_personas
from persona_leakage.errors import InputError, command
from persona_leakage.pipeline import analyse, contrast, evaluate, train
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.tracking import leave_launch
from persona_leakage.study.cell import Cell

AUTHORED = "catalog"  # a fresh clone has no copy of it yet
SHARED = ("questions", "personas", "geometry", "baseline")


@command
def main(cell: Cell) -> None:
    """Run the shared stages, then the cell's.

    Parameters
    ----------
    cell : Cell
        Any cell of the study, also one that ``params.yaml`` does not list.

    Raises
    ------
    InputError
        The catalog has no such source.
    """
    if cell.source not in load_personas(AUTHORED):
        raise InputError(
            f"source is {cell.source!r}, which is no persona of catalog/personas.yaml; correct it "
            "or add a line there"
        )
    leave_launch(cell)
    process = subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet", *SHARED])
    if process.returncode:
        sys.exit(process.returncode)
    for stage in (contrast, train, evaluate, analyse):
        stage.main(cell)


if __name__ == "__main__":
    main(cell_from_arguments())
