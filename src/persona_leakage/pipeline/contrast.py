"""Build the training set of a cell."""

from persona_leakage.data.persona_sets import Participants, by_name
from persona_leakage.errors import command
from persona_leakage.files import read_as, write_json, write_jsonl
from persona_leakage.model.loading import load_tokenizer
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.finished import is_finished, made_of, note_finished
from persona_leakage.pipeline.training_set import training_set
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study
from persona_leakage.training.contrast import manifest

TEXTS = (".json", ".jinja", ".txt")  # of a model's files, those that its tokenizer may be made of


@command
def main(cell: Cell) -> None:
    """Write ``examples.jsonl`` and ``manifest.json``; where they are there, of the same, nothing.

    Parameters
    ----------
    cell : Cell
        Of the study in ``params.yaml``.
    """
    study = load_study()
    folder = paths.contrast(study, cell)
    key = made_of(
        study,
        [
            paths.personas(study),
            paths.centroids(study) / "manifest.json",
            paths.pairs(study),
            paths.questions(study) / "train.jsonl",
            *(file for file in sorted(paths.model(study).glob("*")) if file.suffix in TEXTS),
        ],
    )
    if is_finished(study, cell, folder, key):
        return
    personas = by_name(read_as(paths.personas(study), Participants).personas)
    examples = training_set(study, cell)
    audit = manifest(
        examples,
        study.contrast,
        cell,
        personas,
        load_tokenizer(paths.model(study)),
        study.model.system_role,
    )
    write_jsonl(folder / "examples.jsonl", [example.record() for example in examples])
    write_json(folder / "manifest.json", audit)
    note_finished(study, cell, folder, key)


if __name__ == "__main__":
    main(cell_from_arguments())
