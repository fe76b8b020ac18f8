import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression

from persona_leakage.analysis.seeds import METRICS, heterogeneity, mixed_model, over_seeds


def test_seeds_are_averaged_and_their_spread_is_told():
    headline = pd.DataFrame(
        [
            {"variant": "contrastive", "source": "villain", "seed": seed}
            | dict.fromkeys(METRICS, value)
            for seed, value in ((42, -10.0), (137, -20.0), (256, -30.0))
        ]
    )
    row = over_seeds(headline).iloc[0]
    assert row["seeds"] == 3
    assert (row["source_delta"], row["source_delta_sd"]) == (-20, 10)
    assert (row["source_delta_min"], row["source_delta_max"]) == (-30, -10)


def crossed(seed, slope=-0.3, personas=30, persona_sd=0.2, slope_sd=0.05, rest=0.1, families=0):
    """Changes in log-odds with a known slope for 0.01 of cosine, which differs between seeds."""
    rng = np.random.default_rng(seed)
    cosine = rng.uniform(0.9, 1.0, personas)
    persona_effect = rng.normal(0, persona_sd, personas)
    relation = [f"f{index % families}" if families else None for index in range(personas)]
    if families:  # cosine and effect both go with the family
        cosine = 0.95 + 0.02 * rng.normal(size=families)[np.arange(personas) % families]
        cosine = np.clip(cosine + rng.normal(0, 0.005, personas), 0.8, 1)
        persona_effect += rng.normal(0, persona_sd, families)[np.arange(personas) % families]
    rows = {
        "persona": [f"p{index}" for index in range(personas)],
        "relation": relation,
        "raw": cosine,
        "before": rng.uniform(0.5, 0.7, personas),
        "prompt_length": rng.integers(20, 90, personas),
    }
    return pd.concat(
        [
            pd.DataFrame(rows).assign(
                seed=each,
                logit_delta=100 * rng.normal(slope, slope_sd) * (cosine - cosine.mean())
                + persona_effect
                + rng.normal(0, 0.3)
                + rng.normal(0, rest, personas),
            )
            for each in range(3)
        ]
    )


@pytest.mark.parametrize(
    "drawn",
    [{"slope_sd": 0.0}, {}, {"slope_sd": 0.3}, {"personas": 60, "families": 12, "slope_sd": 0.0}],
)
def test_a_slope_that_is_not_there_is_found_in_one_of_twenty(drawn):
    found = sum(mixed_model(crossed(seed, slope=0, **drawn)).p < 0.05 for seed in range(100))
    assert found <= 12  # 5 expected; 13 or more has a chance of a thousandth


def test_the_mixed_model_covers_the_true_slope_and_finds_the_spreads():
    covered, spreads = 0, []
    for seed in range(60):
        fitted = mixed_model(crossed(seed, slope_sd=0.1))
        covered += fitted.low <= -0.3 <= fitted.high
        spreads.append([fitted.persona_sd, fitted.seed_sd, fitted.residual_sd])
    assert covered >= 52
    assert np.mean(np.square(spreads), axis=0) ** 0.5 == pytest.approx([0.2, 0.1, 0.1], rel=0.25)


def test_seeds_that_disagree_are_three_observations_and_those_that_agree_leave_the_personas():
    agree, disagree = (mixed_model(crossed(1, slope_sd=sd)) for sd in (0.0, 1.0))
    assert disagree.high - disagree.low > 5 * (agree.high - agree.low)
    # nearly Student's t with two degrees of freedom over the seeds' slopes
    slopes = [
        np.polynomial.Polynomial.fit(100 * rows["raw"], rows["logit_delta"], 1).convert().coef[1]
        for _, rows in crossed(1, slope_sd=1.0).groupby("seed")
    ]
    reach = 2 * stats.t.isf(0.025, 2) * np.std(slopes, ddof=1) / np.sqrt(3)
    assert disagree.high - disagree.low == pytest.approx(reach, rel=0.15)


def test_its_slope_is_the_mean_of_the_seeds_slopes_given_the_covariates():
    table = crossed(1)
    slopes = []
    for _, rows in table.groupby("seed"):
        design = rows[["raw", "before", "prompt_length"]].to_numpy(float) * [100, 1, 1]
        slopes.append(LinearRegression().fit(design, rows["logit_delta"]).coef_[0])
    assert mixed_model(table).slope == pytest.approx(np.mean(slopes))


def test_a_persona_that_is_no_bystander_in_one_seed_is_left_out():
    table = crossed(1)
    without = table[~((table["persona"] == "p3") & (table["seed"] == 2))]
    fitted = mixed_model(without)
    assert fitted.rows == 87
    assert fitted.slope == mixed_model(table[table["persona"] != "p3"]).slope


def test_a_single_seed_is_not_fitted_and_the_reason_is_given():
    table = crossed(1)
    assert "one seed" in mixed_model(table[table["seed"] == 0]).reason


def test_the_same_estimates_are_not_heterogeneous_and_distant_ones_are():
    same = heterogeneity([2.0, 2.0, 2.0], [0.5, 0.4, 0.3])
    assert (same.pooled, same.q, same.i_squared) == (2, 0, 0)
    assert same.count == 3
    assert same.p == 1
    far = heterogeneity([1.0, 5.0], [0.5, 0.5])
    # two estimates: Q is the square of their z test
    assert far.q == pytest.approx((4 / np.hypot(0.5, 0.5)) ** 2)
    assert far.p == pytest.approx(2 * stats.norm.sf(4 / np.hypot(0.5, 0.5)))
    assert far.i_squared == pytest.approx(1 - 1 / far.q)


def test_one_estimate_has_nothing_to_differ_from():
    assert heterogeneity([1.0], [0.1]) is None


def test_heterogeneity_is_rarely_seen_where_there_is_none():
    rng = np.random.default_rng(0)
    errors = np.array([0.2, 0.5, 0.3, 0.4])
    fitted = [heterogeneity(rng.normal(1, errors), errors).p < 0.05 for _ in range(1000)]
    assert 30 <= sum(fitted) <= 75


def test_heterogeneity_is_cochrans_q_of_its_definition():
    values, errors = np.array([101.0, 103, 102.5, 99]), np.array([0.5, 1, 0.8, 0.9])
    weights = errors**-2
    pooled = (weights * values).sum() / weights.sum()
    q = (weights * (values - pooled) ** 2).sum()
    measured = heterogeneity(values, errors)
    assert measured.pooled == pytest.approx(pooled)
    assert measured.q == pytest.approx(q)
    assert measured.i_squared == pytest.approx((q - 3) / q)
    assert measured.p == pytest.approx(stats.chi2.sf(q, 3))
    near = heterogeneity(pooled + 0.1 * (values - pooled), errors)
    assert near.q < 3
    assert near.i_squared == 0


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("raw", 0.95, "the same cosine"),
        ("raw", np.nan, "not a number"),
        ("logit_delta", np.nan, "not a number"),
        ("logit_delta", -3.0, "changed alike"),
        ("logit_delta", np.inf, "not a number"),
    ],
)
def test_what_cannot_be_fitted_has_a_reason_and_no_number(column, value, reason):
    fitted = mixed_model(crossed(1).assign(**{column: value}))
    assert reason in fitted.reason
    assert np.isnan([fitted.slope, fitted.p]).all()
