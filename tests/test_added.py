"""A persona that is added to a finished study: what is computed again."""

import every_stage
import yaml
from conftest import ROOT

from persona_leakage.pipeline import paths, scores, train
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study

CELL = Cell("villain", 42, "contrastive")


def compute():
    every_stage.prepare()
    every_stage.score(CELL)


def contents(*folders):
    return {
        file: file.read_bytes()
        for folder in folders
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_it_alone_is_scored_on_the_base_model_and_in_the_cell(study_in_small, monkeypatch):
    monkeypatch.chdir(study_in_small)
    compute()
    study, asked = load_study(), []
    taught = [paths.contrast(study, CELL), paths.adapter(study, CELL)]
    scored = [paths.baseline(study), paths.scores(study, CELL)]
    before, made = contents(*scored), contents(*taught)

    params = yaml.safe_load((study_in_small / "params.yaml").read_text())
    params["personas"].append("historian")
    (study_in_small / "params.yaml").write_text(yaml.safe_dump(params))
    ask = scores.items

    def noted(tokenizer, systems, *others):
        asked.append(systems)
        return ask(tokenizer, systems, *others)

    monkeypatch.setattr(scores, "items", noted)
    monkeypatch.setattr(train.training, "train", None)  # nothing is trained again
    compute()
    after = contents(*scored)
    assert asked == [["You are a historian who studies ancient Rome."]] * len(scored)
    assert {file.name for file in after.keys() - before.keys()} == {"historian.parquet"}
    assert {file: after[file] for file in before} == before
    assert contents(*taught) == made


def test_dvc_leaves_the_scores_that_are_there_to_the_stages_that_score():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in ("baseline", "evaluate"):
        [[how]] = [out.values() for out in stages[name]["outs"]]
        assert how == {"persist": True}, name
