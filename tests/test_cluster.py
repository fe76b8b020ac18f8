"""The cells of a study side by side: what is finished is known, DVC is told, Ray counts once."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import every_stage
import psutil
import pytest
import yaml
from conftest import ROOT
from mlflow.tracking import MlflowClient

from persona_leakage.errors import InputError
from persona_leakage.files import sha256_below, write_json
from persona_leakage.pipeline import cell as one
from persona_leakage.pipeline import cluster, paths
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study

VILLAIN, SPY = Cell("villain", 42, "contrastive"), Cell("spy", 42, "contrastive")


def extra(cell):
    return {str(cell): {"source": cell.source, "seed": cell.seed, "variant": cell.variant}}


@pytest.fixture
def two_cells(study_in_small, monkeypatch):
    """A study of a cell of the grid and an extra one, nothing of it computed."""
    monkeypatch.chdir(study_in_small)
    params = yaml.safe_load(Path("params.yaml").read_text())
    params |= {"sources": ["villain"], "seeds": [42], "extra_cells": extra(SPY)}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    study = load_study()
    assert study.cells == [VILLAIN, SPY]
    return study


@pytest.fixture
def stages(two_cells, monkeypatch):
    """Each stage of a cell writes a file into its folder; notes what ran."""
    ran = []

    def stage(name, folder):
        def write(cell):
            ran.append((name, cell))
            write_json(folder(load_study(), cell) / "made.json", [name, str(cell)])

        return write

    made = {name: stage(name, folder) for name, folder in cluster.OF_CELL.items()}
    monkeypatch.setattr(one, "run", lambda name, cell: made[name](cell))
    return ran


@pytest.fixture
def dvc(monkeypatch):
    """What DVC is asked, instead of asking it."""
    asked = []

    def run(words, **_):
        asked.append(words[3:])
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_a_finished_cell_is_left_alone(stages, capsys):
    assert cluster.compute([VILLAIN]) == {}
    assert [name for name, _ in stages] == list(cluster.OF_CELL)
    assert cluster.compute([VILLAIN]) == {}
    assert len(stages) == 4
    assert "cell 1 of 2, villain-42-contrastive: finished before" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["gone", "another", "shared", "parameters", "libraries"])
def test_a_cell_is_computed_again_whatever_differs(stages, two_cells, change, monkeypatch):
    cluster.compute([VILLAIN])
    if change == "gone":
        (paths.scores(two_cells, VILLAIN) / "made.json").unlink()
    elif change == "another":
        (paths.adapter(two_cells, VILLAIN) / "made.json").write_text("[]")
    elif change == "shared":
        write_json(paths.baseline(two_cells) / "nurse.json", [])
    elif change == "parameters":
        params = yaml.safe_load(Path("params.yaml").read_text())
        params["train"]["epochs"] = 2
        Path("params.yaml").write_text(yaml.safe_dump(params))
    else:
        monkeypatch.setattr(cluster, "version", lambda _: "another")
    cluster.compute([VILLAIN])
    assert len(stages) == 8


def test_a_cell_that_stops_says_why_and_is_not_finished(stages, two_cells, monkeypatch):
    written = one.run

    def stop(stage, cell):
        if stage == "evaluate":
            sys.exit("error: the disk is full")
        written(stage, cell)

    monkeypatch.setattr(one, "run", stop)
    assert cluster.compute([VILLAIN]) == {VILLAIN: "error: the disk is full"}
    assert not cluster.is_finished(two_cells, VILLAIN, cluster.computed_from(two_cells))


def test_dvc_is_told_of_the_finished_cells_alone_by_the_names_of_its_stages(stages, dvc):
    cluster.compute([SPY])
    with pytest.raises(InputError, match="1 of 2 cells are finished; villain-42-contrastive: torn"):
        cluster.collect({VILLAIN: "error: torn"})
    names = [f"{stage}_extra@{SPY}" for stage in cluster.OF_CELL]
    assert dvc == [["commit", "--quiet", "--force", *names]]
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert {name.partition("@")[0] for name in names} < set(declared)
    cluster.compute([VILLAIN])
    cluster.collect()
    assert f"train@{VILLAIN}" in dvc[1]
    assert dvc[2] == ["repro", "--quiet"]  # the report alone is left


def test_a_stretch_of_cells_is_computed_and_another_is_refused(stages):
    cluster.main("cells", 1, 2)
    assert {cell for _, cell in stages} == {SPY}
    with pytest.raises(SystemExit, match="no cells from 2 on: the study has 2"):
        cluster.main("cells", 2, 4)


def test_all_cells_of_a_process_are_trained_before_one_is_scored(stages):
    cluster.main("cells")
    of_both = [[(name, cell) for cell in (VILLAIN, SPY)] for name in ("evaluate", "analyse")]
    trained = [(name, cell) for cell in (VILLAIN, SPY) for name in ("contrast", "train")]
    assert stages == [*trained, *of_both[0], *of_both[1]]


def ray_of(results, **resources):
    """Stands where Ray does: tasks end in the order they came, as given."""
    lost = type("RayError", (Exception,), {})

    def get(task):
        if results[task] == "killed":
            raise lost("the worker died,\n four times")
        return results[task]

    options = {}

    def remote(**asked):
        options.update(asked)
        return lambda function: SimpleNamespace(remote=lambda cell, *_: cell)

    return SimpleNamespace(
        remote=remote,
        options=options,
        wait=lambda tasks: (tasks[:1], tasks[1:]),
        get=get,
        exceptions=SimpleNamespace(RayError=lost),
        cluster_resources=lambda: resources,
    )


def test_a_cell_that_ray_loses_stops_no_other(two_cells, capsys):
    ray = ray_of({VILLAIN: "killed", SPY: None})
    stopped = cluster.on_ray(ray, two_cells.cells, cpus=2, gpus=0.5)
    assert stopped == {VILLAIN: "the worker died, four times"}
    assert ray.options.pop("max_calls") == 1
    assert ray.options == {"num_cpus": 2, "num_gpus": 0.5, "max_retries": cluster.RETRIES}
    assert f"{SPY}: finished (2 of 2)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"gpus": 1}, "--gpus 1: the Ray cluster has 0 in all"),
        ({"cpus": 8}, "--cpus 8: the Ray cluster has 2 in all"),
        ({"gpus": 1.5}, "--gpus 1.5: give a whole number, or a fraction of one"),
        ({"cpus": -1}, "--cpus -1: give a whole number"),
    ],
)
def test_a_request_that_no_cluster_meets_is_refused_before_a_cell_begins(
    two_cells, monkeypatch, asked, told
):
    class Connected:
        def __enter__(self):
            return ray_of({}, CPU=2)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(cluster, "connected", Connected)
    monkeypatch.setattr(cluster, "prepare", lambda: None)
    with pytest.raises(SystemExit, match=told):
        cluster.with_ray(**asked)


def test_without_ray_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit, match="ray is not installed: `uv sync --extra ray`"):
        cluster.with_ray()


@pytest.mark.parametrize(
    ("given", "cells"),
    [({}, "0 1"), ({"ID": "7"}, "7 8"), ({"ID": "2", "PER_TASK": "10"}, "20 30")],
)
def test_a_task_of_a_slurm_array_computes_its_stretch_of_cells(given, cells, tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$PWD $OMP_NUM_THREADS $*"\n')
    python.chmod(0o755)
    project = tmp_path / "a project"
    project.mkdir()
    done = subprocess.run(
        ["bash", ROOT / "deploy" / "cells.sbatch"],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SLURM_SUBMIT_DIR": str(project),
            "SLURM_CPUS_PER_TASK": "8",
            "SLURM_ARRAY_TASK_ID": given.get("ID", "0"),
            **{name: value for name, value in given.items() if name != "ID"},
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{project} 8 -m persona_leakage.pipeline.cluster cells {cells}\n"


def test_a_cluster_that_is_not_there_is_one_sentence(monkeypatch):
    def init(**_):
        raise ConnectionError("nobody at\n10.0.0.1:6379")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with pytest.raises(SystemExit, match="error: Ray did not start: nobody at 10.0.0.1:6379; see"):
        cluster.with_ray()


def kill_in_mid_training(folder: Path, killed: list[int]) -> None:
    """Wait for a training on a worker, and kill that worker."""
    for _ in range(6000):
        workers = [
            each
            for each in psutil.process_iter(["cmdline"])
            if (each.info["cmdline"] or [""])[0].startswith("ray::_on_worker")
        ]
        for worker in workers:
            try:
                holds = [Path(each.path) for each in worker.open_files()]
            except psutil.Error:
                continue
            if any(each.parent == folder and each.with_suffix("").is_dir() for each in holds):
                worker.kill()
                killed.append(worker.pid)
                return
        time.sleep(0.02)


@pytest.mark.slow
def test_ray_gives_the_tables_of_one_process_also_after_a_worker_was_killed(
    two_cells, tmp_path, monkeypatch, capfd
):
    pytest.importorskip("ray")
    every_stage.run(*two_cells.cells)
    [analysis, scores] = (Path("outputs/small") / each for each in ("analysis", "scores"))
    expected = {folder: sha256_below(folder) for folder in (analysis, scores)}
    apart = tmp_path / "apart"
    for folder in ("contrast", "adapters", "scores", "analysis", "finished", "checkpoints"):
        (Path("outputs/small") / folder).rename(apart.with_name(f"apart_{folder}"))
    for folder in ("scored", "earlier"):
        (Path("outputs") / folder).rename(apart.with_name(f"apart_{folder}"))
    uri = f"sqlite:///{tmp_path}/with_ray.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    killed = []
    hunter = threading.Thread(
        target=kill_in_mid_training,
        args=(paths.checkpoints(two_cells, VILLAIN).parent.resolve(), killed),
    )
    with cluster.connected() as ray:
        hunter.start()
        assert cluster.on_ray(ray, two_cells.cells, cpus=1, gpus=0) == {}
        hunter.join()
        assert len(killed) == 1
        assert cluster.on_ray(ray, two_cells.cells, cpus=1, gpus=0) == {}  # nothing is left to do
    assert capfd.readouterr().out.count("finished before") == 2
    for folder, files in expected.items():
        assert sha256_below(folder) == files
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("small").experiment_id
    runs = client.search_runs([experiment], "tags.variant = 'contrastive'")
    assert sorted((run.data.tags["source"], run.info.status) for run in runs) == [
        ("spy", "FINISHED"),
        ("villain", "FINISHED"),
    ]
