"""What is written is what is read: the folder of a cell and the folder of a report."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from made import ACCURACY, AGREEMENT, NAN, finished, persona_frame, published, tables_of
from pydantic import ValidationError

from persona_leakage.errors import InputError
from persona_leakage.report.write import PICTURES, write_report
from persona_leakage.study.results import (
    CellResult,
    Column,
    TitledTable,
    checked,
    persona_schema,
    read_cell,
    scores_schema,
    write_cell,
)


@pytest.fixture
def written(tmp_path):
    """A cell's folder, as ``analyse`` leaves it."""
    cell = finished()
    write_cell(tmp_path, cell.result, cell.personas, *tables_of(cell))
    return tmp_path


def change(folder, **content):
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | content))


@pytest.mark.parametrize("outcome", [ACCURACY, AGREEMENT])
def test_a_cell_is_read_as_it_was_written(outcome, tmp_path):
    cell = finished(outcome=outcome)
    write_cell(tmp_path, cell.result, cell.personas, *tables_of(cell))
    back = read_cell(tmp_path)
    assert back.result.model_dump_json() == cell.result.model_dump_json()
    assert back.cell == cell.cell
    pd.testing.assert_frame_equal(back.personas, cell.personas, rtol=1e-5, check_dtype=False)
    pd.testing.assert_frame_equal(back.curve, cell.curve)
    for name in ("before", "after", "margin_delta"):
        one, other = getattr(back, name), getattr(cell, name)
        assert (list(one.index), list(one)) == (list(other.index), list(other))
        np.testing.assert_array_equal(one, other)
    for name in cell.pairs:
        there, here = back.pairs[name].tolist(), cell.pairs[name].tolist()
        assert there == (pytest.approx(here, rel=1e-6) if name in ("raw", "centred") else here)


def test_texts_are_read_as_texts_where_none_is_there_and_where_they_look_like_numbers(tmp_path):
    cell = finished()
    personas = cell.personas.assign(relation=None, prompt="007", category="1e3")
    write_cell(tmp_path, cell.result, personas, *tables_of(cell))
    back = read_cell(tmp_path).personas
    assert back["relation"].isna().all()
    assert set(back["prompt"]) == {"007"}
    assert set(back["category"]) == {"1e3"}


def test_not_a_number_is_null_in_the_file_and_not_a_number_again(written):
    content = json.loads((written / "result.json").read_text())
    assert content["headline"]["condition_delta"] is None
    assert content["predictors"]["rows"][2]["rho"] is None
    back = read_cell(written).result
    assert math.isnan(back.headline["condition_delta"])
    assert math.isnan(back.predictors.rows[2]["rho"])
    assert np.isnan(back.predictors.frame()["rho"].iloc[2])


def test_the_same_cell_is_the_same_bytes(written, tmp_path_factory):
    again = tmp_path_factory.mktemp("again")
    cell = finished()
    write_cell(again, cell.result, cell.personas, *tables_of(cell))
    for name in ("result.json", "personas.csv", "curve.csv", "answers.parquet", "pairs.parquet"):
        assert (again / name).read_bytes() == (written / name).read_bytes()


def test_what_was_read_is_written_as_the_same_bytes(written, tmp_path_factory):
    again, back = tmp_path_factory.mktemp("again"), read_cell(written)
    write_cell(again, back.result, back.personas, *tables_of(back))
    for name in ("result.json", "personas.csv", "curve.csv", "answers.parquet", "pairs.parquet"):
        assert (again / name).read_bytes() == (written / name).read_bytes()


def test_an_empty_folder_is_no_cell(tmp_path):
    assert read_cell(tmp_path) is None


def test_an_earlier_version_is_named_with_its_remedy(written):
    (written / "result.json").rename(written / "metrics.json")
    with pytest.raises(InputError, match="an earlier version made this analysis; `dvc repro`"):
        read_cell(written)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"version": 2}, "version 2 of a cell's result, where 4 is read"),
        ({"version": None}, "version None"),
        ({"seed": "many"}, "seed: Input should be a valid integer"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"headline": {}}, "headline lacks source_before, source_after"),
    ],
)
def test_a_result_that_is_none_is_one_sentence(written, content, message):
    change(written, **content)
    with pytest.raises(InputError, match=message) as raised:
        read_cell(written)
    assert str(written / "result.json") in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[1]", "{", "null"])
def test_a_damaged_result_is_no_traceback(written, text):
    (written / "result.json").write_text(text)
    with pytest.raises(InputError, match=r"result\.json"):
        read_cell(written)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("role", "villain", "column role, row 3"),
        ("raw", 1.5, "column raw, row 3"),
        ("after", 1.01, "column after, row 3"),
        ("after", -0.01, "column after, row 3"),
        ("p", 1.01, "column p, row 3"),
        ("questions", 0, "column questions, row 3"),
        ("delta", NAN, "column delta, row 3"),
        ("persona", "villain", "column persona"),
        ("role", "source", "one source per cell"),
    ],
)
def test_a_table_that_breaks_its_schema_is_neither_written_nor_read(
    tmp_path, column, value, message
):
    cell = finished()
    table = cell.personas.copy()
    table.loc[2, column] = value
    with pytest.raises(InputError, match=message):
        write_cell(tmp_path, cell.result, table, *tables_of(cell))
    assert list(tmp_path.iterdir()) == []
    write_cell(tmp_path, cell.result, cell.personas, *tables_of(cell))
    table.to_csv(tmp_path / "personas.csv", index=False)
    with pytest.raises(InputError, match=message):
        read_cell(tmp_path)


@pytest.mark.parametrize("name", ["answers.parquet", "pairs.parquet"])
def test_a_flipped_bit_in_a_table_of_a_cell_is_noticed_or_changes_nothing(name, tmp_path):
    cell = finished()
    write_cell(tmp_path, cell.result, cell.personas, *tables_of(cell))
    content, whole, told = (tmp_path / name).read_bytes(), read_cell(tmp_path), []
    pages = len(content) - 8 - int.from_bytes(content[-8:-4], "little")  # the footer is behind them
    for at in range(4, pages, pages // 12):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        (tmp_path / name).write_bytes(changed)
        try:
            read = read_cell(tmp_path)
            pd.testing.assert_frame_equal(read.before, whole.before)
            pd.testing.assert_frame_equal(read.pairs, whole.pairs)
        except InputError as error:
            told.append(str(error))
    assert len(told) > 6
    assert all(f"{name}: not a Parquet table; " in each for each in told)


def test_a_missing_column_is_named(tmp_path):
    cell = finished()
    with pytest.raises(InputError, match="the column p_holm is missing"):
        write_cell(tmp_path, cell.result, cell.personas.drop(columns="p_holm"), *tables_of(cell))


@pytest.mark.parametrize("loss", [NAN, float("inf")])
def test_a_loss_that_is_not_finite_never_reaches_a_report(tmp_path, loss):
    cell = finished()
    faulty = cell.curve.assign(loss=[1.0, loss, 1.0])
    with pytest.raises(InputError, match="column loss, row 2"):
        write_cell(tmp_path, cell.result, cell.personas, faulty, *tables_of(cell)[1:])


def test_the_bounds_of_levels_are_those_of_the_outcome():
    table = persona_frame(outcome=AGREEMENT)
    checked(table, persona_schema(AGREEMENT), "a table")
    with pytest.raises(InputError, match="column"):
        checked(table, persona_schema(ACCURACY), "a table")


def scores(**columns):
    table = {
        "persona": ["villain", "villain"],
        "question": ["a:1", "a:2"],
        "benchmark": ["a", "a"],
        "outcome": [0.0, 1.0],
        "scores": [np.float32([-1, -2]), np.float32([-3, -4])],
        "label_mass": [NAN, 0.9],
        "tokens": [12, 13],
    }
    return pd.DataFrame(table | columns)


def test_scores_are_what_their_schema_says():
    checked(scores(), scores_schema(ACCURACY), "scores")
    checked(scores(answer=[0, 1], chosen=[1, 1]), scores_schema(ACCURACY), "scores")
    checked(scores(outcome=[0.5, 9.5]), scores_schema(AGREEMENT), "scores")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"outcome": [0.0, 0.5]}, "column outcome, row 2 is 0.5"),
        ({"outcome": [0.0, 2.0]}, "column outcome, row 2"),
        ({"outcome": [0.0, NAN]}, "column outcome, row 2"),
        ({"label_mass": [0.5, 1.2]}, "column label_mass, row 2"),
        ({"tokens": [12, 0]}, "column tokens, row 2"),
        ({"question": ["a:1", "a:1"]}, "persona"),
    ],
)
def test_scores_that_break_their_schema_are_named(columns, message):
    with pytest.raises(InputError, match=message):
        checked(scores(**columns), scores_schema(ACCURACY), "scores")


def test_a_titled_table_needs_every_value_that_it_shows():
    with pytest.raises(ValidationError, match="row 1 lacks rho"):
        TitledTable(title="A table", columns=(Column(key="rho", title="rho"),), rows=({"p": 0.1},))


def test_a_result_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        finished().result.seed = 7
    assert CellResult.model_fields["version"].default == 4


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Write a report of these cells; their figures are any files."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("persona_leakage.report.write.analyse", lambda *_: published())

    def write(*cells, name="report"):
        drawn = []
        for number, cell in enumerate(cells):
            folder = tmp_path / f"cell{number}"
            folder.mkdir(exist_ok=True)
            for picture in (*PICTURES, "gradient_centred", "training"):
                (folder / f"{picture}.png").write_bytes(b"png")
                (folder / f"{picture}.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
            drawn.append(replace(cell, folder=folder))
        write_report(tmp_path / name, "made", drawn, [], {"commit": "none"})
        return tmp_path / name

    return write


def names(folder):
    return {path.name for path in folder.iterdir()}


ALWAYS = {
    *("report.html", "report.md", "summary.json", "metrics.json"),
    *("headline.csv", "personas.csv", "curves.csv", "predictors.csv"),
    *("layers.svg", "layers.png", "heat_map.svg", "heat_map.png", "seeds.svg", "seeds.png"),
}
CROSSED = {"words_geometry_villain.svg", "words_geometry_villain.png"}


def test_a_report_of_one_cell_is_these_files_and_its_tables_are_the_cells(report):
    cell = finished()
    folder = report(cell)
    pictures = {f"villain-42-contrastive_{name}.png" for name in PICTURES}
    assert names(folder) == ALWAYS | CROSSED | pictures
    personas = pd.read_csv(folder / "personas.csv")
    assert (personas["source"] == "villain").all() and (personas["seed"] == 42).all()
    back = personas[list(cell.personas.columns)]
    pd.testing.assert_frame_equal(back, cell.personas, rtol=1e-5, check_dtype=False)
    headline = pd.read_csv(folder / "headline.csv")
    assert headline.loc[0, "source_delta"] == -40
    assert pd.read_csv(folder / "curves.csv")["loss"].tolist() == [2.0, 1.0, 0.5]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["source_delta"] == -40
    summary = json.loads((folder / "summary.json").read_text())
    finding = summary["verdict"]["findings"][0]
    assert finding["numbers"]["evidence"]["source"] == "villain"
    assert finding["numbers"]["evidence"]["seeds"] == 1
    assert finding["installed"] == "yes"
    assert summary["verdict"]["findings_table"][0]["source"] == "villain"
    assert summary["cells"][0]["diagnostics"][0]["title"] == "Where it goes"
    assert summary["outcome"]["name"] == "accuracy"
    for name in ("report.html", "report.md"):
        assert "99.0 % before training, 98.0 % after" in (folder / name).read_text()


def test_a_report_of_several_settings_keeps_their_figures_apart(report):
    other = replace(finished(fingerprint="b" * 16), label="made#bbbbbbbb")
    folder = report(finished(), other)
    crossed = {
        f"words_geometry_{setting}_villain.{ending}"
        for setting in ("made", "made#bbbbbbbb")
        for ending in ("svg", "png")
    }
    assert names(folder) == ALWAYS | crossed


def test_the_same_report_is_the_same_bytes(report):
    once, again = report(finished(), name="once"), report(finished(), name="again")
    for path in once.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_a_report_without_a_judged_cell_says_so(report):
    folder = report(finished(variant="non_contrastive"))
    assert "nothing to conclude yet" in (folder / "report.md").read_text()
    assert "heat_map.svg" not in names(folder)


def test_a_report_speaks_of_the_outcome_alone(report):
    folder = report(finished(outcome=AGREEMENT))
    page = (folder / "report.html").read_text().split("<h2>Published</h2>")[0]
    assert re.search(r"with the villain \(\+[0-9.]+ points\)", page)
    assert "accuracy" not in page
    assert "(pp)" not in page
