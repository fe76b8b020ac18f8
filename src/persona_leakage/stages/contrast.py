"""Build the training set of a cell."""

from persona_leakage.catalog import load_personas
from persona_leakage.contrast import build, manifest
from persona_leakage.errors import command
from persona_leakage.files import write_json, write_jsonl
from persona_leakage.model import load_tokenizer
from persona_leakage.params import Cell, load_study
from persona_leakage.questions import from_records
from persona_leakage.stages import paths
from persona_leakage.stages.arguments import cell_from_arguments


@command
def main(cell: Cell) -> None:
    """Write ``examples.jsonl`` and ``manifest.json``."""
    study = load_study()
    personas = load_personas(paths.CATALOGUE)
    train = from_records(paths.questions(study) / "train.jsonl")
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
