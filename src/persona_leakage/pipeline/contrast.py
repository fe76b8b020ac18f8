"""Build the training set of a cell."""

import pandas as pd

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.data.persona_sets import from_records, nearest
from persona_leakage.data.questions import read_questions
from persona_leakage.errors import command
from persona_leakage.files import read_json, write_json, write_jsonl
from persona_leakage.model.loading import load_tokenizer
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study
from persona_leakage.training.contrast import build, manifest


@command
def main(cell: Cell) -> None:
    """Write ``examples.jsonl`` and ``manifest.json``.

    Parameters
    ----------
    cell : Cell
        Of the study in ``params.yaml``.
    """
    study = load_study()
    personas = from_records(read_json(paths.personas(study))["personas"])
    layer = read_json(paths.centroids(study) / "manifest.json")["layer"]
    ordered = nearest(pd.read_parquet(paths.pairs(study)), cell.source, layer)
    # near-twins are kept to be asked: taught right, they would say nothing about the border
    close = [name for name in ordered if personas[name].category not in ("near-twin", "condition")]
    train = read_questions(paths.questions(study) / "train.jsonl")
    behaviour = load_behaviour(study.behaviour)
    examples = build(study.contrast, cell, personas, train, behaviour, close)
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
