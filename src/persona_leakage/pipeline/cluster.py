"""Compute the cells of the study side by side: with Ray, or as the tasks of a Slurm array.

    python -m persona_leakage.pipeline.cluster ray --gpus 1   # everything, with Ray

    python -m persona_leakage.pipeline.cluster prepare        # the same step by step: once
    python -m persona_leakage.pipeline.cluster cells 0 5      # cells 0 to 4 (or all), here
    python -m persona_leakage.pipeline.cluster collect        # once all are there

Cells are independent of each other. DVC lets one command run at a time, so it computes what cells
share, and is told of the cells at the end: ``dvc commit`` notes what ``dvc repro`` would have made.
Machines see one folder, by the same path, and the same environment of Python.

A cell that is finished is left alone; one whose worker is killed is computed again, and goes on
where it was. Whatever is done twice counts once: a cell has one folder of each kind and, as under
DVC, one run in MLflow.
"""

import argparse
import gc
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from persona_leakage.errors import InputError, brief, command
from persona_leakage.files import read_json, write_json
from persona_leakage.pipeline import cell as one
from persona_leakage.pipeline import lock, paths
from persona_leakage.pipeline.earlier import LIBRARIES, hash_of
from persona_leakage.pipeline.finished import made_of
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Study, load_study

OF_CELL = {
    "contrast": paths.contrast,
    "train": paths.adapter,
    "evaluate": paths.scores,
    "analyse": paths.analysis,
}  # stage of dvc.yaml to the folder that it makes
RETRIES = 3  # of a cell whose worker was killed
PASSED_ON = ("MLFLOW_", "AWS_", "PERSONA_LEAKAGE_")  # of the environment, to the workers


def prepare() -> None:
    """Let DVC compute what cells share."""
    one.repro(*one.PREPARED)


def compute(cells: Sequence[Cell]) -> dict[Cell, str]:
    """Compute cells in this process, as far as they are not finished, without DVC.

    All are trained before one is scored: scoring changes kernels for the whole process.

    Parameters
    ----------
    cells : sequence of Cell
        Of the study in ``params.yaml``, which is prepared.

    Returns
    -------
    dict
        Cell to the sentence that says why it was not finished.
    """
    study = load_study()
    key = computed_from(study)
    stopped: dict[Cell, str] = {}
    ahead = []
    for cell in cells:
        if is_finished(study, cell, key):
            print(f"{study.place(cell)}: finished before", flush=True)
        else:
            ahead.append(cell)
    for stages in one.STEPS.values():
        for cell in ahead:
            if cell in stopped:
                continue
            try:
                for stage in stages:
                    one.run(stage, cell)
            except SystemExit as end:  # a command has said so
                stopped[cell] = str(end.code)
            gc.collect()  # a trainer refers to itself, and holds a model on the GPU
    for cell in ahead:
        if cell not in stopped:
            write_json(_note(study, cell), {"from": key, "made": _made(study, cell)})
    return stopped


def computed_from(study: Study) -> str:
    """Digest of all that the study's cells are computed from.

    Parameters
    ----------
    study : Study
        Which is prepared.
    """
    model = paths.model(study)
    shared = [
        *(file for file in sorted(model.glob("*")) if file.suffix != ".safetensors"),
        paths.baseline(study),
        paths.centroids(study) / "manifest.json",
        paths.evaluated(study),
        paths.pairs(study),
        paths.personas(study),
        paths.questions(study),
    ]
    return hash_of([made_of(study, shared), *(f"{name} {version(name)}" for name in LIBRARIES)])


def is_finished(study: Study, cell: Cell, key: str) -> bool:
    """Tell whether all of a cell is there, as it was made from this, one step after the other.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    cell : Cell
        Of it.
    key : str
        Of ``computed_from``.
    """
    try:
        noted = read_json(_note(study, cell))
    except InputError:  # never noted
        return False
    return bool(noted == {"from": key, "made": _made(study, cell)})


def _note(study: Study, cell: Cell) -> Path:
    return Path("outputs") / study.study / "finished" / f"cell-{cell}.json"


def _made(study: Study, cell: Cell) -> str:
    return made_of(study, [folder(study, cell) for folder in OF_CELL.values()])


def collect(stopped: Mapping[Cell, str] = {}) -> None:
    """Tell DVC of the cells that are finished; where all are, let it compute the rest.

    Parameters
    ----------
    stopped : mapping
        Cell to the sentence that says why it was not finished.

    Raises
    ------
    InputError
        Names a cell that is not finished. Of those that are, DVC has been told.
    """
    study = load_study()
    key = computed_from(study)
    done = [cell for cell in study.cells if is_finished(study, cell, key)]
    if done:
        stages = [f"{stage}@{cell}" for cell in done for stage in _stages(study, cell)]
        if code := lock.dvc("commit", "--quiet", "--force", *stages):
            sys.exit(code)
    missing = [cell for cell in study.cells if cell not in done]
    if missing:
        why = stopped.get(missing[0], "it was not computed from what is there now")
        raise InputError(
            f"{len(done)} of {len(study.cells)} cells are finished; {missing[0]}: "
            f"{why.removeprefix('error: ')}; run it again, what is finished is kept"
        )
    one.repro()
    print(f"{paths.report(study)}/report.html: the report of {len(done)} cells")


def _stages(study: Study, cell: Cell) -> Iterator[str]:
    for stage in OF_CELL:
        yield stage if cell in study.grid else f"{stage}_extra"


@command
def with_ray(gpus: float | None = None, cpus: float = 1) -> None:
    """Compute the study, its cells on a Ray cluster: that of ``RAY_ADDRESS``, or one of its own.

    Parameters
    ----------
    gpus : float, optional
        Of each cell; a fraction lets several share one. One where the cluster has any.
    cpus : float, optional
        Of each cell.

    Raises
    ------
    InputError
        Ray is not here, the cluster has not what a cell needs, or a cell could not be finished.
    """
    for name, number in (("gpus", gpus or 0), ("cpus", cpus)):
        if number < 0 or (number > 1 and number % 1):
            raise InputError(f"--{name} {number}: give a whole number, or a fraction of one")
    with connected() as ray:
        prepare()
        there = ray.cluster_resources()
        wanted = {"CPU": cpus, "GPU": min(1, there.get("GPU", 0)) if gpus is None else gpus}
        for name, number in wanted.items():
            if number > there.get(name, 0):
                raise InputError(
                    f"--{name.lower()}s {number:g}: the Ray cluster has {there.get(name, 0):g} in "
                    "all; ask for less, or add a machine with `ray start`"
                )
        stopped = on_ray(ray, load_study().cells, wanted["CPU"], wanted["GPU"])
    collect(stopped)


@contextmanager
def connected() -> Iterator[Any]:
    """Connect to Ray, and yield its module.

    Raises
    ------
    InputError
        It is not installed, or no cluster can be had.
    """
    # nothing is reported to its makers; nor is the project's folder packed up and sent to the
    # workers, as Ray does below `uv run`: they see it
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "ray is not installed: `uv sync --extra ray` in the project, or `pip install ray`"
        ) from error
    try:
        ray.init(include_dashboard=False, logging_level="ERROR")
    except Exception as error:  # no cluster at RAY_ADDRESS, or a machine too busy for one
        raise InputError(f"Ray did not start: {error}; see to it and run again") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def on_ray(ray: Any, cells: Sequence[Cell], cpus: float, gpus: float) -> dict[Cell, str]:
    """Compute cells on the workers of a cluster, as many at once as it has room for.

    Parameters
    ----------
    ray : module
        Connected.
    cells : sequence of Cell
        Of the study in ``params.yaml``, which is prepared.
    cpus, gpus : float
        What each takes up.

    Returns
    -------
    dict
        Cell to the sentence that says why it was not finished.
    """
    # a process per cell: scoring changes kernels for the whole process, and training wants its own
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, max_calls=1)(_on_worker)
    environment = {name: v for name, v in os.environ.items() if name.startswith(PASSED_ON)}
    running = {task.remote(cell, Path.cwd(), environment): cell for cell in cells}
    stopped = {}
    while running:
        [ended], _ = ray.wait(list(running))
        cell = running.pop(ended)
        try:
            why = ray.get(ended)
        except ray.exceptions.RayError as error:  # a fault of the program, or no worker survived
            why = brief(str(error))
        if why is not None:
            stopped[cell] = why
        print(
            f"{cell}: {why or 'finished'} ({len(cells) - len(running)} of {len(cells)})",
            flush=True,
        )
    return stopped


def _on_worker(cell: Cell, folder: Path, environment: Mapping[str, str]) -> str | None:
    os.chdir(folder)
    os.environ.update(environment)
    return compute([cell]).get(cell)


@command
def main(step: str, begin: int = 0, end: int | None = None) -> None:
    """Do a step of it.

    Parameters
    ----------
    step : {"prepare", "cells", "collect"}
        Which.
    begin, end : int
        The first cell in the order of ``Study.cells``, and the one behind the last; all.

    Raises
    ------
    InputError
        A cell could not be finished, or there is no such cell.
    """
    if step == "prepare":
        prepare()
        print(f"{len(load_study().cells)} cells: 0 to {len(load_study().cells) - 1}")
    elif step == "collect":
        collect()
    else:
        cells = load_study().cells[begin:end]
        if not cells:
            raise InputError(f"no cells from {begin} on: the study has {len(load_study().cells)}")
        for cell, why in compute(cells).items():
            raise InputError(f"{cell}: {why.removeprefix('error: ')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The cells of the study, side by side.")
    steps = parser.add_subparsers(dest="step", required=True)
    with_engine = steps.add_parser("ray", help="everything, the cells with Ray")
    with_engine.add_argument("--gpus", type=float, help="of each cell, such as 1 or 0.5")
    with_engine.add_argument("--cpus", type=float, default=1, help="of each cell")
    steps.add_parser("prepare", help="what cells share; says how many cells there are")
    some = steps.add_parser("cells", help="some cells, without DVC")
    some.add_argument("begin", type=int, nargs="?", default=0, help="the first, from 0")
    some.add_argument("end", type=int, nargs="?", help="the one behind the last; all")
    steps.add_parser("collect", help="tell DVC of the cells; then the report")
    arguments = vars(parser.parse_args())
    if arguments.pop("step") == "ray":
        with_ray(**arguments)
    else:
        main(sys.argv[1], **arguments)
