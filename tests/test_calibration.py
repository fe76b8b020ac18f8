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
    gradient, simulate = script("gradient"), script("simulate")
    made = simulate.small(60)
    rows = [
        *gradient.sizes_of_rho(made, 2, 0, "ICC 0.5", 9),
        *gradient.power_of_rho(made, 2, 0, 9),
        *gradient.intervals(2, 0, 20, 20),
        *gradient.equivalence(2, 0),
        *gradient.shapes(made, 2, 0, 20),
        *gradient.predictors(made, 2, 0, 5),
    ]
    assert len({(row.statistic, row.truth, row.counted) for row in rows}) == len(rows)
    assert all(0 <= row.found <= 1 for row in rows if row.counted != "mean error")


def test_the_number_of_personas_asked_for_finds_the_effect(script):
    (row,) = script("gradient").what_would_settle(500, 0)
    assert row.holds and row.found == pytest.approx(0.9, abs=0.04)


def test_a_size_beyond_its_bound_does_not_hold(script):
    row = script("row").Row
    assert row("test", "nothing", "p <= .05", 0.05, 0.02, 0.06, 1000).holds
    assert not row("test", "nothing", "p <= .05", 0.15, 0.02, 0.06, 200).holds
    assert "**0.150**" in script("table").table([row("t", "n", "p", 0.15, 0.02, 0.06, 200)])
