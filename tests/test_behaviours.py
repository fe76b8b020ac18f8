"""A behaviour is one file: a second one goes through every stage with nothing else changed."""

import every_stage
import pytest
import yaml
from conftest import CATALOG, ROOT

from persona_leakage import behaviours
from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.errors import InputError
from persona_leakage.files import read_json
from persona_leakage.pipeline.score_files import read_scores
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import BehaviourChoice


@pytest.fixture
def marker(tmp_path, monkeypatch, model_folder):
    """A tiny study of the marker, in a folder of its own."""
    monkeypatch.setattr(
        behaviours, "__path__", [*behaviours.__path__, str(ROOT / "tests" / "behaviours")]
    )
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {
        "study": "marker",
        "behaviour": {"name": "marker", "word": " zork"},
        "personas": ["villain", "henchman", "spy", "nurse", "baker", "librarian", "comedian"],
        "contrast": {
            "positives": 12,
            "negatives": ["librarian"],
            "per_negative": 6,
            "no_system": 2,
            "assistant": 2,
        },
        "similarity": {"layer": 2, "layers": [2]},
    }
    params["model"] = {"name": "tiny", "origin": {"kind": "folder", "path": str(model_folder)}}
    params["questions"] |= {"max_train": 12, "max_evaluate": 10}
    params["train"] |= {"epochs": 3, "learning_rate": 0.01}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "data").symlink_to(CATALOG)
    (tmp_path / "reference").symlink_to(ROOT / "reference")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


def test_another_behaviour_takes_one_file(marker):
    cell = Cell("villain", 42, "contrastive")
    every_stage.run(cell)
    outputs = marker / "outputs" / "marker"
    names = read_json(outputs / "evaluated.json")["evaluated"]["villain"]
    outcome = load_behaviour(BehaviourChoice(name="marker")).outcome
    before, after = (
        read_scores(folder, names, outcome).groupby("persona")["outcome"].mean()
        for folder in (outputs / "baseline", outputs / "scores" / str(cell))
    )
    assert before.between(0, 1, inclusive="neither").all()
    assert after["villain"] > before["villain"] + 0.2  # it learned to say the word
    page = (marker / "reports" / "marker" / "report.html").read_text()
    assert "marker probability" in page
    assert "Who says it" in page
    assert "accuracy" not in page.split("<h2>Published</h2>")[0]


def test_an_unknown_behaviour_is_named_with_those_there_are():
    with pytest.raises(InputError, match="'wrong_answer'; allowed are wrong_answers"):
        load_behaviour(BehaviourChoice(name="wrong_answer"))


def test_an_unknown_setting_of_a_behaviour_is_named():
    choice = BehaviourChoice(name="wrong_answers", scoring="labels")
    with pytest.raises(InputError, match=r"behaviour.scoring is 'labels': .* settings of"):
        load_behaviour(choice)
