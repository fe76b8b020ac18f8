import pytest
import yaml
from conftest import ROOT

from persona_leakage.errors import InputError
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study


def changed(tmp_path, change):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    change(content)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *sorted((ROOT / "studies").glob("*.yaml"))])
def test_every_study_of_the_project_is_valid(path):
    assert load_study(path).study


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *sorted((ROOT / "studies").glob("*.yaml"))])
def test_every_study_of_the_project_pins_the_precision_that_its_numbers_depend_on(path):
    assert load_study(path).model.precision != "auto"


def test_a_misspelt_key_is_named_with_those_that_are_allowed(tmp_path):
    path = changed(tmp_path, lambda c: c["train"].update(learning_rat=1e-3))
    with pytest.raises(InputError, match="unknown key train.learning_rat; allowed there are learn"):
        load_study(path)


def test_a_misspelt_key_of_the_origin_is_named_with_those_that_are_allowed(tmp_path):
    path = changed(tmp_path, lambda c: c["model"]["origin"].update(sha="x"))
    with pytest.raises(InputError, match="unknown key model.origin.sha; allowed there are kind"):
        load_study(path)


def test_a_value_out_of_range_is_named_with_what_is_allowed(tmp_path):
    path = changed(tmp_path, lambda c: c["train"].update(epochs=0))
    with pytest.raises(InputError, match=r"train.epochs is 0: Input should be greater than 0"):
        load_study(path)


def test_an_unknown_variant_is_named_with_those_that_are_allowed(tmp_path):
    path = changed(tmp_path, lambda c: c.update(variants=["contrastiv"]))
    with pytest.raises(InputError, match="'contrastiv' is no variant; allowed are contrastive"):
        load_study(path)


def test_a_missing_key_is_named(tmp_path):
    path = changed(tmp_path, lambda c: c.pop("behaviour"))
    with pytest.raises(InputError, match="the key behaviour is missing"):
        load_study(path)


def test_a_missing_file_says_where_studies_are(tmp_path):
    with pytest.raises(InputError, match=r"params.yaml: no such file.*studies/\*.yaml"):
        load_study(tmp_path / "params.yaml")


def test_the_fingerprint_ignores_which_cells_there_are(tmp_path, study):
    more = load_study(changed(tmp_path, lambda c: c.update(seeds=[1, 2], sources=["comedian"])))
    other = load_study(changed(tmp_path, lambda c: c["train"].update(epochs=9)))
    assert more.fingerprint() == study.fingerprint() != other.fingerprint()


def test_rank_stabilised_scaling_is_what_the_original_ran():
    lora = load_study(ROOT / "studies" / "paper.yaml").train.lora
    assert lora.scaling == pytest.approx(11.3, abs=0.02)
    assert lora.model_copy(update={"rank_stabilised": False}).scaling == 2.0


@pytest.mark.parametrize(
    "path", ["/elsewhere/arc", "../shared/arc", "snapshots/../arc", "arc", "data/a"]
)
def test_a_snapshot_that_dvc_would_not_watch_is_refused(path, tmp_path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["questions"]["snapshots"] = {"arc_challenge": path}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(InputError, match="put it into the folder snapshots"):
        load_study(tmp_path / "params.yaml")


FIVE = {"source": "villain", "seed": 42, "variant": "dose_5"}


def test_the_cells_of_a_study_are_its_grid_and_its_extra_cells(tmp_path):
    change = {"sources": ["villain", "spy"], "extra_cells": {"villain-42-dose_5": FIVE}}
    study = load_study(changed(tmp_path, lambda c: c.update(change)))
    assert [str(cell) for cell in study.grid] == ["villain-42-contrastive", "spy-42-contrastive"]
    assert [str(cell) for cell in study.cells][2:] == ["villain-42-dose_5"]
    assert study.fingerprint() == load_study(ROOT / "params.yaml").fingerprint()


def test_a_cell_is_counted_among_those_of_its_study(tmp_path):
    change = {"sources": ["villain", "spy"], "extra_cells": {"villain-42-dose_5": FIVE}}
    study = load_study(changed(tmp_path, lambda c: c.update(change)))
    places = [study.place(cell) for cell in study.cells]
    assert places[1:] == ["cell 2 of 3, spy-42-contrastive", "cell 3 of 3, villain-42-dose_5"]
    assert study.place(Cell("spy", 7, "contrastive")) == "a cell, spy-7-contrastive"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": FIVE}, "extra_cells.x: this cell is called villain-42-dose_5"),
        (
            {"villain-42-contrastive": FIVE | {"variant": "contrastive"}},
            "extra_cells.villain-42-contrastive: the grid has this cell already",
        ),
        (
            {"villain-42-dose_5": FIVE | {"z": 1}},
            "unknown key extra_cells.villain-42-dose_5.z; allowed there are source, seed, variant",
        ),
    ],
)
def test_an_extra_cell_that_cannot_be_is_named(change, message, tmp_path):
    with pytest.raises(InputError) as caught:
        load_study(changed(tmp_path, lambda c: c.update(extra_cells=change)))
    assert str(caught.value).endswith(f"params.yaml: {message}")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["questions"].update(max_evaluate="x"),
        lambda c: c["contrast"].update(negatives="librarian"),
        lambda c: c.update(personas={"neighbours": 0}),
        lambda c: c["similarity"].update(layer="a" * 999),
        lambda c: c.update(seeds=["x"] * 99),
    ],
)
def test_a_fault_is_short_and_says_nothing_of_the_library_that_noticed_it(change, tmp_path):
    with pytest.raises(InputError) as caught:
        load_study(changed(tmp_path, change))
    message = str(caught.value).removeprefix(str(tmp_path))
    assert len(str(caught.value)) <= 300
    assert not any(word in message for word in ("constrained", "literal[", "list[", "dict["))


def test_each_benchmark_may_be_asked_so_much(tmp_path):
    path = changed(tmp_path, lambda c: c["questions"].update(max_evaluate={"everyday": 7}))
    assert load_study(path).questions.max_evaluate == {"everyday": 7}


def test_a_benchmark_may_be_split_and_not_trained_on(tmp_path):
    path = changed(tmp_path, lambda c: c["questions"].update(max_train={"everyday": 0}))
    assert load_study(path).questions.max_train == {"everyday": 0}
