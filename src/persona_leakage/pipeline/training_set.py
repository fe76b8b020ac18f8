"""The training set of a cell, from what its study has on disk."""

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.data.persona_sets import Participants, by_name, nearest
from persona_leakage.data.questions import read_questions
from persona_leakage.files import read_as, read_table
from persona_leakage.geometry.cosines import PAIRS, Layer
from persona_leakage.pipeline import paths
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Study
from persona_leakage.training.contrast import build
from persona_leakage.training.example import Example


def training_set(study: Study, cell: Cell) -> list[Example]:
    """Build a cell's training set: milliseconds, and the same each time.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    cell : Cell
        Of it, or beside it.
    """
    personas = by_name(read_as(paths.personas(study), Participants).personas)
    layer = read_as(paths.centroids(study) / "manifest.json", Layer).layer
    ordered = nearest(read_table(paths.pairs(study), PAIRS), cell.source, layer)
    # near-twins are kept to be asked: taught right, they would say nothing about the border
    close = [name for name in ordered if personas[name].category not in ("near-twin", "condition")]
    train = read_questions(paths.questions(study) / "train.jsonl")
    return build(study.contrast, cell, personas, train, load_behaviour(study.behaviour), close)
