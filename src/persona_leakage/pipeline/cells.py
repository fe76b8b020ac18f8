"""Compute all cells of a study in one process, instead of one per cell and stage.

    python -m persona_leakage.pipeline.cells

On a GPU a cell of 1.5 billion parameters takes a minute, and to start a process that imports the
model's libraries a quarter of one, for each stage of a cell. The stages are the very functions that
DVC runs: what is finished is not computed again, here or by a ``dvc repro`` afterwards, which makes
the report. Where this is killed, started again it goes on.
"""

import gc

from persona_leakage.errors import command
from persona_leakage.pipeline.cell import SHARED, STEPS, repro
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Run the shared stages, then step after step of all cells.

    All are trained before one is scored: scoring changes kernels for the whole process.
    """
    repro(*SHARED)
    for stages in STEPS.values():
        for cell in load_study().cells:
            for stage in stages:
                stage(cell)
                gc.collect()  # a trainer refers to itself, and holds a model on the GPU


if __name__ == "__main__":
    main()
