"""The entry points of ``MLproject``: typed, documented, each a call of what DVC runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from mlflow.projects._project_spec import load_project

from persona_leakage.pipeline import cell, launch, predict, report, sweep, switch, tracking
from persona_leakage.study.cell import Cell

PROJECT = load_project(str(ROOT))
ENTRIES = PROJECT._entry_points
CELL = ["villain", "42", "contrastive"]
HOSTILE = """it's "me"; $(touch x) `touch y` {source}"""


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)
    for name in ("MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def called(monkeypatch):
    """What was called, instead of doing it."""
    calls = []

    def note(name, returns=None):
        return lambda *values, **_: calls.append((name, *values)) or returns

    monkeypatch.setattr(cell, "repro", note("repro"))
    monkeypatch.setattr(launch, "repro", note("repro"))
    monkeypatch.setattr(cell, "lacking", lambda *_: None)
    monkeypatch.setattr(cell, "run", lambda stage, of: calls.append((stage, of)))
    for module in (report, sweep, switch, predict):
        monkeypatch.setattr(module, "main", note(module.__name__.rpartition(".")[2]))
    monkeypatch.setattr(tracking, "place_of", lambda *_: "MLflow: here")
    return calls


def command(entry, **values):
    """The words that bash hands to the module, for the parameters that a user gives."""
    text = ENTRIES[entry].compute_command(values, None)
    head, *words = shlex.split(text)
    assert head == "PYTHONPATH=src:$PYTHONPATH"
    assert words[:3] == ["python", "-m", "persona_leakage.pipeline.launch"]
    return words[3:]


def test_the_project_has_the_entry_points_it_promises():
    promised = "main prepare train evaluate analyse report study sweep predict"
    assert list(ENTRIES) == promised.split()


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_parameter_is_typed_has_a_default_and_reaches_the_module(entry):
    for parameter in ENTRIES[entry].parameters.values():
        assert parameter.type in ("string", "float")
        assert parameter.default is not None
    named, values = launch.arguments(command(entry))
    assert named == entry
    assert values == [str(each.default) for each in ENTRIES[entry].parameters.values()]


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_point_stands_on_the_page_with_its_parameters(entry):
    page = (ROOT / "docs" / "mlflow.md").read_text()
    [row] = re.findall(rf"^\| `{entry}` \| (.*?) \|", page, re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == list(ENTRIES[entry].parameters)


@pytest.mark.parametrize("entry", [name for name in ENTRIES if ENTRIES[name].parameters])
def test_whatever_a_value_holds_reaches_the_module_as_it_is(entry):
    values = dict.fromkeys(ENTRIES[entry].parameters, HOSTILE)
    assert launch.arguments(command(entry, **values)) == (entry, [HOSTILE] * len(values))


@pytest.mark.parametrize(
    ("entry", "values", "calls"),
    [
        (
            "main",
            CELL,
            [
                ("repro", *cell.SHARED),
                *((stage, Cell("villain", 42, "contrastive")) for stage in cell.STAGES),
            ],
        ),
        ("prepare", [], [("repro", *cell.SHARED, "predictors")]),
        ("report", [], [("report",)]),
        ("study", [""], [("repro",)]),
        ("study", ["laptop"], [("switch", "laptop"), ("repro",)]),
        ("sweep", [""], [("sweep", None)]),
        ("sweep", ["1e-4x3 5e-4x3"], [("sweep", ["1e-4x3", "5e-4x3"])]),
        ("predict", ["spy", ""], [("repro", "predictors", "centroids"), ("predict", "spy", None)]),
        (
            "predict",
            ["spy", "You sing."],
            [("repro", "predictors", "centroids"), ("predict", "spy", "You sing.")],
        ),
    ],
)
def test_an_entry_point_calls_what_does_it(entry, values, calls, called):
    launch.main(entry, values)
    assert called == calls


def test_a_study_that_is_kept_is_not_measured_again_to_predict(called, monkeypatch, tmp_path):
    monkeypatch.setattr(launch.paths, "kept", lambda _: tmp_path)
    (tmp_path / "predictors").mkdir()
    launch.main("predict", ["spy", ""])
    assert called == [("predict", "spy", None)]


@pytest.mark.parametrize(
    ("entry", "stages"),
    [("train", ["contrast", "train"]), ("evaluate", ["evaluate"]), ("analyse", ["analyse"])],
)
def test_a_step_of_a_cell_runs_its_stages_alone(entry, stages, called):
    launch.main(entry, ["spy", "7", "dose_5"])
    assert called[1:] == [(stage, Cell("spy", 7, "dose_5")) for stage in stages]


@pytest.mark.parametrize("stage", cell.STAGES)
def test_a_stage_of_a_cell_is_the_function_that_dvc_runs(stage, monkeypatch):
    done = []
    monkeypatch.setattr(f"persona_leakage.pipeline.{stage}.main", done.append)
    cell.run(stage, Cell("spy", 7, "dose_5"))
    assert done == [Cell("spy", 7, "dose_5")]


@pytest.mark.parametrize(
    ("entry", "first"), [("evaluate", "train"), ("analyse", "evaluate")], ids=lambda each: each
)
def test_a_step_that_comes_too_early_names_the_one_to_run_first(
    entry, first, monkeypatch, tmp_path, study
):
    for name in ("catalog", "params.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cell, "repro", None)  # it is refused before anything runs
    with pytest.raises(SystemExit) as ended:
        launch.main(entry, CELL)
    assert f"`mlflow run . -e {first} -P source=villain -P seed=42" in str(ended.value)


def test_a_source_that_nobody_is_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr(cell, "repro", None)
    with pytest.raises(SystemExit, match="source is 'vilain', which is no persona of catalog"):
        launch.main("main", ["vilain", "42", "contrastive"])


def test_what_takes_seconds_to_import_waits_until_the_source_is_known():
    code = (
        "import sys; import persona_leakage.pipeline.launch;"
        "print(sorted({'mlflow', 'torch', 'pandas', 'matplotlib'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_where_the_results_are_is_said_on_disk_and_in_mlflow(called, capsys):
    launch.main("main", CELL)
    place, store = capsys.readouterr().out.splitlines()
    assert place.startswith(f"villain-42-contrastive: {ROOT}/outputs/pocket/")
    assert store == "MLflow: here"


def test_of_a_copy_that_mlflow_fetched_it_is_said_that_nobody_keeps_it(called, capsys, monkeypatch):
    monkeypatch.setattr(launch, "is_fetched", lambda _: True)
    monkeypatch.setattr(tracking, "place_of", lambda *_: None)
    launch.main("report", [])
    _, copy, store = capsys.readouterr().out.splitlines()
    assert "nobody keeps it" in copy
    assert "`python -m persona_leakage.pipeline.upload` adds it" in store


@pytest.mark.parametrize(
    ("folder", "fetched"),
    [("tmpab12cd_9", True), ("persona-leakage", False), ("tmp", False), ("a/tmpab12cd_9", False)],
)
def test_a_copy_that_mlflow_fetched_is_known_by_its_place(folder, fetched, tmp_path, monkeypatch):
    monkeypatch.setattr(launch.tempfile, "gettempdir", lambda: str(tmp_path))
    assert launch.is_fetched(Path(tmp_path, folder)) is fetched
