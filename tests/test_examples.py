"""The examples run, on what is in the repository."""

import re
import runpy

import matplotlib
import pandas as pd
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
    headline = pd.read_csv(ROOT / "reports" / "qwen" / "headline.csv")
    [ours] = headline.query("source == 'villain' and seed == 42 and variant == 'contrastive'").index
    assert f"report, over all bystanders: {headline.loc[ours, 'spearman_raw_p']:.4f}" in told
    assert "of 586 questions" in told  # as the report says, of the benchmark trained on


def test_there_is_an_example():
    assert EXAMPLES
