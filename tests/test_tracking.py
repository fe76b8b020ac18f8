import json
import logging
import math
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from conftest import ROOT
from mlflow import environment_variables
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from persona_leakage.errors import InputError
from persona_leakage.pipeline.launch import leave_launch
from persona_leakage.pipeline.run_table import NAMES, VIEW, grouped, shown
from persona_leakage.pipeline.tracking import (
    KIND,
    PARENT,
    cell_run,
    place_of,
    project,
    provenance,
    quieten,
    runs_on,
    store,
    study_run,
)
from persona_leakage.study.cell import Cell
from persona_leakage.study.results import HEADLINE

CELL = Cell("villain", 42, "contrastive")
LOSS = "train/loss"


def git(*arguments):
    subprocess.run(["git", *arguments], check=True, capture_output=True)


START = """
import sys
from persona_leakage.pipeline.tracking import cell_run
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study
study = load_study(sys.argv[1]).model_copy(update={"study": "first"})
with cell_run(study, Cell("villain", int(sys.argv[2]), "contrastive")) as run:
    run.log_metrics({"source_delta": 1})
"""


@pytest.fixture(scope="session")
def first_starts(tmp_path_factory):
    """Two processes at once on no store: the store, and what they said. Making one takes long."""
    folder = tmp_path_factory.mktemp("first")
    (folder / ".mlflow.db.partial").write_bytes(b"left by a kill")
    named = {name: v for name, v in os.environ.items() if not name.startswith("MLFLOW_")}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(ROOT / "params.yaml"), seed],
            cwd=folder,
            env={**named, "PYTHONPATH": str(ROOT / "src")},
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    return folder / "mlflow.db", [process.communicate()[1] for process in both]


@pytest.fixture(scope="session")
def made_store(first_starts):
    return first_starts[0]


@pytest.fixture
def folder(tmp_path, monkeypatch, made_store):
    """A project's folder with a store of its own."""
    for name in os.environ:
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(None)  # what another test may have set for the whole process
    shutil.copy(made_store, tmp_path / "mlflow.db")
    return tmp_path


def client():
    return MlflowClient(store())


def everything(study):
    experiment = client().get_experiment_by_name(study.study)
    return client().search_runs([experiment.experiment_id], order_by=["start_time ASC"])


def runs(study):
    """Those of cells."""
    return [run for run in everything(study) if "kind" not in run.data.tags]


def parents(study):
    """Those of the study itself."""
    return [run for run in everything(study) if run.data.tags.get("kind") == KIND]


def history(run, metric):
    points = client().get_metric_history(run.info.run_id, metric)
    return [(point.step, point.value) for point in points]


def trained(study, losses):
    """Do with MLflow what the training stage does."""
    with cell_run(study, CELL, anew_after=LOSS) as run:
        for step, loss in enumerate(losses, start=1):
            run.log_metrics({LOSS: loss}, step)
        run.resume_if_same(LOSS)
        run.log_metrics({"trainable_parameters": 8, "profile/train_seconds": sum(os.urandom(2))})


def stopped(study, losses):
    """Do what a training does until Ctrl-C."""
    with cell_run(study, CELL, anew_after=LOSS) as run:
        for step, loss in enumerate(losses, start=1):
            run.log_metrics({LOSS: loss}, step)
        raise KeyboardInterrupt


def test_a_commit_is_dirty_when_code_changed_not_when_a_study_was_switched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("code.py", "params.yaml"):
        (tmp_path / name).write_text("before\n")
    git("init")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-m", "all")
    clean = provenance()["git_commit"]
    assert len(clean) == 40
    (tmp_path / "params.yaml").write_text("another study\n")
    assert provenance()["git_commit"] == clean
    (tmp_path / "code.py").write_text("after\n")
    assert provenance()["git_commit"] == f"{clean}-dirty"


def test_without_a_repository_or_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert provenance()["git_commit"] == "none"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance()["git_commit"] == "none"


def test_the_stages_of_a_cell_add_to_one_run(folder, study):
    trained(study, [2.0, 1.0])
    with cell_run(study, CELL) as run:
        run.log_metrics({"source_delta": -20.0, "undefined": float("nan")})
    (found,) = runs(study)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "villain-42-contrastive"
    assert found.data.metrics.keys() >= {LOSS, "source_delta"}
    assert "undefined" not in found.data.metrics
    assert found.data.params["train.lora.r"] == "16"


def test_other_parameters_make_another_run(folder, study):
    trained(study, [2.0, 1.0])
    longer = study.train.model_copy(update={"epochs": 9})
    trained(study.model_copy(update={"train": longer}), [2.0, 1.0])
    assert len(runs(study)) == 2


def test_runs_of_one_cell_are_named_after_what_sets_them_apart(folder, study):
    trained(study, [2.0, 1.0])
    longer = study.train.model_copy(update={"epochs": 9, "learning_rate": 1e-3})
    trained(study.model_copy(update={"train": longer}), [2.0, 1.0])
    cell = "villain-42-contrastive"
    assert [run.info.run_name for run in runs(study)] == [
        cell,
        f"{cell}, learning_rate 0.001, epochs 9",
    ]


def test_an_experiment_brings_the_table_that_compares_cells(folder, study):
    trained(study, [2.0, 1.0])
    tags = client().get_experiment_by_name(study.study).tags
    columns = json.loads(tags["mlflow.sharedViewState.cells"])["selectedColumns"]
    named = ["source", "seed", "variant", "behaviour", "model"]
    assert columns[:5] == [f"params.`{name}`" for name in named]
    assert {"metrics.`bystander mean`", "metrics.`p`", "metrics.`minutes`"} <= set(columns)
    assert "viewStateShareKey=cells" in tags["mlflow.note.content"]


def test_the_data_set_of_a_run_is_told_apart_by_its_rows(folder, study):
    digests = []
    for source in ("villain", "comedian"):
        with cell_run(study, Cell(source, 42, "contrastive")) as run:
            rows = pd.DataFrame({"persona": [source, "nurse"], "answer": [" yes", " no"]})
            run.log_dataset(rows, "training", "examples.jsonl")
        [used] = client().get_run(run.run_id).inputs.dataset_inputs
        digests.append(used.dataset.digest)
    assert len(set(digests)) == 2


def test_a_note_that_a_person_wrote_stays(folder, study):
    trained(study, [2.0, 1.0])
    experiment = client().get_experiment_by_name(study.study).experiment_id
    client().set_experiment_tag(experiment, "mlflow.note.content", "mine")
    trained(study, [2.0, 1.0])
    assert client().get_experiment(experiment).tags["mlflow.note.content"] == "mine"


def test_what_cells_are_compared_by_stands_before_bounds_and_p_values():
    headline = dict.fromkeys(HEADLINE, 1.0)
    named = grouped(headline)
    assert len(named) == len(headline)
    assert {name for name in named if "/" not in name} == set(NAMES.values())
    assert {"p/spearman_centred", "interval/spearman_raw_low", "more/source_before"} <= set(named)


def test_mlflow_prints_no_addresses_between_the_lines_of_a_stage(monkeypatch):
    """Of a run that is dropped for an earlier one they would lead nowhere."""
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", raising=False)
    quieten()
    assert environment_variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get()


def test_a_number_fits_into_its_column():
    named = grouped({"source_delta": -25 / 3, "spearman_raw_p": 1 / 30_000, "mass_after": math.nan})
    assert (named["source change"], named["p"]) == (-8.333, 3.333e-05)
    assert math.isnan(named["label mass"])


def test_charts_begin_with_what_cells_are_compared_by():
    view = json.loads(shown("1")[f"mlflow.sharedViewState.{VIEW}"])
    sections = {section["name"]: section["display"] for section in view["compareRunSections"]}
    assert view["isAccordionReordered"]
    assert next(iter(sections)) == "Model metrics"
    groups = {
        name.partition("/")[0] for name in grouped(dict.fromkeys(HEADLINE, 1.0)) if "/" in name
    }
    assert groups <= {name for name, opened in sections.items() if not opened}


def test_the_same_model_is_logged_once(folder, study):
    def write(place):
        place.mkdir()
        (place / "MLmodel").write_text("{}")

    for digest in ("a", "a", "b"):
        with cell_run(study, CELL) as run:
            run.log_model(digest, {"base_model": "tiny"}, write)
    experiment = client().get_experiment_by_name(study.study).experiment_id
    models = client().search_logged_models([experiment])
    assert sorted(model.tags["digest"] for model in models) == ["a", "b"]
    assert {model.status for model in models} == {"READY"}
    (found,) = runs(study)
    assert {model.source_run_id for model in models} == {found.info.run_id}
    assert {output.model_id for output in found.outputs.model_outputs} == {
        model.model_id for model in models
    }


def test_a_stage_run_again_with_the_same_result_adds_nothing(folder, study):
    table = pd.DataFrame({"persona": ["villain", "nurse"], "delta": [-20.0, 1.5]})
    (folder / "analysis").mkdir()
    (folder / "analysis" / "personas.csv").write_text("persona\n")
    for _ in range(2):
        trained(study, [2.0, 1.0])
        with cell_run(study, CELL) as run:
            run.log_metrics({"source_delta": -20.0})
            run.log_dataset(table, "training", "examples.jsonl")
            run.log_folder(folder / "analysis", "analysis")
            run.log_table(table, "personas.json")
    (found,) = runs(study)
    assert history(found, LOSS) == [(1, 2.0), (2, 1.0)]
    for metric in ("source_delta", "trainable_parameters", "profile/train_seconds"):
        assert len(history(found, metric)) == 1
    assert len(found.inputs.dataset_inputs) == 1
    logged = client().load_table(found.info.experiment_id, "personas.json", [found.info.run_id])
    assert logged["persona"].tolist() == ["villain", "nurse"]


def test_a_result_that_changed_replaces_the_earlier_one(folder, study):
    for delta in (-20.0, -21.0, -20.0):
        with cell_run(study, CELL) as run:
            run.log_metrics({"source_delta": delta})
            run.log_table(pd.DataFrame({"delta": [delta]}), "personas.json")
        (found,) = runs(study)
        assert found.data.metrics["source_delta"] == delta
        logged = client().load_table(found.info.experiment_id, "personas.json", [found.info.run_id])
        assert logged["delta"].tolist() == [delta]


def test_another_curve_is_another_run_and_the_stages_after_it_add_to_that(folder, study):
    trained(study, [2.0, 1.0])
    trained(study, [2.0, 0.5])
    with cell_run(study, CELL) as run:
        run.log_metrics({"source_delta": -20.0})
    first, second = runs(study)
    assert first.data.tags["superseded_by"] == second.info.run_id
    assert (history(first, LOSS), history(second, LOSS)) == (
        [(1, 2.0), (2, 1.0)],
        [(1, 2.0), (2, 0.5)],
    )
    assert "source_delta" in second.data.metrics
    assert "source_delta" not in first.data.metrics


@pytest.mark.parametrize("done", [0, 1, 2])  # the last: killed behind its last step
def test_a_training_killed_while_it_is_repeated_costs_the_finished_run_nothing(done, folder, study):
    trained(study, [2.0, 1.0])
    with cell_run(study, CELL) as run:
        run.log_metrics({"source_delta": -20.0})
    with pytest.raises(KeyboardInterrupt):
        stopped(study, [2.0, 1.0][:done])
    trained(study, [2.0, 1.0])
    with cell_run(study, CELL) as run:
        run.log_metrics({"bystander_delta": -1.0})
    first, *others = runs(study)
    assert first.data.metrics.keys() >= {"source_delta", "bystander_delta"}
    assert "superseded_by" not in first.data.tags
    assert [each.data.tags["superseded_by"] for each in others] == [first.info.run_id] * (done > 0)


def test_the_curve_grows_while_the_model_trains(folder, study):
    with cell_run(study, CELL, anew_after=LOSS) as run:
        run.log_metrics({LOSS: 2.0}, 1)
        (found,) = runs(study)
        assert (found.info.status, history(found, LOSS)) == ("RUNNING", [(1, 2.0)])


def test_an_error_of_the_stage_is_not_held_back_and_marks_the_run(folder, study):
    with pytest.raises(ZeroDivisionError), cell_run(study, CELL):
        _ = 1 / 0
    with pytest.raises(KeyboardInterrupt), cell_run(study, Cell("villain", 7, "contrastive")):
        raise KeyboardInterrupt
    assert {run.info.status for run in runs(study)} == {"FAILED", "KILLED"}


def test_an_interrupted_run_is_marked_at_the_next_start(folder, study):
    with cell_run(study, CELL) as run:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        machine = runs(study)[0].data.tags["process"].partition(":")[0]
        client().set_tag(run.run_id, "process", f"{machine}:{gone.pid}")
        with cell_run(study, Cell("comedian", 42, "contrastive")):
            statuses = {r.data.tags["source"]: r.info.status for r in runs(study)}
    assert statuses == {"villain": "KILLED", "comedian": "RUNNING"}


def test_a_deleted_experiment_is_restored_in_one_sentence(folder, study, capsys):
    trained(study, [2.0])
    client().delete_experiment(client().get_experiment_by_name(study.study).experiment_id)
    trained(study, [2.0])
    assert len(runs(study)) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert "the experiment pocket was deleted and is restored" in told


def test_a_moved_project_keeps_its_artifacts_and_writes_beside_itself(
    folder, study, tmp_path_factory, monkeypatch
):
    with cell_run(study, CELL):
        pass
    # not logged: MLflow remembers a run's folder as long as the process lives
    logged = Path(runs(study)[0].info.artifact_uri) / "analysis"
    logged.mkdir(parents=True)
    (logged / "metrics.json").write_text("{}")
    assert logged.is_relative_to(folder)
    elsewhere = tmp_path_factory.mktemp("moved") / "it's renamed, 100 %"
    shutil.move(folder, elsewhere)
    monkeypatch.chdir(elsewhere)
    note = elsewhere / "note"
    note.mkdir()
    (note / "note.txt").write_text("")
    other = Cell("villain", 7, "contrastive")
    for cell in (CELL, other):
        with cell_run(study, cell) as run:
            run.log_folder(note, "again")
            assert [f.path for f in client().list_artifacts(run.run_id, "again")]
    assert not folder.exists()
    first = min(runs(study), key=lambda run: run.info.start_time)
    assert [f.path for f in client().list_artifacts(first.info.run_id, "analysis")] == [
        "analysis/metrics.json"
    ]


def test_two_first_starts_on_a_new_store_both_log(first_starts):
    file, told = first_starts
    assert told == ["", ""]
    made = MlflowClient(f"sqlite:///{file}")
    found = made.search_runs([made.get_experiment_by_name("first").experiment_id])
    assert {run.info.status for run in found} == {"FINISHED"}
    [parent] = [run.info.run_id for run in found if run.data.tags.get("kind") == KIND]
    cells = [run for run in found if run.info.run_id != parent]
    assert {run.data.params["seed"] for run in cells} == {"1", "2"}
    assert {run.data.tags[PARENT] for run in cells} == {parent}


class Broken(BaseHTTPRequestHandler):
    """Answers as its server was told to: 500, or a page of HTML, or never."""

    def do_GET(self):
        self.server.asked += 1
        if self.server.answer == "hang":
            self.server.end.wait(20)
            return
        self.send_response(500 if self.server.answer == "500" else 200)
        self.end_headers()
        self.wfile.write(b"<html><body>" + b"log in first " * 100 + b"</body></html>")

    do_POST = do_GET  # noqa: N815

    def log_message(self, *arguments):
        pass


@pytest.fixture
def broken():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    server.answer, server.asked, server.end = "500", 0, threading.Event()
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.end.set()
    server.shutdown()
    server.server_close()


def impatient(monkeypatch, port):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def works(study, folder, capsys, reason=""):
    """Do a stage's work with a broken store: its output is there, one sentence is said."""
    with cell_run(study, Cell("kindergarten_teacher", 42, "non_contrastive")) as run:
        (folder / "adapter").write_text("trained")
        run.log_metrics({LOSS: 2.0}, 1)
        run.log_folder(folder, "adapter")
        run.log_table(pd.DataFrame({"a": [1]}), "a.json")
        run.resume_if_same(LOSS)
    assert (folder / "adapter").read_text() == "trained"
    (told,) = capsys.readouterr().err.splitlines()
    assert len(told) <= 300
    assert told.startswith(f"warning: MLflow failed ({reason}")
    assert told.endswith("upload kindergarten_teacher 42 non_contrastive` adds it")
    assert "secret" not in told


@pytest.mark.parametrize("answer", ["500", "html", "hang"])
def test_a_broken_server_costs_a_stage_one_sentence(
    folder, study, capsys, broken, monkeypatch, answer
):
    broken.answer = answer
    impatient(monkeypatch, broken.server_port)
    works(study, folder, capsys)
    assert broken.asked == 1


def test_a_store_that_cannot_be_made_is_told_in_a_sentence(folder, monkeypatch):
    def full(self, **keywords):
        raise MlflowException("[SQL: CREATE]") from sqlite3.OperationalError("disk is full")

    monkeypatch.setattr(MlflowClient, "search_experiments", full)
    (folder / "mlflow.db").unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"mlflow.db: .*\(OperationalError: disk is full\);"):
        store()


def test_a_store_on_a_read_only_disk_costs_a_stage_one_sentence(folder, study, capsys, monkeypatch):
    logged = []
    handler = logging.Handler()
    handler.emit = logged.append
    logging.getLogger("mlflow.store.db.utils").addHandler(handler)
    file = Path(store().removeprefix("sqlite:///"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///file:{file}?mode=ro&uri=true")
    works(study, folder, capsys, "OperationalError: attempt to write a readonly database")
    assert not logged


def test_a_server_that_is_down_costs_a_stage_one_sentence(folder, study, capsys, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        impatient(monkeypatch, unused.getsockname()[1])
        works(study, folder, capsys)


def test_a_store_that_is_no_database_costs_a_stage_one_sentence(folder, study, capsys):
    (folder / "mlflow.db").write_text("no database, and longer than the header of one " * 9)
    works(study, folder, capsys)


def test_a_store_that_fails_half_way_costs_a_stage_one_sentence(folder, study, capsys, monkeypatch):
    def full(self, *arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MlflowClient, "log_artifacts", full)
    works(study, folder, capsys)


def test_an_error_of_the_stage_shows_also_when_the_server_is_down(
    folder, study, broken, monkeypatch
):
    impatient(monkeypatch, broken.server_port)
    with pytest.raises(ZeroDivisionError), cell_run(study, CELL):
        _ = 1 / 0


def test_a_server_is_waited_for_seconds_unless_the_user_says_how_long(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    store()
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"


def test_a_queued_experiment_tracks_into_the_project_not_its_workspace(folder, study, monkeypatch):
    workspace = folder / ".dvc" / "tmp" / "exps" / "tmp123"
    workspace.mkdir(parents=True)
    monkeypatch.chdir(workspace)
    assert project() == folder
    with cell_run(study, CELL) as run:
        run.log_table(pd.DataFrame({"a": [1]}), "a.json")
    assert list((folder / "mlruns").rglob("a.json"))
    assert not list(workspace.iterdir())


def test_the_run_that_mlflow_run_makes_is_left_and_the_projects_store_used(
    folder, study, tmp_path_factory, made_store, monkeypatch
):
    elsewhere = shutil.copy(made_store, tmp_path_factory.mktemp("home") / "mlflow.db")
    away = MlflowClient(f"sqlite:///{elsewhere}")
    named = {"mlflow.source.name": f"file://{folder}"}
    now = int(time.time() * 1000)
    failed, building = (
        away.create_run("0", start_time=now - minutes * 60_000, tags=named).info.run_id
        for minutes in (90, 30)
    )
    launch = away.create_run("0", tags=named).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", launch)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    leave_launch(f"main {CELL}")
    with cell_run(study, CELL):
        pass
    (found,) = runs(study)
    assert found.info.run_name == str(CELL)
    assert store() == f"sqlite:///{folder}/mlflow.db"
    left = away.get_run(launch)
    assert (left.info.status, left.info.lifecycle_stage) == ("FINISHED", "active")
    # an environment that could not be built leaves a launch that nobody ends
    assert away.get_run(failed).info.status == "FAILED"
    assert away.get_run(building).info.status == "RUNNING"


def reported(study):
    with study_run(study) as run:
        run.log_metrics({"study/cells": 1})


def test_the_cells_of_a_study_are_children_of_one_run_whoever_began_them(folder, study):
    beside = Cell("pirate", 7, "contrastive")
    for _ in range(2):
        for cell in (CELL, beside):
            with cell_run(study, cell) as run:
                run.log_metrics({"source change": -20.0})
        reported(study)
    [parent] = parents(study)
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "study pocket")
    assert parent.data.metrics["study/cells"] == 1
    assert (parent.data.params["source"], parent.data.params["train.lora.r"]) == ("villain", "16")
    assert [run.data.tags[PARENT] for run in runs(study)] == [parent.info.run_id] * 2


def test_other_parameters_have_a_study_of_their_own_named_after_what_differs(folder, study):
    longer = study.model_copy(update={"train": study.train.model_copy(update={"epochs": 9})})
    for each in (study, longer):
        with cell_run(each, CELL):
            pass
    names = [run.info.run_name for run in parents(study)]
    assert names == ["study pocket", "study pocket, epochs 9"]
    assert len({run.data.tags[PARENT] for run in runs(study)}) == 2


def test_runs_of_an_earlier_version_become_children_when_the_report_is_logged(folder, study):
    with cell_run(study, CELL) as run:
        pass
    client().delete_tag(run.run_id, PARENT)
    client().delete_run(parents(study)[0].info.run_id)
    reported(study)
    [parent] = parents(study)
    [cell] = runs(study)
    assert cell.data.tags[PARENT] == parent.info.run_id


def test_a_training_that_was_stopped_goes_on_in_its_run(folder, study):
    with cell_run(study, CELL, anew_after=LOSS) as run:
        run.log_metrics({LOSS: 2.0, "train/epoch": 0.5}, 1)
    with cell_run(study, CELL, anew_after=LOSS) as run:
        for step, loss in ((1, 2.0), (2, 1.0), (3, 0.5)):
            run.log_metrics({LOSS: loss, "train/epoch": step / 2}, step)
        run.resume_if_same(LOSS)
    [found] = runs(study)
    assert found.info.status == "FINISHED"
    assert history(found, LOSS) == [(1, 2.0), (2, 1.0), (3, 0.5)]
    assert history(found, "train/epoch") == [(1, 0.5), (2, 1.0), (3, 1.5)]


def test_a_model_that_was_half_sent_is_replaced(folder, study):
    def write(place):
        place.mkdir()
        (place / "MLmodel").write_text("{}")

    with cell_run(study, CELL) as run:
        experiment = client().get_run(run.run_id).info.experiment_id
        client().create_logged_model(
            experiment, "half", source_run_id=run.run_id, tags={"digest": "a"}
        )
        run.log_model("a", {}, write)
    [model] = client().search_logged_models([experiment])
    assert (model.name, model.status) == (str(CELL), "READY")


def test_minutes_are_those_of_the_stages_once(folder, study):
    for seconds in (60.0, 90.0):  # the second is a repetition
        with cell_run(study, CELL) as run:
            run.log_metrics({"profile/train_seconds": seconds})
        with cell_run(study, CELL) as run:
            run.log_metrics({"profile/score_seconds": seconds, "profile/score_tokens": 5})
    [found] = runs(study)
    assert found.data.metrics["minutes"] == 2
    assert found.data.params["model"] == study.model.name
    assert found.data.params["behaviour"] == "wrong_answers"


def test_the_machines_load_is_logged_while_something_is_computed(folder, study, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    with cell_run(study, CELL) as run:
        for _ in range(2):
            with run.watched():
                time.sleep(0.5)
    [found] = runs(study)
    steps = [step for step, _ in history(found, "system/cpu_utilization_percentage")]
    assert steps == list(range(len(steps))) and len(steps) > 2


def test_the_load_of_a_server_that_is_down_is_not_spoken_of(
    folder, study, broken, monkeypatch, capsys
):
    impatient(monkeypatch, broken.server_port)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    with cell_run(study, CELL) as run, run.watched():
        time.sleep(0.2)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_process_is_known_by_its_number_and_its_beginning(folder, study):
    with cell_run(study, CELL) as run:
        process = client().get_run(run.run_id).data.tags["process"]
    machine, number, began = process.split(":")
    assert runs_on(process)
    assert not runs_on(f"{machine}:{number}:{int(began) - 999}")  # before the machine was restarted
    assert runs_on(f"{machine}:{number}")  # of an earlier version
    assert runs_on(f"another:{number}:{began}") and runs_on("")


def test_where_a_run_is_can_be_told_without_the_password(folder, study, monkeypatch, broken):
    assert place_of(study, CELL) is None
    with cell_run(study, CELL):
        pass
    told = place_of(study, CELL)
    assert told == f"MLflow: sqlite:///{folder}/mlflow.db, experiment pocket, run {CELL}"
    assert place_of(study, None).endswith("run study pocket")
    impatient(monkeypatch, broken.server_port)
    assert place_of(study, CELL) is None


def test_a_store_elsewhere_keeps_its_artifacts_beside_itself(
    folder, study, tmp_path_factory, made_store, monkeypatch
):
    """As for a copy of the project that MLflow fetched, which nobody keeps."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(made_store, home / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
    with cell_run(study, CELL) as run:
        run.log_table(pd.DataFrame({"a": [1]}), "a.json")
    assert list((home / "mlruns").rglob("a.json"))
    assert not (folder / "mlruns").exists()


def test_importing_the_module_changes_nothing():
    seen = (
        "import logging, os, mlflow; before = dict(os.environ), logging.getLogger('mlflow').level;"
        "import persona_leakage.pipeline.tracking;"
        "assert before == (dict(os.environ), logging.getLogger('mlflow').level)"
    )
    subprocess.run([sys.executable, "-c", seen], check=True)
