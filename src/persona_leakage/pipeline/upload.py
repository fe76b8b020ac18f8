"""Put cells that are on disk into MLflow: after `dvc pull`, a change of servers, a queue.

    python -m persona_leakage.pipeline.upload                         # all cells that are here
    python -m persona_leakage.pipeline.upload villain 42 contrastive

The stages log with the same functions, so what is there already is not added again.
"""

import sys
from collections.abc import Sequence
from functools import partial

import pandas as pd

from persona_leakage.errors import InputError, command
from persona_leakage.files import read_jsonl, sha256
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.cell_logs import log_analysis, log_evaluation
from persona_leakage.pipeline.served import save_model
from persona_leakage.pipeline.tracking import CellRun, cell_run, store
from persona_leakage.study.cell import GIVEN, Cell
from persona_leakage.study.parameters import Study, load_study

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
    """Log the adapter and the examples it was trained on, if here; the curve has been logged.

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
    if cell.variant != GIVEN:
        examples = paths.contrast(study, cell) / "examples.jsonl"
        run.log_dataset(pd.DataFrame(read_jsonl(examples)), "training", examples)
    adapter = paths.adapter(study, cell)
    digest = sha256(adapter / "adapter_model.safetensors")
    run.log_model(digest, partial(save_model, study, adapter))


def upload(study: Study, cell: Cell) -> bool:
    """Log whatever of a cell is on disk; tell whether there was anything.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    cell : Cell
        One that may have been computed, here or elsewhere.
    """
    adapter = paths.adapter(study, cell)
    curve = adapter / "curve.csv"
    if not curve.exists():
        return False
    with cell_run(study, cell, anew_after=CURVE) as run:
        for row in pd.read_csv(curve).to_dict("records"):
            log_curve(run, {str(name): value for name, value in row.items()})
        # a study whose scores alone are kept has neither examples nor adapter
        if (adapter / "adapter_model.safetensors").exists():
            log_training(run, study, cell)
        else:
            run.resume_if_same(CURVE)
        if paths.scores(study, cell).exists():
            log_evaluation(run, study)
        log_analysis(run, study, cell)
    return True


@command
def main(cells: Sequence[Cell] | None = None) -> None:
    """Log what is on disk.

    Parameters
    ----------
    cells : sequence of Cell, optional
        All of the study in ``params.yaml`` where none is named.
    """
    study = load_study()
    named = study.cells if cells is None else cells
    done = [str(cell) for cell in named if upload(study, cell)]
    if not done:
        names = ", ".join(map(str, named))
        raise InputError(
            f"outputs/{study.study}: no finished training of {names}; compute it with `dvc repro`, "
            "or bring it here with `dvc pull`"
        )
    print(f"{store()}: {len(done)} of {len(named)} cells: {', '.join(done)}")


if __name__ == "__main__":
    main([cell_from_arguments()] if sys.argv[1:] else None)
