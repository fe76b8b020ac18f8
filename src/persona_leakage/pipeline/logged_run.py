"""A run of MLflow as a stage sees it: what is logged to it is logged at best effort.

Every call is one attempt; the first that fails is told in one sentence, and nothing is logged any
more. A value is logged where the run lacks it or has another one; tables, folders and tags replace
those of the same name.
"""

import math
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
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
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from persona_leakage.data.questions import Question
from persona_leakage.files import scratch
from persona_leakage.pipeline.run_table import MINUTES

LONGEST = 300  # characters of a sentence on the screen
ONCE = ("profile/",)  # of a repetition they would differ each time


class LoggedRun:
    """A run of MLflow. None of its methods raises.

    Attributes
    ----------
    run_id : str or None
        ``None`` once an attempt has failed: nothing is logged any more.
    failed : bool
        Whether one has.

    Parameters
    ----------
    name : str
        Of what is logged, for MLflow's pages.
    uploaded_by : str
        The command that logs the same later.
    """

    def __init__(self, name: str, uploaded_by: str):
        self.run_id: str | None = None
        self.failed = False
        self._name, self._uploaded_by = name, uploaded_by
        self._client: Any = None
        self._logged: dict[str, float] = {}

    def end(self, status: str) -> None:
        """Give the run its final status.

        Parameters
        ----------
        status : {"FINISHED", "FAILED", "KILLED"}
            In MLflow's words.
        """
        seconds = [
            value
            for name, value in self._logged.items()
            if name.startswith("profile/") and name.endswith("_seconds")
        ]
        if seconds:
            self.log_metrics({MINUTES: round(sum(seconds) / 60, 2)})
        self._log(lambda run: self._client.set_terminated(run, status))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Log the machine's load, as ``system/``, every ten seconds while the block computes."""
        monitors: list[Any] = []

        def start(run: str) -> None:
            monitor = SystemMetricsMonitor(
                run, resume_logging=True, tracking_uri=self._client.tracking_uri
            )
            monitor.start()
            monitors.append(monitor)

        self._log(start)
        try:
            yield
        finally:
            for monitor in monitors:
                monitor.finish()

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
        return had is None or (had != value and not name.startswith(ONCE))

    def log_params(self, values: Mapping[str, str], had: Mapping[str, str]) -> None:
        """Log parameters that the run lacks; MLflow lets none be changed.

        Parameters
        ----------
        values : mapping
            Name to value.
        had : mapping
            Those it has.
        """
        rows = [Param(name, value) for name, value in values.items() if name not in had]
        if rows:
            self._log(lambda run: self._client.log_batch(run, params=rows))

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

    def log_model(
        self, digest: str, tags: Mapping[str, str], write: Callable[[Path], None]
    ) -> None:
        """Log a model that MLflow loads; the same one is there once.

        Parameters
        ----------
        digest : str
            Of what it was made from.
        tags : mapping
            What MLflow's page of the model says, beside the digest.
        write : callable
            Writes it, in MLflow's layout, into a folder that it makes.
        """

        def log(run: str) -> None:
            with scratch() as folder:  # swept in any case
                send(run, folder / "model")

        def send(run: str, folder: Path) -> None:
            experiment = self._client.get_run(run).info.experiment_id
            of_run = self._client.search_logged_models([experiment], f"source_run_id = '{run}'")
            same = [model for model in of_run if model.tags.get("digest") == digest]
            if any(model.status == "READY" for model in same):
                return
            for model in same:  # half-sent, when a server or a stage was stopped
                self._client.delete_logged_model(model.model_id)
            write(folder)
            model = self._client.create_logged_model(
                experiment, self._name, source_run_id=run, tags={**tags, "digest": digest}
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

    def _take(self, run: Run) -> None:
        self.run_id = run.info.run_id
        self._logged = dict(run.data.metrics)

    def _log(self, action: Callable[[str], Any]) -> None:
        run = self.run_id
        if run is not None:
            self._try(lambda: action(run))

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # whatever a store, a proxy or a disk comes up with
            self.run_id, self.failed = None, True
            tell_failure(
                error,
                "what the stage computes is kept on disk all the same; once the store works, "
                f"`{self._uploaded_by}` adds it",
            )


def tell_failure(error: Exception, then: str) -> None:
    """Say what went wrong, as far as there is room, without what a URI may hold of secrets.

    Parameters
    ----------
    error : Exception
        Of MLflow, or of what it stands on.
    then : str
        What follows from it.
    """
    room = LONGEST - len(f"warning: MLflow failed (); {then}")
    tell(f"MLflow failed ({reason(error)[: max(room, 30)]}); {then}")


def reason(error: Exception) -> str:
    """Write an error in one line; of a database's, what SQLite said, without the statements.

    Parameters
    ----------
    error : Exception
        Of MLflow, or of what it stands on.
    """
    first: BaseException | None = error
    while first is not None and not isinstance(first, sqlite3.Error):
        first = first.__cause__
    first = first or error
    return without_secrets(f"{type(first).__name__}: {' '.join(str(first).split())}")


def without_secrets(text: str) -> str:
    """Leave out the user and the password of each URI in a text.

    Parameters
    ----------
    text : str
        Of any kind.
    """
    return re.sub(r"//[^/@\s]*@", "//", text)


def tell(sentence: str) -> None:
    """Print a warning.

    Parameters
    ----------
    sentence : str
        What it says.
    """
    print(f"warning: {sentence}", file=sys.stderr)
