"""Build the training set of a cell."""

from persona_leakage.data.catalog import load_personas
from persona_leakage.data.questions import read_questions
from persona_leakage.errors import command
from persona_leakage.files import write_json, write_jsonl
from persona_leakage.model.loading import load_tokenizer
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.study.parameters import Cell, load_study
from persona_leakage.training.contrast import build, manifest


@command
def main(cell: Cell) -> None:
    """Write ``examples.jsonl`` and ``manifest.json``."""
    study = load_study()
    personas = load_personas(paths.CATALOG)
    train = read_questions(paths.questions(study) / "train.jsonl")
    examples = build(study.contrast, cell, personas, train, study.scoring)
    audit = manifest(
        examples,
        study.contrast,
        cell,
        personas,
        load_tokenizer(paths.model(study)),
        study.model.system_role,
    )
    folder = paths.contrast(study, cell)
    write_jsonl(folder / "examples.jsonl", [example.record() for example in examples])
    write_json(folder / "manifest.json", audit)


if __name__ == "__main__":
    main(cell_from_arguments())
