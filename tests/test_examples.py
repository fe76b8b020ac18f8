"""The examples run, on what is in the repository."""

import re
import runpy

import matplotlib
import pytest
from conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_shows_what_its_text_says(path, monkeypatch, tmp_path, capsys):
    matplotlib.use("agg")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    runpy.run_path(str(path), run_name="__main__")
    told = capsys.readouterr().out
    assert re.search(r"villain, seed 42: source -\d", told)
    assert "worst" in told


def test_there_is_an_example():
    assert EXAMPLES
