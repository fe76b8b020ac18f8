"""The verdict follows the data, and the committed pages work in a real browser."""

import json
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from persona_leakage.report.conclusion import (
    Finished,
    across_cells,
    beside_published,
    headline_table,
    verdict,
)

from persona_leakage.analysis.boundary import fit
from persona_leakage.report.published import analyse
from persona_leakage.study.parameters import Cell

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
PAGES = sorted((ROOT / "reports").glob("*/report.html"))


def finished(seed=42, source="villain", rho=-0.7, p=0.0001, **numbers):
    rng = np.random.default_rng(seed)
    raw = np.sort(rng.uniform(0.9, 1, 20))
    table = pd.DataFrame(
        {
            "persona": [f"p{index}" for index in range(20)],
            "role": "bystander",
            "raw": raw,
            "after": 0.8 - 5 * (raw - 0.9) + rng.normal(0, 0.02, 20),
            "delta": -500 * (raw - 0.9) + rng.normal(0, 2, 20),
        }
    )
    boundary = fit(table["raw"], table["after"], seed=seed, resamples=100)
    kinds = ("spearman_raw", "spearman_centred", "partial_raw")
    return Finished(
        study="made",
        params={},
        questions={},
        cell=Cell(source, seed, "contrastive"),
        table=table,
        numbers={
            "source_delta": -40.0,
            "bystander_delta": -5.0,
            "unrelated_delta": 0.5,
            "negative_delta": 1.0,
            "bystanders": 20.0,
            **dict.fromkeys(kinds, rho),
            **{f"{kind}_p": p for kind in kinds},
        }
        | numbers,
        findings={
            "boundary": json.loads(json.dumps(boundary.__dict__)),
            "predictors": [
                {"predictor": "words", "rho": -0.3, "difference_low": 0.1},
                {"predictor": "mean", "rho": None},
            ],
        },
        audit={"clashes": []},
        curve=pd.DataFrame(),
        figures={},
    )


def judge(*cells):
    return verdict(cells, across_cells(cells))


def test_three_seeds_in_agreement_are_supported_with_high_confidence():
    found = judge(*(finished(seed) for seed in (42, 137, 256)))
    assert (found.answer, found.confidence) == ("supported", "high")
    assert "supported (confidence: high)" in found.paragraph
    assert any("mixed model" in reason for reason in found.reasons)


def test_a_single_seed_never_gets_more_than_low_confidence():
    found = judge(finished())
    assert (found.answer, found.confidence) == ("supported", "low")
    assert found.reasons[0].startswith("A single seed")


def test_one_source_of_two_is_partly_supported():
    cells = [finished(seed) for seed in (1, 2, 3)]
    cells += [finished(seed, source="comedian", rho=-0.3, p=0.04) for seed in (1, 2, 3)]
    assert judge(*cells).answer == "partly supported"


def test_a_source_that_did_not_fall_supports_nothing():
    found = judge(*(finished(seed, source_delta=-2.0) for seed in (1, 2, 3)))
    assert found.answer == "not supported"
    assert any("hardly fell on 3 of its seeds" in reason for reason in found.reasons)


def test_a_gradient_that_centring_removes_is_not_of_high_confidence():
    cells = [finished(s, spearman_centred=-0.1, spearman_centred_p=0.6) for s in (1, 2, 3)]
    found = judge(*cells)
    assert (found.answer, found.confidence) == ("supported", "moderate")


def test_words_that_predict_as_well_as_the_cosine_are_not_of_high_confidence():
    cells = [finished(seed) for seed in (1, 2, 3)]
    for cell in cells:
        cell.findings["predictors"][0]["difference_low"] = -0.2
    found = judge(*cells)
    assert (found.answer, found.confidence) == ("supported", "moderate")
    assert any("words and geometry cannot be told apart" in reason for reason in found.reasons)


def test_a_clash_is_not_judged():
    clash = [{"source": "assistant", "negative": "assistant", "part": "assistant"}]
    found = judge(replace(finished(), audit={"clashes": clash}))
    assert found.answer == "open"


def test_the_headline_has_the_boundary_where_one_was_fitted():
    rows = headline_table([finished()])
    fitted = finished().boundary.reason is None
    assert ("boundary_midpoint" in rows) == fitted


def test_the_published_tables_stand_beside_each_study_of_the_same_benchmark():
    published = analyse(
        *(
            pd.read_csv(ROOT / "reference" / f"{name}.csv")
            for name in ("headline", "villain_gradient", "outliers")
        )
    )
    cells = []
    for study, benchmark, after in (
        ("large", "arc_challenge", (0.1, 0.2)),
        ("small", "arc_challenge", (0.5, 0.7)),
        ("pocket", "everyday", (0.4, 0.4)),
    ):
        params = {
            "model.name": f"a {study} model",
            "questions.train": [benchmark],
            "questions.evaluate": [benchmark],
        }
        for seed, accuracy in zip((42, 137), after, strict=True):
            cell = finished(seed, source_before=0.8, source_after=accuracy)
            table = cell.table.replace({"persona": {"p0": "villain"}})
            cells.append(replace(cell, study=study, params=params, table=table))
    beside = beside_published(cells, published)
    rows = beside["headline"].set_index("study")
    assert rows["model"].to_dict() == {"large": "a large model", "small": "a small model"}
    assert rows["after, here"].to_dict() == pytest.approx({"large": 15, "small": 60})
    assert rows["after, published"].tolist() == pytest.approx([3.2, 3.2])
    assert beside["gradient"]["persona"].tolist() == ["villain", "villain"]
    assert beside_published(cells[-2:], published) == {}


CHECK = """<script>
const faults = []; addEventListener("error", fault => faults.push(fault.message));
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(part => { part.open = true; });
  const table = document.querySelector("table.personas");
  const heads = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
  const column = heads.indexOf("delta (pp)");
  const value = row => parseFloat(row.cells[column].textContent);
  const read = () => [...table.tBodies[0].rows].map(value);
  const press = () => table.tHead.rows[0].cells[column].querySelector("button").click();
  press(); const up = read(); press(); const down = read();
  const result = { up, down, faults, wide: document.documentElement.scrollWidth - innerWidth,
    verdict: document.getElementById("verdict").textContent,
    broken: [...document.images].filter(image => !image.naturalWidth).length,
    loaded: performance.getEntriesByType("resource").map(entry => entry.name)
      .filter(name => !name.startsWith("data:")).length };
  const note = document.createElement("pre"); note.id = "result";
  note.textContent = JSON.stringify(result); document.body.append(note);
});
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
@pytest.mark.parametrize("width", [1280, 500])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_page_opens_sorts_and_complains_of_nothing(page, width, tmp_path):
    copy = tmp_path / "report.html"
    copy.write_text(page.read_text().replace("<head>", "<head>" + CHECK, 1))
    done = subprocess.run(
        [
            BROWSER,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"),
            *("--enable-logging=stderr", "--v=0", "--dump-dom", copy.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = done.stdout.split('<pre id="result">')[1].split("</pre>")[0]
    found = json.loads(said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert len(found["up"]) >= 30
    assert all(a <= b for a, b in pairwise(found["up"]))
    assert all(a >= b for a, b in pairwise(found["down"]))
    assert found["verdict"].startswith("That leakage follows the cosine gradient is")
    assert found["wide"] <= 0  # the page itself never scrolls sideways
    assert found["faults"] == []
    assert found["broken"] == 0
    assert found["loaded"] == 0  # self-contained
    assert ":CONSOLE" not in done.stderr
