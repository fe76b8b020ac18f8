"""The real small model, a tiny study, the real commands, in a copy of the project."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from mlflow.tracking import MlflowClient
from moto.server import ThreadedMotoServer

TINY = {
    "study": "tiny",
    "sources": ["villain"],
    "seeds": [42],
    "variants": ["contrastive"],
    "personas": ["villain", "henchman", "spy", "nurse", "baker", "librarian", "comedian"],
    "behaviour": {"name": "wrong_answers", "scoring": "option_text"},
    "contrast": {
        "positives": 6,
        "negatives": ["librarian"],
        "per_negative": 6,
        "no_system": 2,
        "assistant": 2,
    },
    "similarity": {"layer": 0.714, "layers": [0.5]},
}


@pytest.fixture(scope="module")
def environment():
    # tests in this process leave MLflow's choice of experiment in the environment
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("MLFLOW_")}
    return {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "src",
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@example.invalid",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.invalid",
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory, environment):
    """A clean checkout of the working tree, switched to the tiny study and computed once."""
    folder = tmp_path_factory.mktemp("project")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).exists() and not name.startswith("reports/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / "dvc.lock").unlink(missing_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | TINY
    params["questions"] |= {"max_train": 8, "max_evaluate": 8}
    params["train"] |= {"epochs": 1, "batch_size": 8}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "tiny"]):
        subprocess.run(["git", *command], cwd=folder, check=True, env=environment)
    run(folder, environment, "dvc", "repro")
    return folder


def run(folder, environment, *command):
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_dvc_repro_computes_the_study_and_then_has_nothing_to_do(project, environment):
    report = project / "reports" / "tiny"
    table = pd.read_csv(report / "personas.csv").set_index("persona")
    assert table.loc["villain", "role"] == "source"
    assert table.loc["librarian", "role"] == table.loc["assistant", "role"] == "negative"
    assert table.loc["spy", "role"] == "bystander"
    assert table.loc["villain", "raw"] == pytest.approx(1)
    assert (table["questions"] == 8).all()
    numbers = json.loads((report / "metrics.json").read_text())
    assert numbers["cells"] == 1
    assert {"source_delta", "bystander_delta", "spearman_raw", "broke"} <= set(numbers)
    assert "<!doctype html>" in (report / "report.html").read_text()
    assert "leakage follows the cosine gradient" in (report / "report.md").read_text()
    found = json.loads((report / "summary.json").read_text())
    assert found["verdict"]["confidence"] == "low"  # one seed
    assert len(found["provenance"]["model.safetensors, SHA-256"]) == 64
    assert found["provenance"]["precision"] == "float32 (model.precision: float32)"
    (cell,) = found["cells"]
    assert {row["predictor"] for row in cell["predictors"]["rows"]} >= {"raw@15", "words"}
    second = run(project, environment, "dvc", "repro")
    assert "Running stage" not in second
    assert "Data and pipelines are up to date" in second


def test_an_unused_persona_is_written_down_and_nothing_else_runs(project, environment):
    catalog = project / "catalog" / "personas.yaml"
    before = catalog.read_text()
    line = '- {name: someone, category: unrelated, relation: null, prompt: "You are someone."}\n'
    catalog.write_text(before + "\n# Nobody whom this study asks.\n" + line)
    run(project, environment, "dvc", "update", "data.dvc")
    stages = re.findall(r"Running stage '([^']+)'", run(project, environment, "dvc", "repro"))
    assert stages == ["personas"]
    catalog.write_text(before)
    run(project, environment, "dvc", "update", "data.dvc")
    run(project, environment, "dvc", "repro")


def test_dvc_shows_metrics_plots_and_the_graph(project, environment):
    assert "source_delta" in run(project, environment, "dvc", "metrics", "show", "--json")
    run(project, environment, "dvc", "metrics", "diff")
    for command in (["show"], ["diff", "HEAD"]):
        run(project, environment, "dvc", "plots", *command)
        page = (project / "dvc_plots" / "index.html").read_text()
        assert re.search(r'<img src="[^"]*seeds.png"', page)  # which needs no network
        assert page.count("vega-lite/v5.json") == 2
    assert "train@villain-42-contrastive" in run(project, environment, "dvc", "dag")


def test_the_stages_of_a_cell_add_to_one_run_with_everything_in_it(project):
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    (found,) = client.search_runs([experiment.experiment_id], "tags.source = 'villain'")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.kind = 'study'")
    assert found.info.status == parent.info.status == "FINISHED"
    assert found.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.metrics["study/cells"] == 1
    report = {file.path for file in client.list_artifacts(parent.info.run_id, "report")}
    assert {"report/report.html", "report/summary.json"} <= report
    assert found.data.params["train.lora.r"] == "16"
    tags = found.data.tags
    assert (tags["source"], tags["seed"], tags["study"], tags["variant"]) == (
        "villain",
        "42",
        "tiny",
        "contrastive",
    )
    assert tags["precision"] in {"float32", "bfloat16"}
    assert len(tags["git_commit"].removesuffix("-dirty")) == 40
    metrics = found.data.metrics
    assert {"source change", "bystander mean", "minutes", "train/loss"} <= set(metrics)
    parts = {"load", "train", "score", "analyse"}
    assert {f"profile/{part}_seconds" for part in parts} <= set(metrics)
    assert metrics["profile/score_tokens_per_second"] > 0
    assert len(client.get_metric_history(found.info.run_id, "train/loss")) == 2
    assert {i.dataset.name for i in found.inputs.dataset_inputs} == {"training", "evaluation"}
    paths = {file.path for file in client.list_artifacts(found.info.run_id, "analysis")}
    assert {"analysis/personas.csv", "analysis/gradient.svg"} <= paths
    (model,) = client.search_logged_models([experiment.experiment_id])
    assert (model.name, model.source_run_id) == ("villain-42-contrastive", found.info.run_id)
    assert (Path(model.artifact_location.removeprefix("file://")) / "MLmodel").exists()


@pytest.mark.slow
def test_mlflow_run_computes_a_cell_into_the_studys_experiment_from_anywhere(
    project, environment, tmp_path
):
    launch = ["mlflow", "run", str(project), "--env-manager", "local"]
    run(tmp_path, environment, *launch, "-P", "source=comedian", "-P", "seed=7")
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    (found,) = client.search_runs([experiment.experiment_id], "tags.source = 'comedian'")
    assert (found.info.run_name, found.info.status) == ("comedian-7-contrastive", "FINISHED")
    assert found.data.params["seed"] == "7"
    assert "source change" in found.data.metrics
    # where the report of the study does not look
    folder = project / "outputs" / "tiny" / "beside" / "analysis" / "comedian-7-contrastive"
    assert (folder / "personas.csv").exists()


@pytest.mark.parametrize("wrong", ["variant=foo", "source=vilain", "seed=-1", "seed=$(touch x)"])
def test_mlflow_run_refuses_a_cell_that_cannot_be_before_anything_runs(project, environment, wrong):
    launch = ["mlflow", "run", ".", "--env-manager", "local", "-P", wrong]
    done = subprocess.run(launch, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"error: {wrong.split('=')[0]} is " in done.stderr
    assert "Traceback" not in done.stderr
    assert "Running stage" not in done.stdout
    assert not (project / "x").exists()


@pytest.mark.slow
def test_training_and_upload_again_add_nothing_to_the_run(project, environment):
    cell = ["villain", "42", "contrastive"]
    for stage in ("train", "evaluate", "analyse", "upload"):
        run(project, environment, sys.executable, "-m", f"persona_leakage.pipeline.{stage}", *cell)
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    (found,) = client.search_runs([experiment.experiment_id], "tags.source = 'villain'")
    for metric in ("source change", "profile/train_seconds", "profile/score_seconds"):
        assert len(client.get_metric_history(found.info.run_id, metric)) == 1
    assert len(client.get_metric_history(found.info.run_id, "train/loss")) == 2
    assert len(found.inputs.dataset_inputs) == 2
    assert len(client.search_logged_models([experiment.experiment_id])) == 1


def test_studies_cells_and_runs_are_compared_in_one_report(project, environment):
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    (found,) = client.search_runs([experiment.experiment_id], "tags.source = 'villain'")
    command = [sys.executable, "-m", "persona_leakage.pipeline.compare"]
    run(project, environment, *command, "tiny/villain-42-contrastive", found.info.run_id)
    report = project / "reports" / "comparison"
    table = pd.read_csv(report / "headline.csv")
    assert table["study"].tolist() == ["tiny", f"tiny@{found.info.run_id[:8]}"]
    assert table.loc[0, "source_delta"] == table.loc[1, "source_delta"]
    again = subprocess.run(
        [*command, "tiny", "tiny"], cwd=project, env=environment, capture_output=True, text=True
    )
    assert again.returncode == 1
    assert "named twice" in again.stderr


@pytest.mark.slow
def test_a_sweep_can_be_run_again_and_stands_without_any_effect(project, environment, tmp_path):
    swept = shutil.copytree(project, tmp_path / "swept", symlinks=True)
    # a step so small that no answer changes: nothing to rank, no rho to log
    setting = "from persona_leakage.pipeline import sweep; sweep.main(['1e-9x1'])"
    for _ in range(2):
        run(swept, environment, sys.executable, "-c", setting)
    table = pd.read_csv(swept / "reports" / "tiny_sweep" / "sweep.csv")
    assert table[["learning_rate", "epochs", "source_delta"]].values.tolist() == [[1e-9, 1, 0]]
    assert table["spearman_raw"].isna().all()
    assert (swept / "reports" / "tiny_sweep" / "sweep.svg").exists()
    assert run(swept, environment, "dvc", "exp", "list", "--name-only").split() == [
        "tiny-lr1e-09-epochs1"
    ]


@pytest.fixture(params=["a folder", "S3"])
def shared(request, environment, tmp_path):
    """What both sides see: how to add it as a remote, and what the environment holds of it."""
    if request.param == "a folder":
        yield [("add", "--default", "store", str(tmp_path / "store"))], environment
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "ada", "AWS_SECRET_ACCESS_KEY": "secret"}
    names = {name.lower(): value for name, value in keys.items()}
    url = f"http://{host}:{port}"
    boto3.client("s3", "us-east-1", endpoint_url=url, **names).create_bucket(Bucket="dvc")
    remote = [
        ("add", "--default", "team", "s3://dvc/persona-leakage"),
        ("modify", "team", "endpointurl", url),
    ]
    yield remote, {**environment, **keys, "AWS_DEFAULT_REGION": "us-east-1"}
    server.stop()


@pytest.mark.slow
def test_a_second_clone_pulls_everything_and_computes_nothing(project, shared, tmp_path):
    """The recipe of docs/sharing.md."""
    remote, environment = shared
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    shutil.copytree(project, mine, symlinks=True)
    for words in remote:
        run(mine, environment, "dvc", "remote", *words)
    run(mine, environment, "git", "add", "-A")
    run(mine, environment, "git", "commit", "-qm", "Compute the study")
    run(mine, environment, "dvc", "push")
    run(tmp_path, environment, "git", "clone", "-q", str(mine), str(theirs))
    run(theirs, environment, "dvc", "pull")
    ran = re.findall(r"Running stage '([^']+)'", run(theirs, environment, "dvc", "repro"))
    assert ran == ["study"]  # the parameters are validated on each machine
    assert not run(theirs, environment, "git", "status", "--porcelain")
    adapter = theirs / "outputs" / "tiny" / "adapters" / "villain-42-contrastive"
    assert (adapter / "adapter_model.safetensors").exists()
    told = run(theirs, environment, sys.executable, "-m", "persona_leakage.pipeline.upload")
    assert "1 of 1 cells: villain-42-contrastive" in told
    client = MlflowClient(f"sqlite:///{theirs}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny").experiment_id
    (found,) = client.search_runs([experiment], "tags.source = 'villain'")
    assert "source change" in found.data.metrics


@pytest.mark.slow
def test_cells_computed_beside_dvc_leave_it_the_report_alone(project, environment, tmp_path):
    """The recipe of docs/scale.md for Slurm: prepare, cells, collect."""
    folder = shutil.copytree(project, tmp_path / "many", symlinks=True)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    extra = {"source": "spy", "seed": 42, "variant": "contrastive"}
    params |= {"seeds": [42, 7], "extra_cells": {"spy-42-contrastive": extra}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    command = [sys.executable, "-m", "persona_leakage.pipeline.cluster"]
    assert run(folder, environment, *command, "prepare").endswith("3 cells: 0 to 2\n")
    run(folder, environment, *command, "cells", "1", "3")
    run(folder, environment, *command, "cells", "0", "2")
    told = run(folder, environment, *command, "collect")
    assert told.endswith("reports/tiny/report.html: the report of 3 cells\n")
    assert "Running stage" not in run(folder, environment, "dvc", "repro")
    table = Path("outputs/tiny/analysis/villain-42-contrastive/personas.csv")
    assert (folder / table).read_bytes() == (project / table).read_bytes()
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny").experiment_id
    runs = client.search_runs([experiment], "tags.variant = 'contrastive'")
    names = sorted(each.info.run_name for each in runs if "/" not in each.info.run_name)
    assert [name.partition(",")[0] for name in names] == [
        "spy-42-contrastive",
        "villain-42-contrastive",
        "villain-7-contrastive",
    ]


@pytest.mark.slow
def test_going_back_to_the_parameters_of_git_trains_and_scores_nothing(
    project, environment, tmp_path
):
    folder = shutil.copytree(project, tmp_path / "back", symlinks=True)
    params = folder / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("epochs: 1", "epochs: 2"))
    run(folder, environment, "dvc", "repro")
    params.write_text(before)
    scored = {file: file.stat().st_mtime_ns for file in (folder / "outputs/scored").rglob("*.*")}
    again = run(folder, environment, "dvc", "repro")
    ran = re.findall(r"Running stage '([^']+)'", again)
    assert not any(name.startswith("train") for name in ran)
    after = {file: file.stat().st_mtime_ns for file in (folder / "outputs/scored").rglob("*.*")}
    assert after == scored  # nothing was scored
    report = Path("reports") / "tiny" / "personas.csv"
    assert (folder / report).read_bytes() == (project / report).read_bytes()


@pytest.mark.slow
def test_restoring_the_lock_of_another_machine_trains_and_scores_nothing(
    project, environment, tmp_path
):
    folder = shutil.copytree(project, tmp_path / "restored", symlinks=True)
    lock = folder / "dvc.lock"
    lock.write_text(yaml.safe_dump(rounded_otherwise(yaml.safe_load(lock.read_text()))))
    outputs = folder / "outputs"
    scored = {file: file.stat().st_mtime_ns for file in (outputs / "scored").rglob("*.*")}
    told = run(folder, environment, "dvc", "repro")
    assert "Running stage 'train@villain-42-contrastive'" in told
    for name in ("centroids", "predictors", "adapters/villain-42-contrastive"):
        assert f"outputs/tiny/{name}: computed before from the same, brought back" in told
    assert scored == {file: file.stat().st_mtime_ns for file in (outputs / "scored").rglob("*.*")}
    report = Path("reports") / "tiny" / "personas.csv"
    assert (folder / report).read_bytes() == (project / report).read_bytes()


def rounded_otherwise(lock):
    """The lock as a machine would write it whose processor rounds otherwise."""
    computed = ("centroids", "geometry", "predictors", "baseline", "train", "evaluate", "analyse")
    stages = {name: stage for name, stage in lock["stages"].items() if name.startswith(computed)}
    outs = [out["path"] for stage in stages.values() for out in stage["outs"]]
    for stage in lock["stages"].values():
        for file in stage.get("deps", []) + stage["outs"]:
            manifest = file["path"].endswith("manifest.json")  # names, which nobody rounds
            if not manifest and any(f"{file['path']}/".startswith(f"{out}/") for out in outs):
                digest = hashlib.md5(f"{file['path']} {file['md5']}".encode()).hexdigest()
                file["md5"] = digest + ".dir" * file["md5"].endswith(".dir")
    return lock


def test_a_fault_in_the_parameters_is_one_sentence_and_changes_nothing(project, environment):
    text = (project / "params.yaml").read_text()
    before = {path: path.stat().st_mtime_ns for path in (project / "outputs").rglob("*")}
    (project / "params.yaml").write_text(text.replace("epochs: 1", "epochs: none"))
    stage = [sys.executable, "-m", "persona_leakage.pipeline.train", "villain", "42", "contrastive"]
    done = subprocess.run(stage, cwd=project, env=environment, capture_output=True, text=True)
    (project / "params.yaml").write_text(text)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "error: params.yaml: train.epochs is 'none': Input should be a valid integer, "
        "unable to parse string as an integer"
    )
    assert before == {path: path.stat().st_mtime_ns for path in (project / "outputs").rglob("*")}


@pytest.mark.slow
def test_from_a_git_uri_everything_that_stays_is_in_mlflow(project, environment, tmp_path):
    bare, home = tmp_path / "bare.git", tmp_path / "home"
    home.mkdir()
    run(tmp_path, environment, "git", "clone", "-q", "--bare", str(project), str(bare))
    # as MLflow would fetch it from elsewhere: a path that is there it takes for a folder
    uri = f"file://{tmp_path}/bare%2Egit"
    told = run(home, environment, "mlflow", "run", uri, "--env-manager", "local")
    assert "MLflow fetched this copy of the project and nobody keeps it" in told
    assert f"MLflow: sqlite:///{home}/mlflow.db, experiment tiny" in told
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny").experiment_id
    (found,) = client.search_runs([experiment], "tags.source = 'villain'")
    assert Path(found.info.artifact_uri.removeprefix("file://")).is_relative_to(home / "mlruns")
    files = {file.path for file in client.list_artifacts(found.info.run_id, "analysis")}
    assert "analysis/result.json" in files
