"""Fine-tune the model of a cell; a training that was stopped goes on where it was.

A cell of the variant ``given`` is not trained: the adapter that the study names for it is checked
and copied.

The adapter says what it was computed from, and so do the checkpoints: what matches is used, what
does not is thrown away. Adapters of other settings stay within reach: see ``pipeline.earlier``.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock
from transformers import TrainerCallback, TrainerState

from persona_leakage.errors import InputError, command
from persona_leakage.files import (
    read_json,
    read_table,
    sha256,
    whole,
    write_json,
    write_text,
)
from persona_leakage.model.loading import dtype, load_tokenizer
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.earlier import (
    arithmetic,
    bring_back,
    computed_with,
    hash_of,
    remember,
)
from persona_leakage.pipeline.stopwatch import Stopwatch
from persona_leakage.pipeline.tracking import CellRun, cell_run
from persona_leakage.pipeline.upload import CURVE, log_curve, log_training, log_whole_curve
from persona_leakage.study.cell import GIVEN, Cell, until
from persona_leakage.study.parameters import Study, load_study
from persona_leakage.training import trainer as training
from persona_leakage.training.card import card, described
from persona_leakage.training.example import read_examples
from persona_leakage.training.given import given_for, take

COMPUTED_FROM = "computed_from.json"


class LiveCurve(TrainerCallback):
    """Logs each optimiser step as it is done, so that the curve can be watched growing.

    transformers' own callback for MLflow would add some 200 parameters of the model and the
    trainer, and end the training where the server fails.

    Parameters
    ----------
    run : CellRun
        Where to.
    """

    def __init__(self, run: CellRun):
        self._run = run

    def on_train_begin(  # noqa: D102 (the signature is transformers')
        self, args: Any, state: TrainerState, control: Any, **kwargs: Any
    ) -> None:
        # what a training that goes on has done before
        for logs in state.log_history:
            self._log(logs, int(logs["step"]))

    def on_log(  # noqa: D102 (the signature is transformers')
        self,
        args: Any,
        state: TrainerState,
        control: Any,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs:
            self._log(logs, state.global_step)

    def _log(self, logs: dict[str, float], step: int) -> None:
        if "loss" in logs:
            row = {name: float(logs[name]) for name in training.CURVE if name in logs}
            log_curve(self._run, row | {"step": step})


@command
def main(cell: Cell) -> None:
    """Write the adapter and ``curve.csv``; log them to the cell's run.

    An adapter that is there or was, computed from the same, is logged alone.

    Parameters
    ----------
    cell : Cell
        Its examples have been made.
    """
    study = load_study()
    if cell.variant == GIVEN:
        copy_given(study, cell)
        return
    print(f"{study.place(cell)}: training", flush=True)
    checkpoints = paths.checkpoints(study, cell)
    checkpoints.parent.mkdir(parents=True, exist_ok=True)
    # of two that train one cell the second waits, and finds the adapter there
    with FileLock(checkpoints.with_suffix(".lock")):
        train(study, cell, checkpoints)


def train(study: Study, cell: Cell, checkpoints: Path) -> None:
    """Train a cell, or find that it is trained.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    cell : Cell
        Its examples have been made.
    checkpoints : Path
        A folder that nobody else uses meanwhile.
    """
    directory = paths.model(study)
    key, adapter = computed_from(study, cell), paths.adapter(study, cell)
    examples = read_examples(paths.contrast(study, cell) / "examples.jsonl")
    prompt = next((e.system for e in examples if e.persona == cell.source), None)
    # what `auto` came to on this machine
    precision = str(dtype(study.model.precision)).removeprefix("torch.")
    text = card(study, cell, prompt, precision)
    everything = key | {"card": text, "stage": sha256(__file__)}
    if is_from(adapter, key) or bring_back(adapter, everything):
        log_again(study, cell)
        return
    tokenizer = load_tokenizer(directory)
    data = training.dataset(examples, tokenizer, study.train.max_length, study.model.system_role)
    clock = Stopwatch()
    if not is_from(checkpoints, key):
        shutil.rmtree(checkpoints, ignore_errors=True)
        write_json(checkpoints / COMPUTED_FROM, key)
    with cell_run(study, cell, anew_after=CURVE) as run:
        run.log_tags({"precision": precision})
        with whole(adapter) as partial:
            with clock.time("load"):
                trainer = training.build_trainer(
                    directory,
                    tokenizer,
                    data,
                    study.train,
                    cell.seed,
                    study.model.precision,
                    checkpoints,
                )
            trainer.add_callback(LiveCurve(run))
            with run.watched(), clock.time("train"):
                curve = training.train(trainer, partial, until(cell.variant))
            epochs = float(curve["epoch"].iloc[-1])
            clock.rate("train", round(epochs * sum(len(ids) for ids in data["input_ids"])))
            curve.to_csv(partial / "curve.csv", index=False)
            config = partial / "adapter_config.json"
            write_json(config, described(read_json(config), study))
            write_text(partial / "README.md", text)
            write_json(partial / COMPUTED_FROM, key)
        remember(adapter, everything)
        log_training(run, study, cell)
        run.log_metrics(clock.parts)


def copy_given(study: Study, cell: Cell) -> None:
    """Put the adapter that the study names for a cell where a training would; log it.

    It has no curve: ``curve.csv`` has no row.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    cell : Cell
        Of the variant ``given``.
    """
    given = given_for(study, cell)
    print(f"{study.place(cell)}: the adapter of {given.path}", flush=True)
    with whole(paths.adapter(study, cell)) as partial:
        take(study, cell, paths.model(study), partial)
        write_text(partial / "curve.csv", ",".join(training.CURVE) + "\n")
        write_json(partial / COMPUTED_FROM, {"given": given.sha256})
    log_again(study, cell)


def computed_from(study: Study, cell: Cell) -> dict[str, str]:
    """State everything that an adapter depends on, for comparison: hashes, settings, versions.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    cell : Cell
        Its examples have been made.
    """
    recipe = study.train.model_dump(mode="json") | {"seed": cell.seed, "steps": until(cell.variant)}
    return {
        "examples": sha256(paths.contrast(study, cell) / "examples.jsonl"),
        "recipe": hash_of([json.dumps(recipe | arithmetic(study), sort_keys=True)]),
        **computed_with(study, ("training", "model")),
    }


def is_from(folder: Path, key: dict[str, str]) -> bool:
    """Tell whether an adapter's or checkpoints' folder was computed from this.

    Parameters
    ----------
    folder : Path
        There or not.
    key : dict
        Of ``computed_from``.
    """
    try:
        return bool(read_json(folder / COMPUTED_FROM) == key)
    except InputError:
        return False


def log_again(study: Study, cell: Cell) -> None:
    """Log a training that is finished, in case that its run does not have it.

    Parameters
    ----------
    study : Study
        Whose cell it is.
    cell : Cell
        One that has been trained.
    """
    curve = read_table(paths.adapter(study, cell) / "curve.csv", training.CURVE)
    with cell_run(study, cell, anew_after=CURVE) as run:
        log_whole_curve(run, curve)
        log_training(run, study, cell)


if __name__ == "__main__":
    main(cell_from_arguments())
