"""Fine-tune the model of a cell."""

from typing import Any

from transformers import TrainerCallback, TrainerState

from persona_leakage.errors import command
from persona_leakage.files import read_json, read_jsonl, whole, write_json, write_text
from persona_leakage.model.loading import dtype, load_tokenizer
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.tracking import CellRun, Stopwatch, cell_run
from persona_leakage.pipeline.upload import CURVE, log_curve, log_training
from persona_leakage.study.cell import Cell, until
from persona_leakage.study.parameters import load_study
from persona_leakage.training import trainer as training
from persona_leakage.training.card import card, described
from persona_leakage.training.example import Example


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

    def on_log(  # noqa: D102 (the signature is transformers')
        self,
        args: Any,
        state: TrainerState,
        control: Any,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs and "loss" in logs:
            row = {name: float(logs[name]) for name in training.CURVE if name in logs}
            log_curve(self._run, row | {"step": state.global_step})


@command
def main(cell: Cell) -> None:
    """Write the adapter and ``curve.csv``; log them to the cell's run.

    Parameters
    ----------
    cell : Cell
        Its examples have been made.
    """
    study = load_study()
    print(f"{study.place(cell)}: training", flush=True)
    directory = paths.model(study)
    examples = [
        Example(**row) for row in read_jsonl(paths.contrast(study, cell) / "examples.jsonl")
    ]
    tokenizer = load_tokenizer(directory)
    data = training.dataset(examples, tokenizer, study.train.max_length, study.model.system_role)
    # what `auto` came to on this machine
    precision = str(dtype(study.model.precision)).removeprefix("torch.")
    clock = Stopwatch()
    with cell_run(study, cell, anew_after=CURVE) as run:
        with training.scratch() as scratch, whole(paths.adapter(study, cell)) as partial:
            with clock.time("load"):
                trainer = training.build_trainer(
                    directory,
                    tokenizer,
                    data,
                    study.train,
                    cell.seed,
                    study.model.precision,
                    scratch,
                )
            trainer.add_callback(LiveCurve(run))
            if steps := until(cell.variant):
                trainer.add_callback(training.StopAfter(steps))
            with clock.time("train"):
                trained = training.train(trainer, partial)
            epochs = float(trained.curve["epoch"].iloc[-1])
            clock.rate("train", round(epochs * sum(len(ids) for ids in data["input_ids"])))
            trained.curve.to_csv(partial / "curve.csv", index=False)
            config = partial / "adapter_config.json"
            write_json(config, described(read_json(config), study))
            prompt = next((e.system for e in examples if e.persona == cell.source), None)
            write_text(partial / "README.md", card(study, cell, prompt, precision))
        log_training(run, study, cell)
        run.log_tags({"precision": precision})
        run.log_metrics(clock.parts | {"trainable_parameters": trained.trainable})


if __name__ == "__main__":
    main(cell_from_arguments())
