"""Put cells that are on disk into MLflow: after `dvc pull`, a change of servers, a queue.

    python -m persona_leakage.pipeline.upload                         # all cells that are here
    python -m persona_leakage.pipeline.upload villain 42 contrastive

The stages log with the same functions, so what is there already is not added again.
"""

import math
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from safetensors import safe_open

from persona_leakage.errors import InputError, command
from persona_leakage.files import read_jsonl, read_table, sha256
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.cell_logs import log_analysis, log_evaluation
from persona_leakage.pipeline.logged_run import without_secrets
from persona_leakage.pipeline.run_table import group_of
from persona_leakage.pipeline.served import model_tags, save_model
from persona_leakage.pipeline.study_logs import is_of, log_report
from persona_leakage.pipeline.tracking import CellRun, cell_run, store, study_run
from persona_leakage.study.cell import GIVEN, Cell
from persona_leakage.study.parameters import Study, load_study

CURVE = "train/loss"
# whoever uploads waits for the server, while a stage would compute
PATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "120", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}


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


def log_whole_curve(run: CellRun, curve: pd.DataFrame) -> None:
    """Log the curve of a training that is finished.

    Parameters
    ----------
    run : CellRun
        Of the cell.
    curve : DataFrame
        Of ``curve.csv``.
    """
    for row in curve.to_dict("records"):
        log_curve(run, {str(name): value for name, value in row.items()})


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
    adapter = paths.adapter(study, cell)
    weights = adapter / "adapter_model.safetensors"
    if cell.variant != GIVEN:
        run.log_metrics({group_of("trainable_parameters"): count(weights)})
        examples = paths.contrast(study, cell) / "examples.jsonl"
        run.log_dataset(pd.DataFrame(read_jsonl(examples)), "training", examples)
    run.log_model(sha256(weights), model_tags(study, cell), partial(save_model, study, adapter))


def count(weights: Path) -> int:
    """Count the numbers in a file of weights.

    Parameters
    ----------
    weights : Path
        Safetensors.
    """
    with safe_open(weights, "numpy") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def upload(study: Study, cell: Cell) -> bool:
    """Log whatever of a cell is on disk; tell whether all of it has been.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    cell : Cell
        One that has been trained, here or elsewhere.
    """
    adapter = paths.adapter(study, cell)
    curve = adapter / "curve.csv"
    with cell_run(study, cell, anew_after=CURVE) as run:
        log_whole_curve(run, read_table(curve, ("step", "loss")))
        # a study whose scores alone are kept has neither examples nor adapter
        if (adapter / "adapter_model.safetensors").exists():
            log_training(run, study, cell)
        else:
            run.resume_if_same(CURVE)
        if paths.scores(study, cell).exists():
            log_evaluation(run, study)
        log_analysis(run, study, cell)
    return not run.failed


def upload_report(study: Study) -> bool:
    """Log the study's report; tell whether all of it has been.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    """
    with study_run(study) as run:
        log_report(run, study)
    return not run.failed


@command
def main(cells: Sequence[Cell] | None = None) -> None:
    """Log what is on disk.

    Parameters
    ----------
    cells : sequence of Cell, optional
        All of the study in ``params.yaml`` where none is named, and its report.

    Raises
    ------
    InputError
        Nothing is there, or the store did not take all of it.
    """
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
    study = load_study()
    named = study.cells if cells is None else cells
    here = [cell for cell in named if (paths.adapter(study, cell) / "curve.csv").exists()]
    if not here:
        raise InputError(
            f"outputs/{study.study}: no finished training of {', '.join(map(str, named))}; compute "
            "it with `dvc repro`, or bring it here with `dvc pull`"
        )
    done = [str(cell) for cell in here if upload(study, cell)]
    names = f": {', '.join(done)}" if done else ""
    told = f"{without_secrets(store())}: {len(done)} of {len(named)} cells{names}"
    if cells is None and is_of(study):
        told += " and the report" if upload_report(study) else "; not the report"
    if len(done) < len(here) or told.endswith("; not the report"):
        raise InputError(f"{told}; run it again when the store answers")
    print(told)


if __name__ == "__main__":
    main([cell_from_arguments()] if sys.argv[1:] else None)
