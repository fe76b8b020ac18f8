"""MLflow: one experiment per study; in it a run that holds the report, and one run per cell.

The runs of cells are children of the study's, whichever stage or command began them; each is
resumed by whichever stage comes next. What a stage computed is on disk before anything is sent to
MLflow, and nothing that MLflow does can take it away: see ``logged_run``.

Running a stage again adds nothing twice. The seconds of a repetition are not logged (they would
differ each time). Only a training curve cannot be replaced, since MLflow never forgets a point, and
is wanted while it grows: training again begins a new run. When the earlier run's curve is the same,
or its beginning (the training or the server was stopped), the new run is dropped and the earlier
one goes on; when it differs, the earlier one stays with the tag ``superseded_by``, and the stages
after it add to the new run.
"""

import logging
import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import psutil  # type: ignore[import-untyped]
from filelock import FileLock
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.file_utils import local_file_uri_to_path

from persona_leakage.errors import InputError
from persona_leakage.pipeline.logged_run import LoggedRun, reason, tell, without_secrets
from persona_leakage.pipeline.run_table import PARAMS, VIEW, shown
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Study

# MLflow's own are two minutes and seven attempts, in every call, a bar for a handful of files, and
# two lines of addresses whenever a stage ends
QUIET = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
SUPERSEDED = "superseded_by"  # the tag of a run that another one took the place of
UNMARKED = "sqlite:///mlflow.db"  # what MLflow takes where nobody names a store
UPLOAD = "python -m persona_leakage.pipeline.upload"
KIND = "study"  # the tag ``kind`` of a study's run
PARENT = "mlflow.parentRunId"
BATCH = 1000  # points, or runs, that MLflow takes at once
SAME = 5  # seconds by which a clock that is set moves the beginning of a process


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested parameters to dotted keys, as MLflow and DVC name them.

    Parameters
    ----------
    content : mapping
        Values, and mappings of them.
    prefix : str
        Put before each key.
    """
    values: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value
    return values


def tagged(tags: Mapping[str, object]) -> str:
    """Write MLflow's filter for the runs that have all of these tags.

    Parameters
    ----------
    tags : mapping
        Name to value.
    """
    return " and ".join(f"tags.{name} = '{value}'" for name, value in tags.items())


def project() -> Path:
    """Folder of the project; for a queued experiment of DVC's not the workspace that will go."""
    here = Path.cwd()
    for folder in here.parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2]
    return here


def use_store() -> None:
    """Let MLflow's own functions use ``store``."""
    mlflow.set_tracking_uri(store())


def store() -> str:
    """URI of the file beside the project, made where need be, or of what the environment names."""
    quieten()
    file = project() / "mlflow.db"
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if named and named not in (UNMARKED, f"sqlite:///{file}"):
        return named
    _create(file)
    return f"sqlite:///{file}"


def quieten() -> None:
    """Wait for a server seconds, unless the environment says how long; keep logs for warnings."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # not a line for each table of its database, nor for each attempt at a server
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # what a database refuses is raised as well, and told in a sentence
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # that the machine's load is lost with the server is no news beside the server
    logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def _create(file: Path) -> None:
    """Make a store where there is none: aside, since a half-made one stops every later run."""
    if file.exists():
        return
    with FileLock(file.with_name(".mlflow.db.lock")):
        if not file.exists():
            aside = file.with_name(".mlflow.db.partial")
            aside.unlink(missing_ok=True)
            try:
                MlflowClient(f"sqlite:///{aside}").search_experiments(max_results=1)
            except Exception as error:  # whatever a disk, SQLite or MLflow comes up with
                raise InputError(
                    f"{file}: MLflow's store could not be made ({reason(error)}); see to it and "
                    "run again, what is finished is kept"
                ) from error
            aside.replace(file)


def _relocate(file: Path, location: str) -> None:
    """Let the artifacts of a store lie beside it again after the project's folder was moved.

    MLflow keeps absolute paths and offers no way to change them.

    Parameters
    ----------
    file : Path
        The store's database.
    location : str
        Where the store says that the artifacts of an experiment are.
    """
    old, separator, _ = location.rpartition("/mlruns/")
    new = str(file.parent)
    if not separator or local_file_uri_to_path(old) == new:
        return
    columns = {
        "experiments": "artifact_location",
        "runs": "artifact_uri",
        "logged_models": "artifact_location",
    }
    with closing(sqlite3.connect(file, timeout=30)) as store, store:
        for table, column in columns.items():
            store.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                f"WHERE substr({column}, 1, ?) = ?",
                (new, len(old) + 1, len(old) + 8, f"{old}/mlruns/"),
            )


class CellRun(LoggedRun):
    """The run of a cell, as a stage sees it."""

    def __init__(self, study: Study, cell: Cell):
        super().__init__(str(cell), f"{UPLOAD} {cell.source} {cell.seed} {cell.variant}")
        self._study, self._cell = study, cell
        self._earlier: list[Run] = []  # newest first

    def begin(self, anew_after: str | None) -> None:
        """Find the run or start one.

        Parameters
        ----------
        anew_after : str or None
            See ``cell_run``.
        """
        self._try(lambda: self._begin(anew_after))

    def end(self, status: str) -> None:  # noqa: D102 (inherited)
        if status == "FINISHED":
            for earlier in self._earlier:
                self._log(partial(self._supersede, earlier.info.run_id))
            self._earlier = []
        super().end(status)

    def _supersede(self, earlier: str, run: str) -> None:
        self._client.set_tag(earlier, SUPERSEDED, run)

    def resume_if_same(self, metric: str) -> None:
        """Go on in an earlier run when its curve of ``metric`` begins this run's, or is the same.

        Parameters
        ----------
        metric : str
            Name of a curve that this run has in full.
        """
        self._log(lambda run: self._resume_if_same(run, metric))

    def _begin(self, anew_after: str | None) -> None:
        self._client, experiment = _opened(self._study)
        parent = _study_run(self._client, experiment, self._study).info.run_id
        tags = cell_tags(self._study, self._cell)
        found = _runs(self._client, experiment, tags, "start_time DESC", limit=BATCH)
        runs = [run for run in found if SUPERSEDED not in run.data.tags]
        params = parameters(
            self._study, self._cell.source, str(self._cell.seed), self._cell.variant
        )
        # several of them: the newest may be of a training that was killed, the one before finished
        self._earlier = [run for run in runs if anew_after in run.data.metrics]
        if runs and runs[0] not in self._earlier:
            self._take(runs[0])
            self._client.update_run(self.run_id, status="RUNNING")
            self.log_params(params, runs[0].data.params)
        else:
            alike = {name: tags[name] for name in ("source", "seed", "variant")}
            name = _name(self._client, experiment, alike, self._name, params)
            run = self._client.create_run(experiment, tags=resolve_tags(tags), run_name=name)
            self.run_id = run.info.run_id
            self.log_params(params, {})
        self.log_tags(provenance() | {"process": _process(), PARENT: parent})

    def _resume_if_same(self, run: str, metric: str) -> None:
        if not self._earlier:
            return

        def curve(run_id: str, name: str) -> list[Metric]:
            points = self._client.get_metric_history(run_id, name)
            return sorted(points, key=lambda point: point.step)

        def values(run_id: str) -> list[tuple[int, float]]:
            return [(point.step, point.value) for point in curve(run_id, metric)]

        has = values(run)
        # oldest first: of several that have all of it the others are repetitions, killed at its end
        curves = [(each, values(each.info.run_id)) for each in reversed(self._earlier)]
        alike = [(each, had) for each, had in curves if has[: len(had)] == had]
        earlier, had = max(alike, key=lambda one: len(one[1]), default=(None, []))
        if earlier is None:
            return
        group = metric.partition("/")[0]
        missing = [
            Metric(point.key, point.value, point.timestamp, point.step)
            for name in self._logged
            if name.partition("/")[0] == group
            for point in curve(run, name)[len(had) :]
        ]
        for start in range(0, len(missing), BATCH):
            self._client.log_batch(earlier.info.run_id, metrics=missing[start : start + BATCH])
        self._client.set_terminated(run, "FINISHED")
        self._client.delete_run(run)
        self._earlier.remove(earlier)
        self._take(earlier)
        self._client.update_run(self.run_id, status="RUNNING")
        self.log_tags(provenance() | {"process": _process()})


class StudyRun(LoggedRun):
    """The run of a study: parent of its cells' runs, it holds the report.

    It counts as finished but for the moment in which the report is logged.
    """

    def __init__(self, study: Study):
        super().__init__(study.study, UPLOAD)
        self._study = study

    def begin(self) -> None:
        """Find the run or start one."""
        self._try(self._begin)

    def _begin(self) -> None:
        self._client, experiment = _opened(self._study)
        self._take(_study_run(self._client, experiment, self._study))
        # what a list of sources or seeds that has grown has begun before its parent was known
        for run in _runs(
            self._client, experiment, {"params": self._study.fingerprint()}, limit=BATCH
        ):
            if run.info.run_id != self.run_id and run.data.tags.get(PARENT) != self.run_id:
                self._client.set_tag(run.info.run_id, PARENT, self.run_id)
        self.log_tags(provenance())


def cell_tags(study: Study, cell: Cell) -> dict[str, str]:
    """Tags that tell the run of a cell from others.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    cell : Cell
        Any.
    """
    return {
        "study": study.study,
        "source": cell.source,
        "seed": str(cell.seed),
        "variant": cell.variant,
        "params": study.fingerprint(),
    }


def parameters(study: Study, source: str, seed: str, variant: str) -> dict[str, str]:
    """Parameters of a run, as MLflow keeps them: texts of at most 500 characters.

    Parameters
    ----------
    study : Study
        Whose run it is.
    source, seed, variant : str
        Of a cell, or those of all of them.
    """
    values = flat(study.model_dump()) | {
        "source": source,
        "seed": seed,
        "variant": variant,
        "behaviour": study.behaviour.name,
        "model": study.model.name,
    }
    return {name: str(value)[:500] for name, value in values.items()}


@contextmanager
def cell_run(study: Study, cell: Cell, anew_after: str | None = None) -> Iterator[CellRun]:
    """Open the MLflow run of a cell; what is logged to it is logged at best effort.

    It is the latest run of this cell with the same parameters in the study's experiment, so that
    every stage adds to one run; other parameters make another run. A run whose process on this
    machine is gone is marked as killed. An error of the block itself is never held back; the run
    is then marked as failed.

    Parameters
    ----------
    study : Study
        Its name is the experiment's.
    cell : Cell
        Its name is the run's.
    anew_after : str, optional
        A metric: where the run has it already, a new run begins (see the module).
    """
    run = CellRun(study, cell)
    run.begin(anew_after)
    with _ended(run):
        yield run


@contextmanager
def study_run(study: Study) -> Iterator[StudyRun]:
    """Open the MLflow run of a study, parent of its cells', likewise at best effort.

    Parameters
    ----------
    study : Study
        Its name is the experiment's; other parameters make another run.
    """
    run = StudyRun(study)
    run.begin()
    with _ended(run):
        yield run


def place_of(study: Study, cell: Cell | None) -> str | None:
    """Say where in MLflow the run of a cell, or of the study, is.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    cell : Cell or None
        ``None``: the study itself.

    Returns
    -------
    str or None
        ``None`` where there is no such run, or no such store.
    """
    tags = {"kind": KIND, "params": study.fingerprint()} if cell is None else cell_tags(study, cell)
    try:
        uri = store()
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(study.study).experiment_id
        runs = _runs(client, experiment, tags, "start_time DESC", limit=BATCH)
        run = next(each for each in runs if SUPERSEDED not in each.data.tags)
    except Exception:  # the stages have said what is wrong with the store
        return None
    if uri.startswith("http"):
        at = f"{without_secrets(uri)}/#/experiments/{experiment}/runs/{run.info.run_id}"
    else:
        at = f"{without_secrets(uri)}, experiment {study.study}, run {run.info.run_name}"
    return f"MLflow: {at}"


@contextmanager
def _ended(run: LoggedRun) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        run.end("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    run.end("FINISHED")


def _opened(study: Study) -> tuple[Any, str]:
    """Open the store; return a client and the study's experiment, its dead runs ended."""
    uri = store()
    client = MlflowClient(uri)
    experiment = _experiment(client, uri, study.study)
    _mark_interrupted(client, experiment)
    return client, experiment


def _runs(
    client: Any,
    experiment: str,
    tags: Mapping[str, object],
    order: str = "start_time ASC",
    limit: int = 1,
) -> Sequence[Run]:
    return client.search_runs([experiment], tagged(tags), max_results=limit, order_by=[order])


def _study_run(client: Any, experiment: str, study: Study) -> Run:
    """Find the study's run or make it: finished, since it has no stage of its own.

    The earliest counts: of two machines that begin at once, one takes its own back.
    """
    fingerprint = study.fingerprint()

    def earliest() -> Run | None:
        runs = _runs(client, experiment, {"kind": KIND, "params": fingerprint})
        return runs[0] if runs else None

    found = earliest()
    if found is not None:
        return found
    with FileLock(project() / ".mlflow.db.lock"):
        found = earliest()
        if found is not None:
            return found
        cells = study.cells
        params = parameters(
            study,
            *(
                ", ".join(dict.fromkeys(str(getattr(cell, part)) for cell in cells))
                for part in ("source", "seed", "variant")
            ),
        )
        tags = {"kind": KIND, "study": study.study, "params": fingerprint, "process": _process()}
        name = _name(client, experiment, {"kind": KIND}, f"study {study.study}", params)
        made = client.create_run(experiment, tags=resolve_tags(tags), run_name=name).info.run_id
        client.log_batch(made, params=[Param(key, value) for key, value in params.items()])
        client.set_terminated(made, "FINISHED")
        found = earliest() or client.get_run(made)
        if found.info.run_id != made:
            client.delete_run(made)
    return found


def _name(
    client: Any, experiment: str, tags: Mapping[str, str], name: str, params: Mapping[str, str]
) -> str:
    """Name a run after what it is of and what sets it apart from the first run of that."""
    runs = _runs(client, experiment, tags)
    first = runs[0].data.params if runs else params
    others = [
        f"{key.rpartition('.')[2]} {value[:20]}"
        for key, value in params.items()
        if key not in PARAMS and first.get(key) != value
    ]
    return ", ".join([name, *others[:3], *["..."] * (len(others) > 3)])


def _experiment(client: Any, uri: str, name: str) -> str:
    """Id of the experiment, made or taken out of the bin where need be."""
    file = project() / "mlflow.db"
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # MLflow would put it into the current folder: of a queued experiment or of a clone that
        # MLflow made, one that will go
        local = uri.removeprefix("sqlite:///") if uri.startswith("sqlite:///") else None
        location = str(Path(local).resolve().parent / "mlruns" / name) if local else None
        try:
            made = client.create_experiment(name, artifact_location=location)
            experiment = client.get_experiment(made)
        except MlflowException:
            experiment = client.get_experiment_by_name(name)  # another process was faster
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
        tell(f"MLflow: the experiment {name} was deleted and is restored, with its runs")
    if uri == f"sqlite:///{file}":
        _relocate(file, experiment.artifact_location)
    for name, value in shown(experiment.experiment_id).items():
        # a person may have written another note; the view is ours
        if name not in experiment.tags or (name.endswith(VIEW) and experiment.tags[name] != value):
            client.set_experiment_tag(experiment.experiment_id, name, value)
    return experiment.experiment_id


def _process() -> str:
    """Name this process, so that a later one of the same number is not taken for it."""
    return f"{platform.node()}:{os.getpid()}:{psutil.Process().create_time():.0f}"


def runs_on(process: str) -> bool:
    """Tell whether a process may still run: it does, or it is of another machine.

    Parameters
    ----------
    process : str
        The tag ``process`` of a run; one without a time is of an earlier version.
    """
    machine, _, rest = process.partition(":")
    number, _, began = rest.partition(":")
    if machine != platform.node() or not number.isdecimal():
        return True
    try:
        created = psutil.Process(int(number)).create_time()
    except (psutil.NoSuchProcess, OverflowError):
        return False
    except psutil.Error:
        return True  # somebody else's
    return not began or abs(created - float(began)) < SAME


def _mark_interrupted(client: Any, experiment: str) -> None:
    """Mark as killed the runs that say they run, in a process of this machine that is gone."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        if not runs_on(run.data.tags.get("process", "")):
            client.set_terminated(run.info.run_id, "KILLED")


def provenance() -> dict[str, str]:
    """State which code this is: git commit and machine.

    The commit is ``-dirty`` when tracked files differ from it, other than what a study switches or
    makes: its parameters, which are told apart by their hash, DVC's lock and the reports. The lock
    itself is not stated: while a stage runs, it is not yet the one that the run ends with.
    """
    switched = [f":!{path}" for path in ("params.yaml", "dvc.lock", "reports")]
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *switched)
    return {
        "git_commit": (commit or "none") + ("-dirty" if changed else ""),
        "machine": f"{platform.machine()} {platform.system()}, Python {platform.python_version()}",
    }


def _git(*arguments: str) -> str:
    try:
        process = subprocess.run(["git", *arguments], capture_output=True, text=True)
    except OSError:  # no git here
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""
