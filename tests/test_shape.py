"""A step is no gradient, and a set of neighbours says nothing."""

import numpy as np
import pytest

from persona_leakage.analysis.shape import shape_of
from persona_leakage.analysis.two_way import resample


def called(damage, *, kin, near, seed=0, direction=-1, by_similarity=False, persona=0.03):
    """The word for this true damage, with the noise of personas and of 150 questions."""
    rng = np.random.default_rng(seed)
    damage = damage + rng.normal(0, persona, len(near))
    change = damage[:, None] + rng.normal(0, 0.4, (len(near), 150)) + rng.normal(0, 0.1, 150)
    groups = [np.flatnonzero(kin), np.flatnonzero(~kin)]
    resampled = resample(change, groups, np.random.default_rng(seed), 200)
    return shape_of(resampled, near, reach=1.0, direction=direction, by_similarity=by_similarity)


@pytest.fixture
def personas():
    """Forty relatives, all of them nearer than seventy others but for some."""
    rng = np.random.default_rng(7)
    kin = np.arange(110) < 40
    near = np.where(kin, 0.96, 0.93) + rng.normal(0, 0.012, 110)
    return {"kin": kin, "near": near}


def place(personas):
    kin, near = personas["kin"], personas["near"]
    ranks = np.zeros(len(near))
    ranks[kin] = near[kin].argsort().argsort() / (kin.sum() - 1)
    return ranks


def words(damage, personas, studies=20, **more):
    return [called(damage, seed=seed, **personas, **more).shape for seed in range(studies)]


def test_relatives_that_fall_alike_are_a_step(personas):
    found = words(-0.2 * personas["kin"], personas)
    assert found.count("gradient") <= 2
    assert found.count("step") >= 10


def test_a_threshold_within_the_family_is_a_step(personas):
    found = words(-0.25 * (place(personas) > 0.6), personas)
    assert found.count("gradient") <= 3
    assert found.count("step") >= 10


def test_relatives_that_fall_the_more_the_nearer_are_a_gradient(personas):
    found = words(-0.4 * place(personas), personas)
    assert found.count("step") + found.count("none") <= 2
    assert found.count("gradient") >= 15


def test_a_gradient_outside_the_family_counts(personas):
    kin, near = personas["kin"], personas["near"]
    damage = np.where(kin, 0.0, -0.4 * near.argsort().argsort() / len(near))
    assert words(damage, personas).count("gradient") >= 15


def test_a_gradient_the_other_way_is_none(personas):
    assert "gradient" not in words(0.4 * place(personas), personas)
    assert words(0.4 * place(personas), personas, direction=1).count("gradient") >= 15


def test_no_change_is_no_shape(personas):
    found = words(np.zeros(110), personas)
    assert found.count("none") >= 14
    assert found.count("gradient") <= 2 and not found.count("step")


def test_a_step_and_a_slope_are_measured(personas):
    steps = called(-0.3 * personas["kin"] - 0.2 * place(personas), persona=0.001, **personas)
    assert steps.between.value == pytest.approx(-0.4, abs=0.03)
    assert steps.slope.low <= -0.2 <= steps.slope.high
    assert abs(steps.outside_slope.value) < 0.05


def test_personas_chosen_by_similarity_cannot_tell(personas):
    assert words(-0.4 * place(personas), personas, studies=2, by_similarity=True) == [
        "cannot tell",
        "cannot tell",
    ]


def test_too_few_relatives_cannot_tell():
    near = np.linspace(0.9, 0.99, 12)
    kin = near > 0.95
    assert called(-0.4 * kin, kin=kin, near=near).shape == "cannot tell"
