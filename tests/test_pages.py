"""A walk through MLflow's pages in a real browser, as somebody who looks at a finished study."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from itertools import pairwise
from pathlib import Path

import made
import mlflow
import pandas as pd
import pytest
from conftest import ROOT

from persona_leakage.files import write_json, write_text
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.cell_logs import log_analysis
from persona_leakage.pipeline.run_table import MINUTES, NAMES, PARAMS, VIEW
from persona_leakage.pipeline.study_logs import log_report
from persona_leakage.pipeline.tracking import cell_run, study_run
from persona_leakage.pipeline.upload import log_curve
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study
from persona_leakage.study.results import write_cell

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CELLS = [Cell(source, 42, "contrastive") for source in ("villain", "comedian")]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Returns the text and the HTML of a page of MLflow over a store with a finished study."""
    if not CHROMIUM:
        pytest.skip("no chromium here")
    folder = tmp_path_factory.mktemp("pages")
    before, inherited = Path.cwd(), dict(os.environ)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
    mlflow.set_tracking_uri(None)
    os.chdir(folder)
    shutil.copy(ROOT / "params.yaml", folder)
    ids = {}
    study = load_study().model_copy(update={"sources": [cell.source for cell in CELLS]})
    for cell in CELLS:
        made_cell = made.finished(source=cell.source, study=study.study)
        where = paths.analysis(study, cell)
        where.mkdir(parents=True)
        write_cell(where, made_cell.result, made_cell.personas, *made.tables_of(made_cell))
        with cell_run(study, cell, anew_after="train/loss") as run:
            for step in (1, 2, 3):
                log_curve(run, {"step": step, "loss": 2.0 / step})
            run.log_dataset(pd.DataFrame({"a": ["b"]}), "training", "examples.jsonl")
            run.log_model("digest", {"base_model": study.model.name}, lambda place: place.mkdir())
            run.log_metrics(
                {"profile/train_seconds": 90.0, "system/cpu_utilization_percentage": 50}
            )
            log_analysis(run, study, cell)
            ids[cell.source] = run.run_id
    write_json(
        paths.report(study) / "summary.json",
        {"verdict": {"answer": "supported", "confidence": "low", "in_words": "It leaks."}},
    )
    write_json(paths.report(study) / "metrics.json", {"broke": 3})
    write_text(paths.report(study) / "report.html", "<p>It leaks.</p>")
    with study_run(study) as run:
        log_report(run, study)
        ids["study"] = run.run_id
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until_it_answers(f"http://127.0.0.1:{port}/health", server)
        yield lambda route, name: page(f"http://127.0.0.1:{port}/#{route}", folder / name), ids
    finally:
        os.killpg(server.pid, 15)
        server.wait()
        os.chdir(before)
        os.environ.clear()
        os.environ.update(inherited)


def until_it_answers(url, server):
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            assert server.poll() is None
            time.sleep(1)
        else:
            return
    raise AssertionError(f"{url} does not answer")


def page(url, picture):
    """The text of a page once its scripts have run; a picture of it is kept beside the store."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=2600,1400"]
    command += ["--virtual-time-budget=60000", f"--screenshot={picture}.png", "--dump-dom", url]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    return re.sub(r"\s*<[^>]*>\s*", "\n", re.sub(r"<(script|style).*?</\1>", "", shown, flags=re.S))


def lines(text):
    return text.split("\n")


def test_the_table_compares_the_cells_without_a_word_typed(pages):
    show, _ = pages
    shown = lines(show(f"/experiments/1/runs?viewStateShareKey={VIEW}", "table"))
    heads = [*PARAMS, *NAMES.values(), MINUTES]
    assert set(heads) <= set(shown)  # in which order, no text tells
    assert {"villain-42-contrastive", "comedian-42-contrastive", "study pocket"} <= set(shown)
    assert shown.count("-40") >= 2 and "1.5" in shown  # source change, minutes


def test_the_charts_begin_with_what_cells_are_compared_by(pages):
    show, _ = pages
    address = f"/experiments/1/runs?viewStateShareKey={VIEW}&compareRunsMode=CHART"
    shown = [line for line in lines(show(address, "charts")) if line]
    sections = [name for name, count in pairwise(shown) if re.fullmatch(r"\(\d+\)", count)]
    assert sections[:2] == ["Model metrics", "train"]
    assert {"source change", "rho"} <= set(shown) and "interval/spearman_raw_low" not in shown


def test_a_cells_page_has_its_study_its_data_and_its_numbers(pages):
    show, ids = pages
    shown = lines(show(f"/experiments/1/runs/{ids['villain']}", "cell"))
    for part in ("villain-42-contrastive", "Finished", "Parent run", "study pocket"):
        assert part in shown
    assert any(line.startswith("training (") for line in shown)  # with its digest
    assert {"source change", "train/loss"} <= set(shown)


def test_the_training_curve_and_the_machines_load_are_charts(pages):
    show, ids = pages
    run = f"/experiments/1/runs/{ids['villain']}"
    for page_of, section in (("model-metrics", "train"), ("system-metrics", "System metrics")):
        shown = [line for line in lines(show(f"{run}/{page_of}", page_of)) if line]
        assert (section, "(1)") in pairwise(shown)  # its name, its charts


def test_the_studys_page_gives_the_answer_and_holds_the_report(pages):
    show, ids = pages
    shown = show(f"/experiments/1/runs/{ids['study']}", "study")
    assert "confidence" in shown and "report/report.html" in shown
    files = lines(show(f"/experiments/1/runs/{ids['study']}/artifacts/report", "report"))
    assert "report" in files


def test_the_adapters_are_models_that_are_ready(pages):
    show, _ = pages
    shown = lines(show("/experiments/1/models", "models"))
    assert {"villain-42-contrastive", "comedian-42-contrastive"} <= set(shown)
    assert shown.count("Ready") == 2
