"""Learning rate against epochs on one source, as DVC experiments: ``make sweep``.

Every setting is an experiment that ``dvc exp show`` lists and a run that the MLflow UI compares;
their headline numbers go into one table. Experiments run in a copy of the project that DVC makes,
so that neither ``params.yaml`` nor the study's report changes, however a sweep ends.

    python -m persona_leakage.pipeline.sweep --settings 1e-4x3 5e-4x3 1e-3x6

Without settings it tries those around the study's own: a learning rate that does something to one
model does nothing to a smaller one.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.errors import InputError, command
from persona_leakage.files import whole
from persona_leakage.pipeline import lock, paths
from persona_leakage.pipeline.run_table import group_of
from persona_leakage.pipeline.tracking import tagged, use_store
from persona_leakage.report import figures
from persona_leakage.report.words import spaced
from persona_leakage.study.parameters import FolderOrigin, Study, Train, load_study

COLUMNS = ("source_delta", "bystander_delta", "unrelated_delta", "spearman_raw", "spearman_raw_p")


@dataclass(frozen=True)
class Setting:
    """How one experiment trains.

    Attributes
    ----------
    learning_rate : float
        At the peak of the schedule.
    epochs : float
        Passes over the training set.
    """

    learning_rate: float
    epochs: int

    def of(self, study: Study) -> Study:
        """Return the study with this setting, one source and one seed.

        Parameters
        ----------
        study : Study
            Whose other parameters are kept.
        """
        train = study.train.model_copy(
            update={"learning_rate": self.learning_rate, "epochs": self.epochs}
        )
        return study.model_copy(
            update={
                "train": train,
                "sources": study.sources[:1],
                "seeds": study.seeds[:1],
                "variants": ["contrastive"],
                "extra_cells": {},
            }
        )


def around(train: Train) -> list[str]:
    """Return half, all and twice the learning rate, and the first two with twice the epochs.

    Parameters
    ----------
    train : Train
        Of a study.
    """
    rate, epochs = train.learning_rate, train.epochs
    tried = [(rate / 2, epochs), (rate, epochs), (rate * 2, epochs)]
    tried += [(rate / 2, epochs * 2), (rate, epochs * 2)]
    return [f"{rate:g}x{epochs}" for rate, epochs in tried]


def setting(text: str) -> Setting:
    """Read ``1e-5x3``: a learning rate and a number of epochs.

    Parameters
    ----------
    text : str
        As the user wrote it.

    Raises
    ------
    InputError
        It is not of that form.
    """
    rate, _, epochs = text.partition("x")
    try:
        read = Setting(float(rate), int(epochs))
    except ValueError:
        read = Setting(0, 0)
    if not 0 < read.learning_rate < 1 or read.epochs < 1:
        raise InputError(
            f"--settings: {text!r} is no learning rate with epochs; write them as 1e-5x3"
        )
    return read


@command
def main(settings: Sequence[str] | None = None) -> None:
    """Run the settings one after the other, then write ``reports/<study>_sweep``.

    Parameters
    ----------
    settings : sequence of str, optional
        Of ``setting``; those ``around`` the study's own where none are named.
    """
    study = load_study()
    named = around(study.train) if settings is None else settings
    choices = list(dict.fromkeys(setting(text) for text in named))
    outcome = load_behaviour(study.behaviour).outcome
    use_store()
    lock.mend()
    for each in choices:
        _run(each.of(study))
    table = pd.DataFrame([_numbers(each, each.of(study)) for each in choices])
    table = table.sort_values(["learning_rate", "epochs"], ignore_index=True)
    with whole(paths.report(study).with_name(f"{study.study}_sweep")) as partial:
        partial.mkdir()
        table.to_csv(partial / "sweep.csv", index=False, lineterminator="\n")
        title = f"{study.study}: {spaced(study.sources[0])}, seed {study.seeds[0]}"
        figures.save(figures.sweep_bars(table, title, outcome), partial / "sweep")


def _run(study: Study) -> None:
    """Run the study as an experiment in DVC's own copy of the project."""
    dvc = [sys.executable, "-m", "dvc", "exp"]
    train = study.train
    name = f"{study.study}-lr{train.learning_rate:g}-epochs{train.epochs}"
    listing = subprocess.run([*dvc, "list", "--name-only"], capture_output=True, text=True)
    if name in listing.stdout.split():
        # of an earlier sweep: its results stay in DVC's cache, and only what changed runs again
        subprocess.run([*dvc, "remove", "--quiet", name], check=True)
    changes = (
        f"train.learning_rate={train.learning_rate}",
        f"train.epochs={train.epochs}",
        f"sources=[{study.sources[0]}]",
        f"seeds=[{study.seeds[0]}]",
        "variants=[contrastive]",
        "extra_cells={}",
    )
    arguments = [argument for change in changes for argument in ("-S", change)]
    arguments += [argument for path in untracked(study) for argument in ("--copy-paths", path)]
    process = subprocess.run([*dvc, "run", "--temp", "--name", name, *arguments])
    if process.returncode:
        sys.exit(process.returncode)


def untracked(study: Study) -> list[str]:
    """Name what the study reads inside the project that neither git nor DVC brings along.

    Parameters
    ----------
    study : Study
        With snapshots of benchmarks, or a model in a folder.
    """
    paths_named = list(study.questions.snapshots.values())
    if isinstance(study.model.origin, FolderOrigin):
        paths_named.append(study.model.origin.path)
    inside = [path for path in paths_named if Path.cwd() in Path(path).resolve().parents]
    return [path for path in dict.fromkeys(inside) if not Path(path).is_absolute()]


def _numbers(each: Setting, study: Study) -> dict[str, float]:
    """Join the setting and its run's headline; not a number where a run could compute none."""
    tags = {
        "source": study.sources[0],
        "seed": study.seeds[0],
        "variant": "contrastive",
        "params": study.fingerprint(),
    }
    runs = mlflow.search_runs(
        experiment_names=[study.study],
        filter_string=tagged(tags),
        max_results=1,
        order_by=["start_time DESC"],
        output_format="list",
    )
    if not runs:
        raise InputError(
            f"the run of learning rate {each.learning_rate:g} and {each.epochs} epochs is not in "
            "MLflow's store; start the sweep again, finished stages are not recomputed"
        )
    metrics = runs[0].data.metrics
    return {
        "learning_rate": each.learning_rate,
        "epochs": each.epochs,
        **{name: metrics.get(group_of(name), float("nan")) for name in COLUMNS},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Learning rate against epochs on one source.")
    parser.add_argument("--settings", nargs="+", help="such as 1e-5x3")
    main(parser.parse_args().settings)
