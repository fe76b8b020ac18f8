"""A stage of a cell that is done from the same is not done again; from anything else it is."""

import sys

import pytest
from conftest import ROOT

from persona_leakage.errors import InputError
from persona_leakage.pipeline import analyse, cell_analysis, finished, paths
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study

sys.path.insert(0, str(ROOT / "faults"))
from load import make

CELL = Cell("villain", 42, "contrastive")
STUDY = load_study(ROOT / "params.yaml")


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").write_text("x")
    folder = tmp_path / "outputs" / "analysis" / str(CELL)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    return folder


def key(study=STUDY):
    return finished.made_of(study, [paths.Path("input"), paths.Path("missing")])


def test_what_is_noted_is_finished_and_nothing_else(output):
    assert not finished.is_finished(STUDY, CELL, output, key())
    finished.note_finished(STUDY, CELL, output, key())
    assert finished.is_finished(STUDY, CELL, output, key())
    assert not finished.is_finished(STUDY, Cell("villain", 7, "contrastive"), output, key())


@pytest.mark.parametrize("change", ["input", "study", "output", "another file", "gone", "code"])
def test_whatever_differs_is_done_again(change, output, monkeypatch):
    finished.note_finished(STUDY, CELL, output, key())
    study = STUDY
    if change == "input":
        paths.Path("input").write_text("y")
    elif change == "study":
        questions = STUDY.questions.model_copy(update={"split_seed": 43})
        study = STUDY.model_copy(update={"questions": questions})
    elif change == "output":
        (output / "result.json").write_text("[]")
    elif change == "another file":
        (output / "more").write_text("")
    elif change == "gone":
        (output / "result.json").unlink()
    else:
        monkeypatch.setattr(finished, "version", lambda _: "another")
    assert not finished.is_finished(study, CELL, output, key(study))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"made": 1}'])
def test_a_damaged_note_is_none(text, output):
    finished.note_finished(STUDY, CELL, output, key())
    (note,) = paths.Path("outputs").glob("*/finished/*")
    note.write_text(text)
    assert not finished.is_finished(STUDY, CELL, output, key())


def test_an_analysis_that_is_there_is_not_made_again_unless_a_score_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nothing is logged
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    make(tmp_path, 8, 10)
    folder = paths.analysis(load_study(), CELL)
    made = []

    def anew(*_):  # the first thing that is computed
        made.append(1)
        raise InputError("computed")

    monkeypatch.setattr(cell_analysis, "read_scores", anew)
    with pytest.raises(SystemExit, match="computed"):
        analyse.main(CELL)
    folder.mkdir(parents=True)
    (folder / "personas.csv").write_text("")
    (folder / "result.json").unlink(missing_ok=True)
    study = load_study()
    finished.note_finished(
        study, CELL, folder, finished.made_of(study, analyse.inputs(study, CELL))
    )
    monkeypatch.setattr(analyse, "log", lambda *_: None)
    analyse.main(CELL)
    assert len(made) == 1
    scores = next(paths.scores(study, CELL).glob("*.parquet"))
    scores.write_bytes(scores.read_bytes() + b" ")
    with pytest.raises(SystemExit, match="computed"):
        analyse.main(CELL)
    assert len(made) == 2
