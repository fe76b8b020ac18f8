"""What is said of the best of many counts all of them, and what every persona brings along."""

import numpy as np
import pandas as pd
import pytest
from made import ACCURACY, bystanders
from scipy import stats

from persona_leakage.analysis.best_predictor import compare, contenders, simultaneous
from persona_leakage.analysis.correlation import partial_correlation
from persona_leakage.analysis.weighted_ranks import group_weights, rank_correlations
from persona_leakage.study.outcome import Outcome

RISING = Outcome(name="rate", low=0, high=1, binary=True, direction=1, scale=100, unit="pp")
COUNT = 40


def ranked(table, delta, outcome=ACCURACY, resamples=199, **columns):
    people = bystanders(delta, **columns)
    square = pd.DataFrame(np.eye(len(people)), people["persona"], people["persona"])
    rows = compare(table, people, square, outcome, seed=1, resamples=resamples)
    return rows.set_index("predictor")


def noise(seed=0, count=COUNT, columns=3):
    values = np.random.default_rng(seed).normal(size=(count, columns))
    return pd.DataFrame(values, columns=[f"raw@{number}" for number in range(columns)])


def test_the_one_that_made_the_damage_is_steepest_beyond_chance_and_alone():
    table = noise()
    rows = ranked(table, -table["raw@1"] + np.random.default_rng(5).normal(0, 0.3, COUNT))
    assert rows.index[0] == "raw@1"
    assert rows.loc["raw@1", "p"] <= 0.02 < 0.05 < rows.loc["raw@0", "p"]
    assert rows["contender"].to_dict() == {"raw@1": True, "raw@0": False, "raw@2": False}
    assert rows.loc["raw@1", "high"] < 0


def test_rho_is_given_the_baseline_and_the_length_of_the_prompt():
    rng = np.random.default_rng(3)
    before, length = rng.uniform(0.4, 0.8, COUNT), rng.integers(20, 200, COUNT).astype(float)
    table = noise(4)
    table["raw@0"] += 20 * before
    delta = -100 * before - 0.1 * length + rng.normal(0, 4, COUNT)
    rows = ranked(table, delta, before=before, prompt_length=length)
    given = np.column_stack([before, length])
    for name in table:
        expected = partial_correlation(table[name], delta, given, seed=0).r
        assert rows.loc[name, "rho"] == pytest.approx(expected, abs=1e-9)
        assert rows.loc[name, "plain"] == pytest.approx(stats.spearmanr(table[name], delta)[0])
    assert rows.loc["raw@0", "plain"] < -0.8  # it is the baseline, no more
    assert abs(rows.loc["raw@0", "rho"]) < 0.4
    assert rows.loc["raw@0", "p"] > 0.05


def test_the_steepest_of_many_that_say_nothing_is_rarely_called_beyond_chance():
    found, told = 0, 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        length = rng.integers(20, 200, COUNT).astype(float)
        table = noise(seed + 100, columns=30)
        rows = ranked(table, length + rng.normal(0, 20, COUNT), prompt_length=length)
        found += rows["p"].min() <= 0.05
        told += not rows["contender"].all()
    assert found <= 5 and told <= 7  # of 30, at a level of .05 each; few resamples


def test_an_outcome_that_is_raised_has_its_steepest_predictor_first_too():
    table = noise()
    up = ranked(table, table["raw@2"] + 0.1 * table["raw@0"], RISING)
    down = ranked(table, -table["raw@2"] - 0.1 * table["raw@0"])
    assert up.index[0] == down.index[0] == "raw@2"
    assert up["rho"].to_numpy() == pytest.approx(-down["rho"].to_numpy())
    assert up["contender"].to_dict() == down["contender"].to_dict()


def test_what_is_constant_or_not_a_number_is_no_number_and_no_best():
    table = noise().assign(flat=1.0, hole=[np.nan, *range(COUNT - 1)])
    rows = ranked(table, np.arange(COUNT))
    assert rows.loc[["flat", "hole"], ["rho", "p", "low"]].isna().all(axis=None)
    assert not rows.loc[["flat", "hole"], "contender"].any()
    assert ranked(table, np.full(COUNT, 2.0))["rho"].isna().all()
    assert ranked(table, np.full(COUNT, np.nan))["p"].isna().all()
    assert ranked(noise(count=4), np.arange(4.0))["rho"].isna().all()


def test_a_predictor_that_the_covariates_explain_has_no_p():
    length = np.arange(COUNT) + 5.0
    table = noise().assign(length=length)
    delta = np.random.default_rng(0).normal(size=COUNT)
    rows = ranked(table, delta, prompt_length=length)
    assert rows.loc["length", ["rho", "p"]].isna().all()
    assert rows.loc["raw@0", "p"] > 0


def test_ranks_are_over_whole_counts():
    """Equal losses at different baselines: as floats their order is that of rounding."""
    after = np.tile(np.array([105, 60, 85, 86, 60, 63]) / 150, 2)
    before = np.tile(np.array([120, 75, 100, 103, 90, 60]) / 150, 2)
    whole = np.tile([-15, -15, -15, -17, -30, 3], 2)
    floats = 100 * (after - before)
    assert len(set(floats)) > len(set(whole))
    table = noise(count=12)
    one, other = ranked(table, floats), ranked(table, whole)
    assert one["plain"].to_numpy() == pytest.approx(other["plain"].to_numpy(), abs=1e-12)


def test_simultaneous_intervals_hold_all_numbers_at_once():
    rng = np.random.default_rng(0)
    together, one_by_one = 0, 0
    for _ in range(100):
        sample = rng.normal(size=(30, 20))
        drawn = sample[rng.integers(30, size=(600, 30))].mean(axis=1)
        low, high = simultaneous(drawn)
        together += ((low < 0) & (high > 0)).all()
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
        one_by_one += ((low < 0) & (high > 0)).all()
    assert together >= 84 > 60 > one_by_one


def test_one_number_alone_has_its_percentiles_and_none_has_none():
    drawn = np.random.default_rng(1).normal(size=(4000, 1))
    got = np.ravel(simultaneous(drawn))
    np.testing.assert_allclose(got, np.percentile(drawn, [2.5, 97.5]), atol=0.02)
    low, high = simultaneous(np.column_stack([drawn, np.full(4000, np.nan)]))
    assert np.isfinite(low[0]) and np.isnan([low[1], high[1]]).all()
    np.testing.assert_allclose([low[0], high[0]], got)


def test_what_differs_in_every_sample_is_told_apart_and_equals_are_not():
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(1001, 1))
    drawn = shared + np.array([0.0, -0.01, -2.0]) + 0.3 * rng.normal(size=(1001, 3))
    drawn[0] = [0.0, -0.01, -2.0]
    assert contenders(drawn).tolist() == [True, True, False]
    assert contenders(np.full((5, 2), np.nan)).all()
    drawn[5:25, 2] = np.nan  # constant in some samples
    assert contenders(drawn).tolist() == [True, True, False]


@pytest.mark.filterwarnings("error")
def test_what_few_personas_have_is_constant_in_some_samples_and_no_crash():
    rare = pd.Series(np.arange(COUNT) == 3, dtype=float)
    rows = ranked(noise().assign(rare=rare), np.random.default_rng(0).normal(size=COUNT))
    assert np.isfinite(rows.loc["rare", ["rho", "p", "low", "high"]].to_numpy(float)).all()


@pytest.mark.parametrize("covariates", [0, 1, 2])
def test_a_sample_that_holds_a_row_twice_is_ranked_as_the_row_written_twice(covariates):
    rng = np.random.default_rng(3)
    x, y = rng.integers(5, size=(2, 40)).astype(float)
    given = rng.integers(4, size=(40, covariates)).astype(float)
    times = rng.integers(3, size=40)
    twice = [np.repeat(each, times, axis=0) for each in (x, y, given)]
    if covariates:
        expected = partial_correlation(*twice, seed=0).r
    else:
        expected = stats.spearmanr(*twice[:2]).statistic
    got = rank_correlations(x[:, None], y, times[None].astype(float), given)
    assert got.item() == pytest.approx(expected)


def test_those_written_alike_are_drawn_together_and_single_ones_by_themselves():
    rng = np.random.default_rng(0)
    weights = group_weights(pd.Series(["a", "a", "b", "c"]), 50, rng)
    assert (weights[0] == 1).all() and (weights[:, 0] == weights[:, 1]).all()
    assert (weights[1:, [0, 2, 3]].sum(axis=1) == 3).all()
    alone = group_weights(pd.Series(["a", "a", "a"]), 50, rng)
    assert (alone[1:, 0] != alone[1:, 1]).any()
