"""The calibration in a short form: each section runs, and what it simulates is what it says."""

import importlib
import sys

import numpy as np
import pytest
from conftest import ROOT

FOLDER = ROOT / "calibration"


@pytest.fixture
def script(monkeypatch):
    """Import a script as its neighbours import it, and forget it afterwards."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for file in FOLDER.glob("*.py"):
        sys.modules.pop(file.stem, None)


def test_the_made_geometry_has_as_few_directions_as_the_real_one(script):
    simulate = script("simulate")
    assert simulate.participation(simulate.small().centred) == pytest.approx(4.7, abs=0.2)
    assert simulate.participation(simulate.qwen(1).centred) == pytest.approx(4.7, abs=0.2)


def test_simulated_answers_change_by_the_damage_put_in(script):
    damage = np.array([-0.4, -0.1, 0.0, 0.2])
    change = script("simulate").answers(damage, 20_000, np.random.default_rng(0))
    assert set(np.unique(change)) <= {-1.0, 0.0, 1.0}
    assert change.mean(axis=1) == pytest.approx(damage, abs=0.02)


def test_every_section_gives_rows_that_say_what_was_counted(script):
    changes, gradient, joint, simulate = map(script, ("changes", "gradient", "joint", "simulate"))
    made = simulate.small(60)
    rows = [
        *changes.of_one_persona(20, 0, 40),
        *changes.partial(4, 0, 19),
        *changes.margin(4, 0, 20, 4),
        *gradient.sizes_of_rho(made, 2, 0, "ICC 0.5", 9),
        *gradient.power_of_rho(made, 2, 0, 9),
        *gradient.intervals(2, 0, 20, 20),
        *gradient.equivalence(2, 0),
        *gradient.shapes(made, 2, 0, 20),
        *gradient.predictors(made, 2, 0, 5),
        *joint.slopes(made, 1, 0),
        *joint.from_answers(1, 0, 12, 20),
    ]
    assert len({(row.statistic, row.truth, row.counted) for row in rows}) == len(rows)
    assert all(0 <= row.found <= 1 for row in rows if row.error is None)


def test_the_number_of_personas_asked_for_finds_the_effect(script):
    (row,) = script("gradient").what_would_settle(500, 0)
    assert row.holds and row.found == pytest.approx(0.9, abs=0.04)


def test_a_margin_that_its_baseline_moves_is_no_gradient(script):
    nothing, _, both, _ = script("changes").margin(60, 0)
    assert nothing.found <= 0.12 and both.found >= 0.8


def test_a_row_fails_where_the_simulation_contradicts_what_must_be(script):
    row = script("row").Row
    assert row("test", "nothing", "p <= .05", 0.05, 0.02, 0.06, 1000).holds
    assert row("test", "nothing", "p <= .05", 0.08, 0.02, 0.06, 100).holds
    wrong = row("test", "nothing", "p <= .05", 0.15, 0.02, 0.06, 200)
    # the exact interval: scipy.stats.binomtest(30, 200).proportion_ci()
    assert wrong.interval == pytest.approx((0.1035, 0.2072), abs=1e-4)
    assert not wrong.holds and "**0.150" in wrong.cells[3]
    assert not row("mean", "n", "error", 0.05, -0.02, 0.02, 100, error=0.01).holds
    assert row("mean", "n", "error", 0.03, -0.02, 0.02, 100, error=0.01).holds


def test_a_section_replaces_its_own_table_alone(script):
    table, row = script("table"), script("row").Row
    first, second = (table.markers(name) for name in ("rho", "size"))
    page = "\n".join(["Words.", *first, "More.", "old", *second, "End."])
    rows = [row("test", "nothing", "p <= .05", 0.05, 0.02, 0.06, 100)]
    once = table.written(page, "size", rows)
    assert once.startswith("\n".join(["Words.", *first, "More.", "old"]))
    assert once.endswith("End.") and "| test | nothing | p <= .05 | 0.050 [" in once
    assert table.written(once, "size", rows) == once


def test_the_page_has_a_table_of_every_section(script):
    table = script("table")
    page = table.PAGE.read_text(encoding="utf-8")
    for name in table.sections(0):
        first, last = table.markers(name)
        rows = page.split(first)[1].split(last)[0].strip().splitlines()
        assert tuple(rows[:2]) == table.HEAD and len(rows) > 2, name
