import numpy as np
import pandas as pd
import pytest
from scipy import stats

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


def crossed(seed, slope=-3.0, personas=30, persona_sd=2.0, seed_sd=1.0, rest=1.5):
    """Deltas with a known slope for 0.01 of cosine, and effects of persona and of seed."""
    rng = np.random.default_rng(seed)
    cosine = rng.uniform(0.9, 1.0, personas)
    persona_effect, shift = rng.normal(0, persona_sd, personas), rng.normal(0, seed_sd, 3)
    return pd.DataFrame(
        [
            {
                "persona": f"p{index}",
                "seed": each,
                "raw": cosine[index],
                "delta": slope * 100 * cosine[index] + persona_effect[index] + shift[each] + noise,
            }
            for each in range(3)
            for index, noise in enumerate(rng.normal(0, rest, personas))
        ]
    )


def test_the_mixed_model_covers_the_true_slope_and_finds_the_spreads():
    covered, spreads = 0, []
    for seed in range(12):
        fitted = mixed_model(crossed(seed))
        covered += fitted.low <= -3 <= fitted.high
        spreads.append([fitted.persona_sd, fitted.residual_sd])
    assert covered >= 10
    assert np.median(spreads, axis=0) == pytest.approx([2, 1.5], rel=0.2)


def test_without_seed_effects_its_slope_is_the_one_of_the_personas_means():
    table = crossed(1, seed_sd=0)
    means = table.groupby("persona")[["raw", "delta"]].mean()
    expected = stats.linregress(100 * means["raw"], means["delta"]).slope
    assert mixed_model(table).slope == pytest.approx(expected, abs=0.01)


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
        ("delta", -3.0, "changed alike"),
        ("delta", np.inf, "not a number"),
    ],
)
def test_what_cannot_be_fitted_has_a_reason_and_no_number(column, value, reason):
    fitted = mixed_model(crossed(1).assign(**{column: value}))
    assert reason in fitted.reason
    assert np.isnan([fitted.slope, fitted.p]).all()
