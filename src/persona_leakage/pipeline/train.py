"""Fine-tune the model of a cell."""

import mlflow

from persona_leakage.data.questions import read_questions
from persona_leakage.errors import command
from persona_leakage.files import read_jsonl, whole
from persona_leakage.model.loading import dtype, load_tokenizer
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.tracking import Stopwatch, cell_run, log_curve, log_questions
from persona_leakage.study.parameters import Cell, load_study
from persona_leakage.training import trainer as training
from persona_leakage.training.example import Example


@command
def main(cell: Cell) -> None:
    """Write the adapter and ``curve.csv``; log them to the cell's run."""
    study = load_study()
    directory = paths.model(study)
    examples = [
        Example(**row) for row in read_jsonl(paths.contrast(study, cell) / "examples.jsonl")
    ]
    tokenizer = load_tokenizer(directory)
    data = training.dataset(examples, tokenizer, study.train.max_length, study.model.system_role)
    clock = Stopwatch()
    folder = paths.adapter(study, cell)
    with cell_run(study, cell), training.scratch() as scratch, whole(folder) as partial:
        with clock.time("load"):
            trainer = training.build_trainer(
                directory, tokenizer, data, study.train, cell.seed, study.model.precision, scratch
            )
        tokens = study.train.epochs * sum(len(ids) for ids in data["input_ids"])
        with clock.time("train"):
            trained = training.train(trainer, partial)
        clock.rate("train", tokens)
        trained.curve.to_csv(partial / "curve.csv", index=False)
        log_curve(trained.curve)
        # what `auto` came to on this machine
        mlflow.set_tag("precision", str(dtype(study.model.precision)).removeprefix("torch."))
        mlflow.log_metrics(clock.parts | {"trainable_parameters": trained.trainable})
        path = paths.questions(study) / "train.jsonl"
        log_questions(read_questions(path), "training", str(path))
        mlflow.log_artifacts(str(partial), "adapter")


if __name__ == "__main__":
    main(cell_from_arguments())
