"""MLflow: one experiment per study, one run per cell, resumed by whichever stage comes next.

What a stage computed is on disk before anything is sent to MLflow, and nothing that MLflow does
can take it away: every call is one attempt, the first that fails is told in one sentence, and the
stage goes on without tracking.

Running a stage again adds nothing twice. A value is logged where the run lacks it or has another
one; the seconds of a repetition are not (they would differ each time); tables, folders and tags
replace those of the same name. Only a training curve cannot be replaced, since MLflow never
forgets a point, and is wanted while it grows: training again begins a new run. When the curve
comes out the same, that run is dropped and the earlier one goes on; when it differs, the earlier
one stays with the tag ``superseded_by``, and the stages after it add to the new run.
"""

import json
import logging
import math
import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from filelock import FileLock
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.file_utils import local_file_uri_to_path

from persona_leakage.data.questions import Question
from persona_leakage.files import running
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Study

# MLflow's own are two minutes and seven attempts, in every call, and a bar for a handful of files
QUIET = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# what cells are compared by
FIRST = (
    "source_delta",
    "bystander_delta",
    "unrelated_delta",
    "negative_delta",
    "spearman_raw",
    "spearman_centred",
    "mass_after",
)
VIEW = "cells"
BUILDING = 3_600_000  # milliseconds that an environment takes at most; then a launch is let go of
LONGEST = 300  # characters of a sentence on the screen
UNMARKED = "sqlite:///mlflow.db"  # what MLflow takes where nobody names a store


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
    _quieten()
    file = project() / "mlflow.db"
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if named and named not in (UNMARKED, f"sqlite:///{file}"):
        return named
    _create(file)
    return f"sqlite:///{file}"


def _quieten() -> None:
    """Wait for a server seconds, unless the environment says how long; keep logs for warnings."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # not a line for each table of its database, nor for each attempt at a server
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def _create(file: Path) -> None:
    """Make a store where there is none: aside, since a half-made one stops every later run."""
    if file.exists():
        return
    with FileLock(file.with_name(".mlflow.db.lock")):
        if not file.exists():
            partial = file.with_name(".mlflow.db.partial")
            partial.unlink(missing_ok=True)
            MlflowClient(f"sqlite:///{partial}").search_experiments(max_results=1)
            partial.replace(file)


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


class CellRun:
    """The MLflow run of a cell, as a stage sees it. None of its methods raises.

    Attributes
    ----------
    run_id : str or None
        ``None`` once an attempt has failed: nothing is logged any more.
    """

    def __init__(self, study: Study, cell: Cell):
        self.run_id: str | None = None
        self._study, self._cell = study, cell
        self._client: Any = None
        self._logged: dict[str, float] = {}
        self._earlier: Run | None = None

    def begin(self, anew_after: str | None) -> None:
        """Find the run or start one.

        Parameters
        ----------
        anew_after : str or None
            See ``cell_run``.
        """
        if self._try(lambda: self._begin(anew_after)) is None:
            self.run_id = None

    def end(self, status: str) -> None:
        """Give the run its final status.

        Parameters
        ----------
        status : {"FINISHED", "FAILED", "KILLED"}
            In MLflow's words.
        """
        if self._earlier is not None and status == "FINISHED":
            earlier, self._earlier = self._earlier.info.run_id, None
            self._log(lambda run: self._client.set_tag(earlier, "superseded_by", run))
        self._log(lambda run: self._client.set_terminated(run, status))

    def resume_if_same(self, metric: str) -> None:
        """Go on in the earlier run when its curve of ``metric`` is the one of this run.

        Parameters
        ----------
        metric : str
            Name of a curve that this run has in full.
        """
        self._log(lambda run: self._resume_if_same(run, metric))

    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers that the run does not have yet.

        Parameters
        ----------
        values : mapping
            Name to value; those that are not finite are left out. ``profile/`` values are logged
            once.
        step : int, optional
            Of a curve: its points are logged as they come.
        """
        now = int(time.time() * 1000)
        news = [
            Metric(name, float(value), now, step or 0)
            for name, value in values.items()
            if math.isfinite(value) and (step is not None or self._is_news(name, float(value)))
        ]
        if news:
            self._log(lambda run: self._client.log_batch(run, metrics=news))
            self._logged |= {metric.key: metric.value for metric in news}

    def _is_news(self, name: str, value: float) -> bool:
        had = self._logged.get(name)
        return had is None or (had != value and not name.startswith("profile/"))

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, replacing those of the same names.

        Parameters
        ----------
        tags : mapping
            Name to value.
        """
        rows = [RunTag(name, value) for name, value in tags.items()]
        self._log(lambda run: self._client.log_batch(run, tags=rows))

    def log_dataset(self, frame: pd.DataFrame, context: str, source: str | Path) -> None:
        """Log a table as a data set of the run; the same content is there once.

        Parameters
        ----------
        frame : DataFrame
            Its rows; columns of text and numbers make the digest.
        context : str
            ``training`` or ``evaluation``: its name, and what it was used for.
        source : str or Path
            The file it was read from.
        """

        def log(run: str) -> None:
            origin = LocalArtifactDatasetSource(str(source))
            data = mlflow.data.from_pandas(frame, source=origin, name=context)
            entity = Dataset(**data.to_dict())
            used = [InputTag("mlflow.data.context", context)]
            self._client.log_inputs(run, datasets=[DatasetInput(entity, used)])

        self._log(log)

    def log_questions(self, questions: list[Question], context: str, source: str | Path) -> None:
        """Log questions as a data set.

        Parameters
        ----------
        questions : list of Question
            Its rows.
        context : str
            As in ``log_dataset``.
        source : str or Path
            As in ``log_dataset``.
        """
        frame = pd.DataFrame(
            [
                {
                    "question": question.key,
                    "text": question.text,
                    "choices": " | ".join(question.choices),
                    "answer": question.labels[question.answer],
                }
                for question in questions
            ]
        )
        self.log_dataset(frame, context, source)

    def log_folder(self, folder: str | Path, name: str) -> None:
        """Copy a folder's files to the run's artifacts, replacing those of the same names.

        Parameters
        ----------
        folder : str or Path
            A finished output.
        name : str
            What it is called among the artifacts.
        """
        self._log(lambda run: self._client.log_artifacts(run, str(folder), name))

    def log_model(self, digest: str, write: Callable[[Path], None]) -> None:
        """Log a model that MLflow loads; the same one is there once.

        Parameters
        ----------
        digest : str
            Of what it was made from.
        write : callable
            Writes it, in MLflow's layout, into a folder that it makes.
        """

        def log(run: str) -> None:
            experiment = self._client.get_run(run).info.experiment_id
            of_run = self._client.search_logged_models([experiment], f"source_run_id = '{run}'")
            if any(model.tags.get("digest") == digest for model in of_run):
                return
            with tempfile.TemporaryDirectory(prefix="persona-leakage-") as scratch:
                folder = Path(scratch) / "model"
                write(folder)
                model = self._client.create_logged_model(
                    experiment, str(self._cell), source_run_id=run, tags={"digest": digest}
                )
                self._client.log_model_artifacts(model.model_id, str(folder))
            self._client.finalize_logged_model(model.model_id, "READY")
            self._client.log_outputs(run, [LoggedModelOutput(model.model_id, 0)])

        self._log(log)

    def log_table(self, table: pd.DataFrame, name: str) -> None:
        """Log a table that MLflow's pages show.

        Parameters
        ----------
        table : DataFrame
            Its rows.
        name : str
            Of the artifact; it ends in ``.json``.
        """

        def log(run: str) -> None:
            # MLflow appends to a table that is there
            if name in [artifact.path for artifact in self._client.list_artifacts(run)]:
                self._client.log_text(run, table.to_json(orient="split", index=False), name)
            else:
                self._client.log_table(run, table, name)

        self._log(log)

    def _begin(self, anew_after: str | None) -> bool:
        uri = store()
        self._client = MlflowClient(uri)
        experiment = _experiment(self._client, uri, self._study.study)
        _mark_interrupted(self._client, experiment)
        tags = {
            "study": self._study.study,
            "source": self._cell.source,
            "seed": str(self._cell.seed),
            "variant": self._cell.variant,
            "params": self._study.fingerprint(),
        }
        runs = self._client.search_runs(
            [experiment], tagged(tags), max_results=1, order_by=["start_time DESC"]
        )
        if runs and anew_after in runs[0].data.metrics:
            self._earlier = runs[0]
        if runs and not self._earlier:
            self._take(runs[0])
        else:
            params = flat(self._study.model_dump()) | {
                "source": self._cell.source,
                "seed": self._cell.seed,
                "variant": self._cell.variant,
            }
            written = {name: str(value)[:500] for name, value in params.items()}
            run = self._client.create_run(
                experiment, tags=resolve_tags(tags), run_name=self._name(experiment, written)
            )
            self.run_id = run.info.run_id
            rows = [Param(name, value) for name, value in written.items()]
            self._client.log_batch(self.run_id, params=rows)
        self.log_tags(provenance() | {"process": _process()})
        return True

    def _name(self, experiment: str, params: Mapping[str, str]) -> str:
        """Name a run after its cell and what sets it apart from the cell's first run."""
        tags = {name: params[name] for name in ("source", "seed", "variant")}
        runs = self._client.search_runs(
            [experiment], tagged(tags), max_results=1, order_by=["start_time ASC"]
        )
        first = runs[0].data.params if runs else params
        others = [
            f"{name.rpartition('.')[2]} {value[:20]}"
            for name, value in params.items()
            if first.get(name) != value
        ]
        return ", ".join([str(self._cell), *others[:3], *["..."] * (len(others) > 3)])

    def _take(self, run: Run) -> None:
        self.run_id = run.info.run_id
        self._logged = dict(run.data.metrics)
        self._client.update_run(self.run_id, status="RUNNING")

    def _resume_if_same(self, run: str, metric: str) -> None:
        earlier = self._earlier
        if earlier is None:
            return

        def curve(run_id: str) -> list[tuple[int, float]]:
            history = self._client.get_metric_history(run_id, metric)
            return sorted((point.step, point.value) for point in history)

        if curve(run) != curve(earlier.info.run_id):
            return
        self._client.set_terminated(run, "FINISHED")
        self._client.delete_run(run)
        self._earlier = None
        self._take(earlier)
        self.log_tags(provenance() | {"process": _process()})

    def _log(self, action: Callable[[str], Any]) -> None:
        run = self.run_id
        if run is not None:
            self._try(lambda: [action(run)])

    def _try(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:  # whatever a store, a proxy or a disk comes up with
            self.run_id = None
            cell = f"{self._cell.source} {self._cell.seed} {self._cell.variant}"
            _tell_failure(
                error,
                "what the stage computes is kept in outputs/ all the same; once the store works, "
                f"`python -m persona_leakage.pipeline.upload {cell}` adds it",
            )
            return None


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
    try:
        yield run
    except BaseException as error:
        run.end("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    run.end("FINISHED")


def _experiment(client: Any, uri: str, name: str) -> str:
    """Id of the experiment, made or taken out of the bin where need be."""
    file = project() / "mlflow.db"
    in_project = uri == f"sqlite:///{file}"
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # MLflow would put it into the current folder: for a queued experiment, one that will go
        location = str(project() / "mlruns" / name) if in_project else None
        try:
            made = client.create_experiment(name, artifact_location=location)
            experiment = client.get_experiment(made)
        except MlflowException:
            experiment = client.get_experiment_by_name(name)  # another process was faster
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
        _tell(f"MLflow: the experiment {name} was deleted and is restored, with its runs")
    if in_project:
        _relocate(file, experiment.artifact_location)
    for name, value in shown(experiment.experiment_id).items():
        if name not in experiment.tags:  # a person may have written another note
            client.set_experiment_tag(experiment.experiment_id, name, value)
    return experiment.experiment_id


def shown(experiment: str) -> dict[str, str]:
    """Tags that let MLflow's pages show an experiment with the columns that cells compare by.

    MLflow has no default for its columns; it has views that one person shares with another, in a
    tag of the experiment, and a note above the runs, which here holds the link to the view.

    Parameters
    ----------
    experiment : str
        Its id.
    """
    columns = [
        *(f"params.`{name}`" for name in ("source", "seed", "variant", "model.name")),
        *(f"metrics.`{name}`" for name in FIRST),
        "metrics.`p/spearman_raw`",
        "metrics.`profile/train_seconds`",
        "metrics.`profile/score_seconds`",
    ]
    view = {"selectedColumns": columns, "orderByKey": "attributes.start_time", "orderByAsc": False}
    link = f"#/experiments/{experiment}/runs?viewStateShareKey={VIEW}"
    return {
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
        "mlflow.note.content": (
            f"One run per cell. **[Open the table with the columns that compare them]({link})**\n\n"
            "`*_delta`: change by the fine-tuning, in percentage points for accuracy. "
            "`spearman_*`: its rank correlation with the cosine to the source, over personas that "
            "were never trained. Bounds of intervals are under `interval/`, p values under `p/`, "
            "other numbers under `more/`, seconds and rates under `profile/`."
        ),
    }


def grouped(headline: Mapping[str, float]) -> dict[str, float]:
    """Name the headline numbers for MLflow, which draws a chart of each metric, group by group.

    Those that cells are compared by stay as they are; the others go into groups behind them.

    Parameters
    ----------
    headline : mapping
        Of a cell's result.
    """
    return {group_of(name): value for name, value in headline.items()}


def group_of(name: str) -> str:
    """Name a headline number as MLflow's runs hold it.

    Parameters
    ----------
    name : str
        As a cell's result has it.
    """
    stem, _, end = name.rpartition("_")
    if name in FIRST:
        return name
    if end in ("low", "high"):
        return f"interval/{name}"
    return f"p/{stem}" if end == "p" else f"more/{name}"


def _process() -> str:
    return f"{platform.node()}:{os.getpid()}"


def _mark_interrupted(client: Any, experiment: str) -> None:
    """Mark as killed the runs that say they run, in a process of this machine that is gone."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        machine, _, number = run.data.tags.get("process", "").rpartition(":")
        if machine == platform.node() and number.isdecimal() and not running(int(number)):
            client.set_terminated(run.info.run_id, "KILLED")


def leave_launch(cell: Cell) -> None:
    """Let go of the run that ``mlflow run`` makes: it lies in an experiment of MLflow's choice.

    It is named after the cell and ended, so that it cannot stay RUNNING; the cell's own run, in the
    study's experiment, holds everything. MLflow ends with an error where its run was deleted.
    Where nobody named a store, MLflow made one in the folder it was started from: the project's
    store is used instead. A clone that MLflow made from a URL keeps MLflow's, which outlives it.

    Parameters
    ----------
    cell : Cell
        What was launched.
    """
    run_id = os.environ.pop("MLFLOW_RUN_ID", None)
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if run_id is None:
        return
    try:
        _quieten()
        client = MlflowClient(uri)
        launch = client.get_run(run_id)
        source = launch.data.tags.get("mlflow.source.name", "")
        client.update_run(run_id, status="FINISHED", name=f"launch of {cell}")
        _end_failed_launches(client, launch)
    except Exception as error:  # as in CellRun
        _tell_failure(error, "the cell is computed all the same")
        return
    if re.fullmatch(r"sqlite:///.*/mlflow\.db", uri) and str(Path.cwd()) in source:
        del os.environ["MLFLOW_TRACKING_URI"]


def _end_failed_launches(client: Any, launch: Run) -> None:
    """End the launches of this project whose environment could not be built: MLflow does not."""
    name = "mlflow.source.name"
    for run in client.search_runs([launch.info.experiment_id], "attributes.status = 'RUNNING'"):
        waited = launch.info.start_time - run.info.start_time  # milliseconds
        if run.data.tags.get(name) == launch.data.tags.get(name) and waited > BUILDING:
            client.set_terminated(run.info.run_id, "FAILED")


def _tell_failure(error: Exception, then: str) -> None:
    """Say what went wrong, as far as there is room, without what a URI may hold of secrets."""
    words = re.sub(r"//[^/@\s]*@", "//", f"{type(error).__name__}: {' '.join(str(error).split())}")
    room = LONGEST - len(f"warning: MLflow failed (); {then}")
    _tell(f"MLflow failed ({words[: max(room, 30)]}); {then}")


def _tell(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr)


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
