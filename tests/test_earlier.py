"""What was computed before comes back, whoever's dvc.lock was restored."""

import importlib
import shutil

import pytest

from persona_leakage.pipeline import centroids, earlier, predictors, train
from persona_leakage.pipeline.earlier import bring_back, remember
from persona_leakage.study.cell import Cell

FROM = {"model": "a", "settings": [1, 2]}
CELL = Cell("villain", 42, "contrastive")
STAGES = "study base questions personas centroids geometry predictors contrast train"
OUTPUTS = ("centroids", "predictors", f"adapters/{CELL}")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A finished folder, in a project of its own."""
    monkeypatch.chdir(tmp_path)  # outputs/earlier is relative to the project
    made = tmp_path / "outputs" / "made"
    (made / "deeper").mkdir(parents=True)
    (made / "numbers.txt").write_text("1")
    (made / "deeper" / "more.txt").write_text("2")
    return made


@pytest.fixture
def computed_in_small(study_in_small, monkeypatch):
    """A tiny study, computed as far as its adapter."""
    monkeypatch.chdir(study_in_small)
    for name in STAGES.split():
        stage = importlib.import_module(f"persona_leakage.pipeline.{name}")
        stage.main(*([CELL] if name in ("contrast", "train") else []))
    return study_in_small


def content(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_a_folder_comes_back_after_it_was_replaced(folder):
    before = content(folder)
    remember(folder, FROM)
    (folder / "numbers.txt").unlink()
    (folder / "other.txt").write_text("3")
    assert bring_back(folder, FROM)
    assert content(folder) == before


def test_nothing_comes_back_that_was_computed_from_something_else(folder):
    before = content(folder)
    remember(folder, FROM)
    assert not bring_back(folder, FROM | {"settings": [1, 3]})
    assert content(folder) == before


@pytest.mark.parametrize("harm", ["changed", "lost", "no hashes"])
def test_what_was_damaged_meanwhile_is_computed_again(folder, harm):
    remember(folder, FROM)
    [kept] = earlier.EARLIER.glob("*/*")
    match harm:
        case "changed":
            (kept / "content" / "numbers.txt").write_text("9")
        case "lost":
            (kept / "content" / "deeper" / "more.txt").unlink()
        case "no hashes":
            (kept / "sha256.json").write_text("{")
    assert not bring_back(folder, FROM)
    remember(folder, FROM)
    assert bring_back(folder, FROM)


def test_a_disk_without_links_keeps_copies(folder, monkeypatch):
    def refused(source, target):
        raise OSError("no links here")

    monkeypatch.setattr(earlier.os, "link", refused)
    remember(folder, FROM)
    (folder / "numbers.txt").write_text("in place")
    assert bring_back(folder, FROM)
    assert content(folder)["numbers.txt"] == b"1"


def test_stages_that_take_minutes_bring_back_what_they_computed(computed_in_small, monkeypatch):
    """DVC removes a stage's outputs and runs it, since the lock names those of another machine."""

    def never(*arguments, **named):
        raise AssertionError("computed again")

    outputs = {name: computed_in_small / "outputs" / "small" / name for name in OUTPUTS}
    before = {name: content(folder) for name, folder in outputs.items()}
    for folder in outputs.values():
        folder.rename(folder.with_name("gone"))
        shutil.rmtree(folder.with_name("gone"))
    for module in (centroids, predictors):
        monkeypatch.setattr(module, "load_model", never)
    monkeypatch.setattr(train.training, "build_trainer", never)
    centroids.main()
    predictors.main()
    train.main(CELL)
    assert {name: content(folder) for name, folder in outputs.items()} == before


def test_other_settings_are_computed_and_the_earlier_ones_come_back(
    computed_in_small, monkeypatch, capsys
):
    adapter = computed_in_small / "outputs" / "small" / "adapters" / str(CELL)
    params, before = computed_in_small / "params.yaml", content(adapter)
    text = params.read_text()
    params.write_text(text.replace("learning_rate: 0.0005", "learning_rate: 0.001"))
    train.main(CELL)
    other = content(adapter)
    assert other["adapter_model.safetensors"] != before["adapter_model.safetensors"]
    params.write_text(text)
    capsys.readouterr()
    train.main(CELL)
    assert "computed before from the same, brought back" in capsys.readouterr().out
    assert content(adapter) == before
