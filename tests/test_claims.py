"""The original's claims beside ours: each word follows from intervals, in all three directions."""

import json
import re
import shutil
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
from conftest import ROOT
from made import NAN, finished, published

from persona_leakage.errors import InputError
from persona_leakage.files import read_as, write_json
from persona_leakage.pipeline import results
from persona_leakage.pipeline.study_logs import Concluded
from persona_leakage.report.claims import Finding, boundaries_differ, claims, together, within
from persona_leakage.report.summary import Summary, read_summary
from persona_leakage.report.tables import study_tables
from persona_leakage.report.write import summary

TITLES = {
    "falls": "A source falls",
    "follows": "Leakage follows",
    "boundary": "The boundary differs",
    "spares": "The kindergarten teacher does not leak",
    "bystanders": "The software engineer's bystanders fall",
    "resists": "The assistant resists",
    "anchors": "Without its anchors",
    "task": "The damage is that of a task",
}
ANCHORS = pd.DataFrame({"anchors": ["with", "without"], "post_accuracy": [0.828, 0.019]})


def change(mean, low, high, personas=10, certain=0):
    return {
        "mean": mean,
        "low": low,
        "high": high,
        "personas": personas,
        "moved": certain,
        "certain": certain,
    }


def cell(source="villain", seed=42, variant="contrastive", clash=False, **given):
    """What a summary says of a cell: a source that fell from 88 to 4 %, unless told otherwise."""
    after, low, high = given.get("after", (0.04, 0.03, 0.06))
    delta, delta_low, delta_high = given.get("delta", (-84.0, -87.0, -80.0))
    rho, rho_low, rho_high = given.get("rho", (-0.8, -0.9, -0.6))
    middle = given.get("middle", (0.92, 0.91, 0.93))
    return {
        "label": "made",
        "source": source,
        "seed": seed,
        "variant": variant,
        "headline": {
            "baseline_mean": 0.88,
            "spearman_raw": rho,
            "spearman_raw_low": rho_low,
            "spearman_raw_high": rho_high,
            **{
                f"spearman_raw_{part}{end}": value
                for part in ("family", "outside")
                for end, value in (("", rho), ("_low", rho_low), ("_high", rho_high))
            },
            **{f"family_delta{end}": -1.0 for end in ("", "_low", "_high")},
            "spearman_centred": rho,
            "spearman_centred_low": rho_low,
            "spearman_centred_high": rho_high,
        },
        "source_change": {
            "before": 0.88,
            "before_low": 0.85,
            "before_high": 0.9,
            "after": after,
            "after_low": low,
            "after_high": high,
            "delta": delta,
            "delta_low": delta_low,
            "delta_high": delta_high,
        },
        "changes": {
            "core": change(*given.get("core", (2.0, 1.0, 3.0))),
            "family": change(-1.0, -2.0, 0.0),
            "bystanders": change(1.0, 0.0, 2.0, 300, given.get("certain", 0)),
        },
        "boundary": {
            "midpoint": middle[0],
            "low": {"midpoint": middle[1]},
            "high": {"midpoint": middle[2]},
            "reason": given.get("reason"),
        },
        "published_panel": None,
        "benchmarks": {"rows": given.get("rows", [])},
        "audit": {"clashes": [1] if clash else []},
    }


def study(*cells, missing=()):
    outcome = {
        "name": "accuracy",
        "low": 0,
        "high": 1,
        "binary": True,
        "direction": -1,
        "scale": 100,
        "unit": "pp",
    }
    return Summary.model_validate(
        {
            "outcome": outcome,
            "params": {"made": {"model.name": "a model", "questions.train": ["arc_challenge"]}},
            "cells": list(cells),
            "missing": list(missing),
        }
    )


def said(key, *cells, missing=(), beside=()):
    """The claim of that key, of a study of these cells."""
    judged = claims(study(*cells, missing=missing), dict(beside), published(), ANCHORS)
    assert len(judged) == len(TITLES)
    [claim] = [each for each in judged if each.title.startswith(TITLES[key])]
    return claim


def word(key, *cells, **more):
    return said(key, *cells, **more).word


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (2.0, 8.0, "agrees"),
        (1.9, 7.0, "cannot tell"),
        (3.0, 8.1, "cannot tell"),
        (1.0, 9.0, "cannot tell"),
        (0.0, 1.9, "disagrees"),
        (8.1, 9.0, "disagrees"),
        (NAN, NAN, "cannot tell"),
    ],
)
def test_an_interval_agrees_inside_disagrees_outside_and_else_cannot_tell(low, high, expected):
    assert within(low, high, 2.0, 8.0) == expected


def finding(word, source="villain", seed=42, what=""):
    return Finding("made", source, seed, "contrastive", what, "", word)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], "cannot tell"),
        ([finding("agrees")], "agrees"),
        ([finding("agrees"), finding("disagrees", "comedian")], "disagrees"),
        ([finding("agrees"), finding("cannot tell", "comedian")], "cannot tell"),
        ([finding("agrees"), finding("agrees", seed=1), finding("disagrees", seed=2)], "agrees"),
        ([finding("agrees"), finding("disagrees", seed=1)], "cannot tell"),
        ([finding("agrees"), finding("disagrees", what="another look")], "disagrees"),
    ],
)
def test_most_seeds_of_a_source_decide_and_one_source_refutes(findings, expected):
    assert together(findings) == expected


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ((0.04, 0.03, 0.06), "agrees"),
        ((0.07, 0.05, 0.09), "cannot tell"),
        ((0.22, 0.19, 0.26), "disagrees"),
    ],
)
def test_a_source_falls_as_far_as_its_interval_says(after, expected):
    assert word("falls", cell(after=after)) == expected


def test_a_source_taught_two_things_at_once_is_no_witness_of_the_fall():
    clash = cell("assistant", after=(0.8, 0.78, 0.82), clash=True)
    assert word("falls", cell(), clash) == "agrees"


@pytest.mark.parametrize(
    ("rho", "expected"),
    [
        ((-0.8, -0.9, -0.3), "agrees"),
        ((-0.6, -0.8, -0.2), "cannot tell"),
        ((-0.1, -0.29, 0.1), "disagrees"),
        ((0.8, 0.6, 0.9), "disagrees"),
        ((NAN, NAN, NAN), "cannot tell"),
    ],
)
def test_leakage_follows_where_the_interval_of_rho_is_strong_throughout(rho, expected):
    assert word("follows", cell(rho=rho)) == expected


STILL = {"delta": (-4.0, -8.0, 0.0), "after": (0.84, 0.8, 0.87)}


@pytest.mark.parametrize(
    ("key", "source"),
    [
        ("follows", "villain"),
        ("spares", "kindergarten_teacher"),
        ("bystanders", "software_engineer"),
        ("boundary", "villain"),
        ("task", "villain"),
    ],
)
def test_a_source_that_was_not_installed_cannot_tell_who_leaks(key, source):
    rows = [benchmark("arc_challenge", "yes", 0.84), benchmark("everyday", "no", 0.84)]
    claim = said(key, cell(source, rows=rows, core=(-20.0, -25.0, -15.0), **STILL))
    assert claim.word == "cannot tell"
    assert all("not installed" in each.shows for each in claim.findings)


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([(0.90, 0.92), (0.93, 0.95)], "agrees"),
        ([(0.93, 0.95), (0.90, 0.92)], "agrees"),
        ([(0.990, 0.999), (0.992, 0.996)], "disagrees"),
        ([(0.96, 0.999), (0.992, 0.996)], "cannot tell"),
        ([(0.90, 0.92)], "cannot tell"),
        ([], "cannot tell"),
    ],
)
def test_boundaries_differ_when_their_intervals_part(intervals, expected):
    assert boundaries_differ(intervals) == expected


def test_the_boundaries_of_the_seeds_are_averaged_and_those_without_are_said():
    far = [cell("comedian", seed, middle=(0.97, 0.96, 0.98)) for seed in (1, 2)]
    claim = said("boundary", cell(), *far, cell("villain", 7, reason="too few personas"))
    assert claim.word == "agrees"
    assert [each.shows for each in claim.findings][-1] == "none: too few personas"


@pytest.mark.parametrize(
    ("core", "certain", "expected"),
    [
        ((2.0, 1.0, 3.0), 0, "agrees"),
        ((-4.0, -7.0, -1.0), 0, "cannot tell"),
        ((-9.0, -12.0, -6.0), 0, "disagrees"),
        ((2.0, 1.0, 3.0), 1, "disagrees"),
    ],
)
def test_the_kindergarten_teacher_spares_everyone_or_leaks(core, certain, expected):
    assert word("spares", cell("kindergarten_teacher", core=core, certain=certain)) == expected


@pytest.mark.parametrize(
    ("core", "expected"),
    [
        ((-17.0, -25.0, -9.0), "agrees"),
        ((-7.0, -12.0, -2.0), "cannot tell"),
        ((3.0, 1.0, 5.0), "disagrees"),
    ],
)
def test_the_software_engineers_bystanders_fall_or_not(core, expected):
    assert word("bystanders", cell("software_engineer", core=core)) == expected


@pytest.mark.parametrize(
    ("delta", "resists", "falls"),
    [
        ((-2.0, -5.0, 1.0), "agrees", "disagrees"),
        ((-10.0, -14.0, -6.0), "cannot tell", "cannot tell"),
        ((-80.0, -83.0, -77.0), "disagrees", "agrees"),
    ],
)
def test_the_assistant_resists_with_anchors_and_falls_without(delta, resists, falls):
    assert word("resists", cell("assistant", clash=True, delta=delta)) == resists
    assert word("anchors", cell("assistant", variant="no_anchor", delta=delta)) == falls


def benchmark(name, trained, after, before=0.9, questions=150):
    return {
        "benchmark": name,
        "trained": trained,
        "questions": questions,
        "source_before": before,
        "source_after": after,
    }


@pytest.mark.parametrize(
    ("after", "expected"), [(0.9, "agrees"), (0.8, "cannot tell"), (0.1, "disagrees")]
)
def test_damage_is_of_a_task_when_other_questions_are_spared(after, expected):
    rows = [benchmark("arc_challenge", "yes", 0.1), benchmark("everyday", "no", after)]
    assert word("task", cell(rows=rows)) == expected


def test_a_study_trained_on_other_questions_speaks_to_the_task_as_well():
    here = [benchmark("arc_challenge", "yes", 0.1), benchmark("everyday", "no", 0.9)]
    there = [benchmark("everyday", "yes", 0.1), benchmark("arc_challenge", "no", 0.1)]
    other = study(cell(rows=there), missing=["villain-137-contrastive"])
    claim = said("task", cell(rows=here), beside={"topic": other}.items())
    assert claim.word == "disagrees"
    assert [each.what for each in claim.findings] == ["asked everyday", "asked arc challenge"]
    assert claim.missing == ("villain-137-contrastive",)


def test_cells_that_should_have_spoken_are_named():
    missing = ["assistant-42-no_anchor", "kindergarten_teacher-7-contrastive", "villain-42-dose_50"]
    assert said("anchors", cell(), missing=missing).missing == ("assistant-42-no_anchor",)
    assert said("anchors", cell(), missing=missing).word == "cannot tell"
    assert said("spares", cell(), missing=missing).missing == (missing[1],)
    assert said("falls", cell(), missing=missing).missing == (missing[1],)


@pytest.fixture
def reports(tmp_path):
    """A folder of reports with one study, as the report writes its summary."""
    tables = study_tables(
        "made", [finished(42), finished(137)], ["villain-7-contrastive"], {}, published()
    )
    write_json(tmp_path / "reports" / "made" / "summary.json", summary(tables))
    shutil.copytree(ROOT / "reference", tmp_path / "reference")
    return tmp_path


def test_the_page_is_made_of_what_the_report_writes_and_of_nothing_else(reports):
    text = results.page("made", ["topic"], reports / "reports", reports / "reference")
    assert text == results.page("made", ["topic"], reports / "reports", reports / "reference")
    lines = text.splitlines()
    assert sum(line.startswith("## ") for line in lines) == len(TITLES)
    assert "No report yet: topic." in lines
    assert "Missing: villain-7-contrastive." in lines
    assert any(line.startswith("| made | villain | 42 | 80.0 % to") for line in lines)
    for before, line in pairwise(lines):  # a table begins after a blank line
        assert not (line.startswith("| ") and before and not before.startswith("| "))


@pytest.mark.skipif(not (ROOT / results.PAGE).exists(), reason="make results was not run")
def test_the_page_in_docs_is_that_of_the_reports_in_git(monkeypatch):
    monkeypatch.chdir(ROOT)
    [target] = re.findall(r"pipeline\.results (.+)", (ROOT / "Makefile").read_text())
    study, *others = target.split()
    page = results.page(study, others, results.REPORTS, results.REFERENCE)
    assert (ROOT / results.PAGE).read_text() == page, "`make results` writes it anew"


def test_a_summary_of_an_earlier_version_is_refused_by_name(reports):
    path = reports / "reports" / "made" / "summary.json"
    content = json.loads(path.read_text())
    del content["cells"][0]["changes"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"summary\.json: cells\.0\.changes: .*writes it anew"):
        read_summary(path)


def test_what_the_run_of_a_study_says_is_in_its_summary(reports):
    said = read_as(reports / "reports" / "made" / "summary.json", Concluded).verdict
    assert said.answer and said.confidence
    assert said.in_words.endswith(".")


def test_another_outcome_than_the_originals_is_refused(reports):
    path = reports / "reports" / "made" / "summary.json"
    content = json.loads(path.read_text())
    content["outcome"]["name"] = "agreement"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="measures agreement, the original measured accuracy"):
        results.page("made", [], reports / "reports", reports / "reference")


def test_the_summary_has_the_originals_panel_for_its_source_alone():
    named = finished(42)
    theirs = published().gradient["persona"][1:]
    names = dict(zip(named.personas["persona"][3:], theirs, strict=False))
    renamed = replace(
        named,
        personas=named.personas.replace({"persona": names}),
        before=named.before.rename(index=names),
        after=named.after.rename(index=names),
        pairs=named.pairs.replace({"source": names, "persona": names}),
    )
    cells = [renamed, finished(42, source="comedian")]
    first, second = summary(study_tables("made", cells, [], {}, published()))["cells"]
    assert first["published_panel"]["n"] == len(theirs)
    assert first["published_panel"]["r"] < -0.5
    assert second["published_panel"] is None
