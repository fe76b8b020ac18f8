"""The server of ``deploy/``: a real PostgreSQL, a real S3 store, accounts; killed and come back."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import made
import mlflow
import pytest
from conftest import ROOT
from mlflow.tracking import MlflowClient

from persona_leakage.pipeline import paths, upload
from persona_leakage.pipeline.tracking import cell_run
from persona_leakage.study.cell import Cell
from persona_leakage.study.results import write_cell

pytestmark = pytest.mark.slow
CELL = Cell("villain", 42, "contrastive")
POSTGRES = shutil.which("postgres") or any(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def state():
    # PostgreSQL runs as another user where this one is root, and each session of pytest closes its
    # folders to others, those of the sessions beside it as well
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder / "state"


@pytest.fixture(scope="module")
def server(state):
    """Calls ``server.py``; what was started is stopped at the end."""
    if not POSTGRES:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    ports = [str(free_port()) for _ in range(3)]

    def call(*words):
        command = [sys.executable, str(ROOT / "deploy" / "server.py")]
        command += ["--state", str(state), "--ports", *ports, *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        call("up")
        yield call
    finally:
        call("down")
    assert not (state / "postgres" / "postmaster.pid").exists()


@pytest.fixture
def colleague(server, state, tmp_path, monkeypatch):
    """Somebody with an account, in a project's folder with a finished cell."""
    told = dict(line.split("=", 1) for line in server("user", tmp_path.name[-12:]).splitlines())
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    url = server("up").split()[0]  # once more: it runs already
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    mlflow.set_tracking_uri(None)
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return url


def computed(study):
    """What a cell leaves behind whose scores alone are kept."""
    cell = made.finished(study=study.study)
    paths.adapter(study, CELL).mkdir(parents=True)
    cell.curve.assign(epoch=1.0).to_csv(paths.adapter(study, CELL) / "curve.csv", index=False)
    folder = paths.analysis(study, CELL)
    folder.mkdir(parents=True)
    write_cell(folder, cell.result, cell.personas, *made.tables_of(cell))


def test_nobody_gets_in_without_an_account(colleague):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{colleague}/api/2.0/mlflow/experiments/search?max_results=1")
    assert refused.value.code == 401


def test_a_server_killed_in_mid_run_costs_a_sentence_and_upload_completes_the_run(
    colleague, server, state, study, capfd
):
    computed(study)
    curve = [(1, 2.0), (2, 1.0), (3, 0.5)]  # as the file has it
    with cell_run(study, CELL, anew_after="train/loss") as run:
        run.log_metrics({"train/loss": 2.0, "train/epoch": 1.0}, 1)
        started = run.run_id
        os.killpg(int((state / "mlflow.pid").read_text()), signal.SIGKILL)
        run.log_metrics({"train/loss": 1.0, "train/epoch": 1.0}, 2)
    [told] = capfd.readouterr().err.splitlines()
    assert told.startswith("warning: MLflow failed (")
    assert told.endswith("upload villain 42 contrastive` adds it")
    with pytest.raises(SystemExit, match="run it again when the store answers"):
        upload.main([CELL])
    server("up")
    upload.main([CELL])
    upload.main([CELL])
    client = MlflowClient(colleague)
    experiment = client.get_experiment_by_name(study.study).experiment_id
    [found] = client.search_runs([experiment], "tags.source = 'villain'")
    assert (found.info.run_id, found.info.status) == (started, "FINISHED")
    points = client.get_metric_history(started, "train/loss")
    assert sorted((point.step, point.value) for point in points) == curve
    assert found.data.metrics["source change"] == -40
    [parent] = client.search_runs([experiment], "tags.kind = 'study'")
    assert found.data.tags["mlflow.parentRunId"] == parent.info.run_id
    # through the server, into the S3 store
    assert found.info.artifact_uri.startswith("mlflow-artifacts:/")
    there = client.download_artifacts(started, "analysis/result.json")
    assert json.loads(Path(there).read_text())["source"] == "villain"
    assert any(file.is_file() for file in (state / "objects").rglob("*"))


def test_all_of_it_is_there_after_down_and_up(colleague, server, study):
    client = MlflowClient(colleague)
    before = {each.name: each.tags for each in client.search_experiments()}
    server("down")
    server("down")  # a second time, nothing
    server("up")
    assert {each.name: each.tags for each in client.search_experiments()} == before
