"""The study's table and the page of sums: a query reads it, no number is typed by hand."""

import importlib
import re
import sys

import duckdb
import pandas as pd
import pytest
from conftest import ROOT
from made import finished, tables_of

from persona_leakage.pipeline import paths, study_table
from persona_leakage.study.parameters import load_study
from persona_leakage.study.results import write_cell

PAGE = (ROOT / "docs" / "scale.md").read_text()


@pytest.fixture
def computed(tmp_path, monkeypatch):
    """A study of two sources, of which one cell has no relations."""
    monkeypatch.chdir(tmp_path)
    params = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params)
    study = load_study()
    for cell in study.cells[:2]:
        made = finished(source=cell.source, seed=cell.seed, study=study.study)
        params = made.result.params | {"behaviour.name": "wrong_answers", "model.name": "tiny-1.5B"}
        result = made.result.model_copy(update={"params": params})
        folder = paths.analysis(study, cell)
        folder.mkdir(parents=True)
        write_cell(folder, result, made.personas, *tables_of(made))
    return study.cells[:2]


def test_the_query_of_the_page_reads_the_table_as_it_lies(computed):
    study_table.main()
    [query] = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    found = duckdb.sql(query).df()
    bystanders = []
    for cell in computed:
        personas = pd.read_csv(paths.analysis(load_study(), cell) / "personas.csv")
        bystanders.append(personas[personas["role"] == "bystander"])
    expected = pd.concat(bystanders)["delta"]
    assert found["bystanders"].sum() == len(expected)
    mean = (found["change"] * found["bystanders"]).sum() / len(expected)
    assert mean == pytest.approx(expected.mean(), abs=0.05)  # changes are rounded to a tenth
    assert set(found["source"]) == {cell.source for cell in computed}


def test_a_cell_that_is_written_again_counts_once_and_studies_share_a_folder(computed, tmp_path):
    shared = tmp_path / "shared"
    study_table.main(shared)
    study_table.main(shared)
    files = f"read_parquet('{shared}/**/*.parquet', hive_partitioning = true)"
    rows = duckdb.sql(f"SELECT model, behaviour, seed, persona, prompt FROM {files}").df()
    assert not rows.duplicated().any()
    assert set(rows["model"]) == {"tiny-1.5B"}
    assert sorted(set(rows["seed"])) == sorted({cell.seed for cell in computed})


def test_a_column_of_nothing_has_the_type_that_it_has_elsewhere(computed):
    made = finished()
    empty = made.personas.assign(relation=None, logit_delta=float("nan"))
    types = [study_table.rows_of(made.result, each).dtypes for each in (made.personas, empty)]
    pd.testing.assert_series_equal(*types)


def test_without_a_finished_cell_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    with pytest.raises(SystemExit, match="no finished cell; `dvc repro` computes them"):
        study_table.main()


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.chdir(ROOT)
    yield importlib.import_module("scale")
    for name in ("scale", "render"):
        sys.modules.pop(name, None)


def test_the_page_is_what_its_command_writes(scale):
    assert scale.page() == PAGE


def test_the_sums_add_up(scale):
    told = scale.sums()
    assert told["rows"] == 100 * 10 * 1000 * 5
    assert told["days"] * 24 * 64 == pytest.approx(told["gpu_hours"])
    cell = sum(told["each"][name] for name in ("train", "score", "start"))
    baseline = 5 * told["each"]["score"]
    assert told["gpu_hours"] * 3600 == pytest.approx(5000 * cell + baseline)
