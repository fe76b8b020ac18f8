"""MLflow: one experiment a study, one run a cell, resumed by whichever stage comes next."""

import hashlib
import logging
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import Metric, RunStatus
from mlflow.tracking import MlflowClient

from persona_leakage.data.questions import Question
from persona_leakage.study.parameters import Cell, Study

logging.getLogger("mlflow").setLevel(logging.WARNING)  # not a line a table of its database

DEFAULT_STORE = "sqlite:///mlflow.db"
# read at once: MLflow takes it out of the environment when the first stage's run is closed
MADE_BY_MLFLOW = os.environ.get("MLFLOW_RUN_ID")


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested parameters to dotted keys, as MLflow and DVC name them."""
    values: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value
    return values


def use_store() -> None:
    """Track in the file beside the project, unless the environment names a server."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(DEFAULT_STORE)


def tagged(tags: Mapping[str, object]) -> str:
    """Write MLflow's filter for the runs that have all of these tags."""
    return " and ".join(f"tags.{name} = '{value}'" for name, value in tags.items())


@contextmanager
def cell_run(study: Study, cell: Cell) -> Iterator[str]:
    """Open the MLflow run of a cell and yield its id.

    Inside ``mlflow run`` it is the run that MLflow made. Otherwise it is the latest run of this
    cell with the same parameters in the study's experiment, so that every stage adds to one run;
    other parameters make another run.
    """
    use_store()
    tags = {
        "study": study.study,
        "source": cell.source,
        "seed": str(cell.seed),
        "variant": cell.variant,
        "params": study.fingerprint(),
    }
    if MADE_BY_MLFLOW:
        context = mlflow.start_run(run_id=MADE_BY_MLFLOW)
    else:
        mlflow.set_experiment(study.study)
        found = mlflow.search_runs(
            filter_string=tagged(tags),
            max_results=1,
            output_format="list",
            order_by=["start_time DESC"],
        )
        if found:
            context = mlflow.start_run(run_id=found[0].info.run_id)
        else:
            context = mlflow.start_run(run_name=str(cell))
    with context as run:
        if not run.data.params.get("train.learning_rate"):
            mlflow.log_params(
                {name: str(value)[:500] for name, value in flat(study.model_dump()).items()}
                | {"source": cell.source, "seed": cell.seed, "variant": cell.variant}
            )
        mlflow.set_tags(tags | provenance())
        yield run.info.run_id
    if MADE_BY_MLFLOW:
        # `mlflow run` ends its run itself, once the whole entry point is done
        MlflowClient().update_run(MADE_BY_MLFLOW, RunStatus.to_string(RunStatus.RUNNING))


def provenance() -> dict[str, str]:
    """State which code and which recorded inputs this is: git commit, DVC lock hash, machine.

    The commit is ``-dirty`` when tracked files differ from it, other than what a study switches or
    makes: its parameters, which are told apart by their hash, DVC's lock and the reports.
    """
    switched = [f":!{path}" for path in ("params.yaml", "dvc.lock", "reports")]
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *switched)
    lock = Path("dvc.lock")
    digest = hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else "none"
    return {
        "git_commit": (commit or "none") + ("-dirty" if changed else ""),
        "dvc_lock_sha256": digest,
        "machine": f"{platform.machine()} {platform.system()}, Python {platform.python_version()}",
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def log_questions(questions: list[Question], context: str, source: str) -> None:
    """Log the questions of a cell as an MLflow dataset (``context``: training or evaluation)."""
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
    origin = LocalArtifactDatasetSource(source)
    data = mlflow.data.from_pandas(frame, source=origin, name=context, targets="answer")
    mlflow.log_input(data, context=context)


def log_curve(curve: pd.DataFrame) -> None:
    """Log a training curve: every column but ``step`` as a metric of its own."""
    run = mlflow.active_run()
    assert run is not None, "called inside cell_run"
    now = int(time.time() * 1000)
    metrics = [
        Metric(f"train/{column}", float(row[column]), now, int(row["step"]))
        for row in curve.to_dict("records")
        for column in curve.columns
        if column != "step"
    ]
    MlflowClient().log_batch(run.info.run_id, metrics=metrics)


@dataclass
class Stopwatch:
    """Seconds and tokens of the parts of a stage: the profile of a cell."""

    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        yield
        self.parts[f"profile/{part}_seconds"] = time.perf_counter() - start

    def rate(self, part: str, tokens: int) -> None:
        """Add the tokens a second of a part that has been timed."""
        seconds = self.parts[f"profile/{part}_seconds"]
        self.parts[f"profile/{part}_tokens_per_second"] = tokens / seconds
