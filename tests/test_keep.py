import re

import numpy as np
import pandas as pd
import pytest

from persona_leakage.behaviours.wrong_answers import Taught
from persona_leakage.errors import InputError
from persona_leakage.files import write_json
from persona_leakage.pipeline import keep, paths
from persona_leakage.pipeline.report import precision_of
from persona_leakage.pipeline.score_files import read_scores, write_scores
from persona_leakage.study.cell import Cell

NAMES = ["villain", "spy"]
CELL = Cell("villain", 42, "contrastive")


def scores(seed):
    draws = np.random.default_rng(seed)
    lengths = [3, 4, 5, 4] * 2
    values = [draws.normal(-4, 2, count).astype(np.float32) for count in lengths]
    return pd.DataFrame(
        {
            "persona": np.repeat(NAMES, 4),
            "question": [f"arc:{index}" for index in range(4)] * 2,
            "benchmark": "arc",
            "outcome": [float(each.argmax() == 0) for each in values],
            "scores": values,
            "label_mass": draws.random(8),
            "answer": 0,
            "chosen": [int(each.argmax()) for each in values],
            "tokens": 100,
        }
    )


@pytest.fixture
def computed(study, tmp_path, monkeypatch):
    """A study whose only cell has been scored."""
    monkeypatch.chdir(tmp_path)
    write_json(paths.evaluated(study), {"evaluated": {"villain": NAMES}})
    write_json(paths.centroids(study) / "manifest.json", {"layer": 2})
    write_json(paths.contrast(study, CELL) / "manifest.json", {"clashes": []})
    paths.adapter(study, CELL).mkdir(parents=True)
    (paths.adapter(study, CELL) / "curve.csv").write_text("step,loss\n1,2.0\n")
    write_scores(paths.baseline(study), scores(0))
    write_scores(paths.scores(study, CELL), scores(1))
    return study


def test_what_is_kept_comes_back_with_every_choice_as_it_was(computed, tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    assert keep.keep(computed, folder) == [str(CELL)]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert keep.restore(computed, folder) == [str(CELL)]
    for where, made in ((paths.baseline(computed), 0), (paths.scores(computed, CELL), 1)):
        back, before = read_scores(where, NAMES, Taught.outcome), scores(made)
        exact = ["persona", "question", "benchmark", "outcome", "answer", "chosen", "tokens"]
        pd.testing.assert_frame_equal(back[exact], before[exact], check_dtype=False)
        for one, other in zip(back["scores"], before["scores"], strict=True):
            np.testing.assert_allclose(one, other, atol=keep.STEP / 2)
    assert (paths.contrast(computed, CELL) / "manifest.json").exists()
    assert (paths.adapter(computed, CELL) / "curve.csv").read_text() == "step,loss\n1,2.0\n"
    assert (paths.centroids(computed) / "manifest.json").exists()


def test_a_cell_that_was_scored_in_part_is_not_kept(computed, tmp_path):
    (paths.scores(computed, CELL) / "spy.parquet").unlink()
    assert keep.keep(computed, tmp_path / "kept") == []


def test_a_flipped_bit_in_what_is_kept_is_noticed_or_changes_nothing(computed, tmp_path):
    keep.keep(computed, tmp_path / "kept")
    file = tmp_path / "kept" / "baseline.parquet"
    content, whole, told = file.read_bytes(), keep._read(file.with_suffix("")), []
    pages = len(content) - 8 - int.from_bytes(content[-8:-4], "little")  # the footer is behind them
    for at in range(4, pages, max(1, pages // 60)):
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            pd.testing.assert_frame_equal(keep._read(file.with_suffix("")), whole)
        except InputError as error:
            told.append(str(error))
    assert len(told) > 10
    assert all(re.search(r"baseline.parquet: damaged .*`git checkout", each) for each in told)


def test_a_study_of_which_nothing_is_kept_is_named(computed, tmp_path):
    with pytest.raises(InputError, match="nothing is kept of the study pocket"):
        keep.restore(computed, tmp_path / "kept")


@pytest.mark.parametrize(
    ("pinned", "noted", "said"),
    [
        ("bfloat16", {}, "bfloat16"),  # kept before it was noted
        ("auto", {"precision": "float32"}, "float32"),
        ("auto", {}, "not recorded"),
    ],
)
def test_a_report_states_the_precision_that_was_computed_with(
    pinned, noted, said, study, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_json(paths.centroids(study) / "manifest.json", {"layer": 2, **noted})
    model = study.model.model_copy(update={"precision": pinned})
    told = precision_of(study.model_copy(update={"model": model}))
    assert told == f"{said} (model.precision: {pinned})"
