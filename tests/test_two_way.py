"""Intervals over personas and questions: they cover what they should, and refuse what they must."""

import time

import numpy as np
import pytest
from scipy import stats

from persona_leakage.analysis import two_way

NAN = float("nan")


def drawn(change, groups=None, resamples=200, seed=0):
    groups = [np.arange(len(change))] if groups is None else groups
    return two_way.resample(change, groups, np.random.default_rng(seed), resamples)


def table(personas=60, questions=80, seed=0, noise=0.3, shared=0.0):
    """Similarity, true damage, and changes of answers: rho about -.45."""
    rng = np.random.default_rng(seed)
    near = rng.standard_normal(personas)
    damage = 0.06 * (-0.5 * near + rng.standard_normal(personas)) - 0.04
    rest = rng.normal(0, noise, (personas, questions)) + rng.normal(0, shared, questions)
    return near, damage, damage[:, None] + rest


def test_the_interval_of_a_mean_covers_the_mean_over_other_personas_and_questions():
    hits = []
    for seed in range(120):
        _, _, change = table(30, 40, seed, shared=0.3)
        found = two_way.percentile(*two_way.mean_draws(drawn(change, seed=seed), [0]))
        hits.append(found.low <= -0.04 <= found.high)
    assert 0.88 <= np.mean(hits) <= 1.0


def test_questions_alone_would_not_cover_it():
    _, _, change = table(20, 400, 3, noise=0.1)
    both = two_way.percentile(*two_way.mean_draws(drawn(change), [0]))
    alone = drawn(change).means.mean(axis=1)
    assert both.high - both.low > 3 * np.ptp(np.percentile(alone, two_way.TAILS))


def test_the_interval_of_rho_covers_rho_and_the_freed_one_the_true_rho():
    near, damage, _ = table(50_000, 1)
    true = stats.spearmanr(near, damage).statistic
    seen = damage + np.random.default_rng(1).normal(0, 0.3 / 40**0.5, len(damage))
    at_forty = stats.spearmanr(near, seen).statistic
    assert at_forty > true + 0.05  # noise of forty questions brings rho nearer to zero
    hits = []
    for seed in range(120):
        near, _, change = table(60, 40, seed)
        resampled = drawn(change, seed=seed)
        rho = two_way.rho_draws(resampled, near, [0])
        reliability, _, own = two_way.reliability_draws(resampled, [0])
        raw, freed = two_way.centred_percentile(*rho), two_way.disattenuated(*rho, reliability, own)
        hits.append((raw.low <= at_forty <= raw.high, freed.low <= true <= freed.high))
        assert abs(freed.value) >= abs(raw.value)
    assert (np.mean(hits, axis=0) >= 0.88).all()


def test_a_gradient_is_found_the_more_often_the_more_personas_are_asked():
    """A bound on rho itself made support rarer as personas grew: noise holds rho below it."""
    found = []
    for personas in (20, 40, 160):
        hits = 0
        for seed in range(30):
            near, _, change = table(personas, 40, seed)
            rho = two_way.centred_percentile(
                *two_way.rho_draws(drawn(change, seed=seed), near, [0])
            )
            hits += rho.excludes(0)
        found.append(hits)
    assert found == sorted(found)
    assert found[0] < 30 and found[-1] == 30


def test_reliability_is_the_mean_of_split_halves_stepped_up():
    _, _, change = table(40, 60, 5)
    rng = np.random.default_rng(0)
    halves = []
    for _ in range(400):
        order = rng.permutation(60)
        one, other = change[:, order[:30]].mean(axis=1), change[:, order[30:]].mean(axis=1)
        total = one + other  # Rulon's form of a split half (1939)
        halves.append(1 - (one - other).var() / total.var())
    reliability, alone, own = two_way.reliability_draws(drawn(change), [0])
    assert reliability == pytest.approx(np.mean(halves), abs=0.01)
    assert np.median(alone) == pytest.approx(reliability, abs=0.05)
    assert np.median(own) < np.median(alone)


def test_what_a_question_does_to_everyone_is_no_noise():
    _, _, change = table(40, 60, 5)
    shared = change + np.random.default_rng(0).normal(0, 2, 60)
    assert two_way.reliability_draws(drawn(shared), [0])[0] == pytest.approx(
        two_way.reliability_draws(drawn(change), [0])[0]
    )


def test_without_noise_the_changes_are_reliable_and_rho_needs_no_correction():
    near, damage, _ = table(40)
    resampled = drawn(np.repeat(damage[:, None], 30, axis=1))
    reliability, _, own = two_way.reliability_draws(resampled, [0])
    rho = two_way.rho_draws(resampled, near, [0])
    assert reliability == pytest.approx(1)
    assert two_way.disattenuated(*rho, reliability, own).value == pytest.approx(rho[0])


def test_groups_keep_their_size_and_their_members():
    _, _, change = table(20)
    resampled = drawn(change, [np.array([1, 2, 3]), np.arange(5, 12)])
    first, second = (resampled.drawn[:, part] for part in resampled.groups)
    assert first.shape[1] == 3 and set(first.ravel()) == {1, 2, 3}
    assert second.shape[1] == 7 and set(second.ravel()) == set(range(5, 12))


def test_rho_is_scipys_with_ties_and_rounding():
    near, _, change = table(30, 10)
    change = np.sign(change)
    rho, _ = two_way.rho_draws(drawn(change), near, [0])
    assert rho == pytest.approx(stats.spearmanr(near, np.round(change.mean(axis=1), 9)).statistic)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_few_personas_have_no_rho(count):
    near, _, change = table(20)
    resampled = drawn(change, [np.arange(count), np.arange(count, 20)])
    assert np.isnan(two_way.rho_draws(resampled, near, [0])[0])
    assert two_way.centred_percentile(*two_way.rho_draws(resampled, near, [0])) is two_way.UNKNOWN


def test_constant_sides_have_no_rho_and_no_reliability():
    near, _, change = table(20)
    assert np.isnan(two_way.rho_draws(drawn(change), np.full(20, 0.9), [0])[0])
    same = drawn(np.zeros((20, 30)))
    assert np.isnan(two_way.rho_draws(same, near, [0])[0])
    assert np.isnan(two_way.reliability_draws(same, [0])[0])
    assert two_way.disattenuated(NAN, np.full(5, NAN), NAN, np.full(5, NAN)) is two_way.UNKNOWN


def test_three_hundred_personas_take_seconds():
    rng = np.random.default_rng(0)
    change = rng.integers(-1, 2, (300, 600)).astype(float)
    start = time.process_time()
    resampled = drawn(change, [np.arange(60), np.arange(60, 300)], 1000)
    for groups in ([0], [1], [0, 1]):
        two_way.rho_draws(resampled, rng.random(300), groups)
    assert time.process_time() - start < 10


def test_the_same_seed_gives_the_same_draws():
    _, _, change = table(20)
    assert (drawn(change).means == drawn(change).means).all()
    assert not (drawn(change).means == drawn(change, seed=1).means).all()
