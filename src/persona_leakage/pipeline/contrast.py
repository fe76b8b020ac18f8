"""Build the training set of a cell."""

from persona_leakage.data.persona_sets import Participants, Rendered, by_name
from persona_leakage.errors import command
from persona_leakage.files import read_as, write_json, write_jsonl
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.finished import is_finished, made_of, note_finished
from persona_leakage.pipeline.training_set import training_set
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study
from persona_leakage.training.contrast import manifest


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
            paths.rendered(study),
        ],
    )
    if is_finished(study, cell, folder, key):
        return
    personas = by_name(read_as(paths.personas(study), Participants).personas)
    examples = training_set(study, cell)
    # not by the tokenizer, whose library takes longer to import than this stage takes
    rendered = read_as(paths.rendered(study), Rendered).root
    audit = manifest(examples, study.contrast, cell, personas, rendered)
    write_jsonl(folder / "examples.jsonl", [example.record() for example in examples])
    write_json(folder / "manifest.json", audit)
    note_finished(study, cell, folder, key)


if __name__ == "__main__":
    main(cell_from_arguments())
