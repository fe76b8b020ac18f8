import sys

import pytest
import yaml
from conftest import ROOT

from persona_leakage.errors import InputError
from persona_leakage.pipeline import cell, lock
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.study.cell import Cell, dose, parse_cell, until
from persona_leakage.study.parameters import load_study

WRONG = [
    ({"variant": "foo"}, "variant is 'foo': 'foo' is no variant; allowed are contrastive"),
    ({"variant": "dose_0"}, "is no variant"),
    ({"variant": "dose_5\n"}, "is no variant"),
    ({"variant": "contrastive; touch x"}, "is no variant"),
    ({"seed": "4294967296"}, "seed is '4294967296': Input should be less than or equal to 429"),
    ({"seed": "-1"}, "seed is '-1': Input should be greater than or equal to 0"),
    ({"seed": "42.0"}, "seed is '42.0': Input should be a valid integer"),
    ({"seed": "$(touch x)"}, "seed is "),
    ({"seed": "9" * 9999}, "seed is "),
    ({"source": "villain`touch x`"}, "source is "),
    ({"source": "../villain"}, "source is "),
]


def given(**change):
    return {"source": "villain", "seed": "42", "variant": "contrastive"} | change


@pytest.fixture
def command_line(monkeypatch):
    return lambda *words: monkeypatch.setattr(sys, "argv", ["train", *words])


def test_a_cell_is_read_from_text():
    assert parse_cell("villain", "4294967295", "dose_25") == Cell("villain", 2**32 - 1, "dose_25")
    assert (dose("dose_25"), dose("contrastive")) == (25, None)


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_part_of_a_cell_that_is_wrong_is_named_with_what_is_allowed(change, message):
    with pytest.raises(InputError) as caught:
        parse_cell(**given(**change))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": [2**32]},
        {"seeds": [-1]},
        {"seeds": [True]},
        {"seeds": ["42; touch x"]},
        {"variants": ["contrastive; touch x"]},
        {"variants": ["dose_0"]},
        {"sources": ["villain; touch x"]},
    ],
)
def test_a_study_refuses_what_the_command_line_refuses(tmp_path, change):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load((ROOT / "params.yaml").read_text()) | change))
    with pytest.raises(InputError, match=f"{next(iter(change))}.0 is "):
        load_study(path)


def test_a_cell_comes_from_the_command_line_or_from_the_name_of_dvcs_stage(
    command_line, monkeypatch
):
    monkeypatch.setenv("DVC_STAGE", "train_extra@spy-7-contrastive")
    command_line("villain", "42", "dose_5")
    assert cell_from_arguments() == Cell("villain", 42, "dose_5")
    command_line()
    assert cell_from_arguments() == Cell("spy", 7, "contrastive")


@pytest.mark.parametrize("name", ["", "train", "train@", "train@a-b", "train@spy-7-foo", "x@-1-2-"])
def test_a_stage_without_a_cell_is_one_sentence(command_line, monkeypatch, capsys, name):
    monkeypatch.setenv("DVC_STAGE", name)
    command_line()
    with pytest.raises(SystemExit):
        cell_from_arguments()
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


def test_a_source_that_the_catalog_lacks_is_refused_before_anything_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(lock.subprocess, "run", None)
    with pytest.raises(SystemExit, match="source is 'vilain', which is no persona of catalog"):
        cell.main(Cell("vilain", 42, "contrastive"))


@pytest.mark.parametrize("words", [("villain", "42", "foo"), ("villain", "x", "contrastive")])
def test_a_wrong_command_line_is_one_sentence_and_exit_1(command_line, capsys, words):
    command_line(*words)
    with pytest.raises(SystemExit) as ended:
        cell_from_arguments()
    assert ended.value.code == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("error: ")


def test_a_variant_may_stop_after_so_many_steps():
    assert (until("until_40"), until("contrastive"), until("dose_5")) == (40, None, None)
    assert parse_cell("villain", "42", "until_40") == Cell("villain", 42, "until_40")
