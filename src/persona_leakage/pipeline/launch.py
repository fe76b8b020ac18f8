"""The entry points of ``MLproject``: what ``mlflow run . -e NAME`` calls.

    python -m persona_leakage.pipeline.launch train villain 42 contrastive

Each is a call of the stages or commands that DVC and ``make`` run, and says at its end where its
results are. MLflow makes a run for each launch, in an experiment of its choice: it is let go of,
since the study's experiment holds everything.
"""

import argparse
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persona_leakage.errors import command
from persona_leakage.pipeline import cell, paths, switch
from persona_leakage.pipeline.arguments import NAMES
from persona_leakage.pipeline.cell import repro
from persona_leakage.study.cell import Cell, parse_cell
from persona_leakage.study.parameters import load_study

# MLflow, and what computes, take seconds to import: a cell that is none is refused before
if TYPE_CHECKING:
    from mlflow.entities import Run

BUILDING = 3_600_000  # milliseconds that an environment takes at most; then a launch is let go of
OF_CELL = {"main": cell.STAGES, **cell.STEPS}  # entry point to stages
MAKES = {"train": paths.adapter, "evaluate": paths.scores}  # the others make an analysis


@command
def main(entry: str, values: Sequence[str]) -> None:
    """Do what an entry point says.

    Parameters
    ----------
    entry : str
        A name of ``MLproject``.
    values : sequence of str
        Of its parameters, in their order there.

    Raises
    ------
    InputError
        A value cannot be used, or what the entry point needs is not there yet.
    """
    if entry in OF_CELL:
        chosen = parse_cell(*values)
        cell.check(chosen)
        leave_launch(f"{entry} {chosen}")
        cell.main(chosen, OF_CELL[entry])
        tell_place(MAKES.get(entry, paths.analysis)(load_study(), chosen), chosen)
        return
    leave_launch(" ".join([entry, *values]).strip())
    if entry == "prepare":
        repro(*cell.PREPARED)
        print(f"what all cells share: {Path('outputs', load_study().study).resolve()}")
    elif entry == "report":
        from persona_leakage.pipeline import report

        report.main()
        tell_place(paths.report(load_study()), None)
    elif entry == "study":
        if values[0]:
            switch.main(values[0], begin=True)
        repro()
        tell_place(paths.report(load_study()), None)
    elif entry == "sweep":
        from persona_leakage.pipeline import sweep

        sweep.main(shlex.split(values[0]) or None)
        study = load_study()
        print(f"the sweep: {paths.report(study).with_name(f'{study.study}_sweep').resolve()}")
    else:
        # a study that is kept has been measured: its own machine is not asked again
        if not (paths.kept(load_study()) / "predictors").exists():
            repro("predictors", "centroids")
        # what it needs of the model libraries takes seconds to import
        from persona_leakage.pipeline import predict

        predict.main(values[0], values[1] or None)


def tell_place(folder: Path, of: Cell | None) -> None:
    """Print where the results of a cell, or of the study, are on disk and in MLflow.

    Parameters
    ----------
    folder : Path
        On disk.
    of : Cell or None
        ``None``: the study.
    """
    from persona_leakage.pipeline.tracking import place_of

    study = load_study()
    print(f"{of or study.study}: {folder.resolve()}")
    if is_fetched(Path.cwd()):
        print("MLflow fetched this copy of the project and nobody keeps it: use what is in MLflow")
    place = place_of(study, of)
    print(place or "MLflow: not there; `python -m persona_leakage.pipeline.upload` adds it")


def is_fetched(folder: Path) -> bool:
    """Tell whether MLflow made this folder for a project that it fetched from a URL.

    Parameters
    ----------
    folder : Path
        Of the project.
    """
    made = folder.resolve().parent == Path(tempfile.gettempdir()).resolve()
    return made and re.fullmatch(r"tmp[a-z0-9_]{8}", folder.name) is not None


def leave_launch(name: str) -> None:
    """Let go of the run that ``mlflow run`` makes.

    It is named after what was launched and ended, so that it cannot stay RUNNING. MLflow ends with
    an error where its run was deleted. Where nobody named a store, MLflow made one in the folder
    it was started from: the project's store is used instead. A copy of the project that MLflow
    fetched from a URL keeps MLflow's, which outlives it.

    Parameters
    ----------
    name : str
        What was launched.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if run_id is None:
        return
    from mlflow.tracking import MlflowClient

    from persona_leakage.pipeline.logged_run import tell_failure
    from persona_leakage.pipeline.tracking import quieten

    try:
        quieten()
        client = MlflowClient(uri)
        launch = client.get_run(run_id)
        client.update_run(run_id, status="FINISHED", name=f"launch of {name}"[:200])
        _end_failed_launches(client, launch)
    except Exception as error:  # as in LoggedRun
        tell_failure(error, "what was asked for is computed all the same")
        return
    if re.fullmatch(r"sqlite:///.*/mlflow\.db", uri) and not is_fetched(Path.cwd()):
        del os.environ["MLFLOW_TRACKING_URI"]


def _end_failed_launches(client: Any, launch: "Run") -> None:
    """End the launches of this project whose environment could not be built: MLflow does not."""
    name = "mlflow.source.name"
    for run in client.search_runs([launch.info.experiment_id], "attributes.status = 'RUNNING'"):
        waited = launch.info.start_time - run.info.start_time  # milliseconds
        if run.data.tags.get(name) == launch.data.tags.get(name) and waited > BUILDING:
            client.set_terminated(run.info.run_id, "FAILED")


def arguments(words: Sequence[str]) -> tuple[str, list[str]]:
    """Read an entry point and the values of its parameters.

    Parameters
    ----------
    words : sequence of str
        Of the command line.
    """
    parser = argparse.ArgumentParser(description="An entry point of MLproject.")
    entries = parser.add_subparsers(dest="entry", required=True)
    own: dict[str, tuple[str, ...]] = {
        "prepare": (),
        "report": (),
        "study": ("name",),
        "sweep": ("settings",),
        "predict": ("source", "text"),
    }
    for entry, names in (dict.fromkeys(OF_CELL, NAMES) | own).items():
        of_entry = entries.add_parser(entry)
        for name in names:
            of_entry.add_argument(name)
    given = vars(parser.parse_args(words))
    entry = given.pop("entry")
    return entry, list(given.values())


if __name__ == "__main__":
    main(*arguments(sys.argv[1:]))
