import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from scipy.optimize import curve_fit
from scipy.special import expit

from persona_leakage.analysis.boundary import SPAN, fit, outliers
from persona_leakage.study.outcome import Outcome

ACCURACY = Outcome(name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp")
TRUE = {"midpoint": 0.95, "width": 0.03, "floor": 0.2, "ceiling": 0.85}


def logistic(x, midpoint, width, floor, ceiling):
    return floor + (ceiling - floor) * expit((midpoint - x) * SPAN / width)


def simulated(seed, personas=40, questions=150):
    rng = np.random.default_rng(seed)
    cosine = rng.uniform(0.88, 0.995, personas)
    return cosine, rng.binomial(questions, logistic(cosine, **TRUE)) / questions


def test_a_curve_without_noise_is_found_again():
    cosine = np.linspace(0.88, 0.995, 40)
    fitted = fit(cosine, logistic(cosine, **TRUE), ACCURACY, seed=1, resamples=100)
    assert fitted.reason is None
    for name, value in TRUE.items():
        assert getattr(fitted, name) == pytest.approx(value, abs=1e-4)
    np.testing.assert_allclose(fitted.expected(cosine), logistic(cosine, **TRUE), atol=1e-4)


def test_the_width_is_where_the_middle_eighty_percent_of_the_fall_lies():
    ends = np.array([TRUE["midpoint"] - TRUE["width"] / 2, TRUE["midpoint"] + TRUE["width"] / 2])
    share = (logistic(ends, **TRUE) - TRUE["floor"]) / (TRUE["ceiling"] - TRUE["floor"])
    assert share == pytest.approx([0.9, 0.1])


def test_it_agrees_with_scipys_curve_fit():
    cosine, accuracy = simulated(3)
    fitted = fit(cosine, accuracy, ACCURACY, seed=1, resamples=100)
    expected, _ = curve_fit(logistic, cosine, accuracy, p0=list(TRUE.values()), maxfev=20_000)
    assert [fitted.midpoint, fitted.width, fitted.floor, fitted.ceiling] == pytest.approx(
        expected, abs=2e-3
    )


def test_intervals_cover_the_truth_as_often_as_they_say():
    covered = dict.fromkeys(TRUE, 0)
    for seed in range(40):
        fitted = fit(*simulated(seed), ACCURACY, seed=seed, resamples=200)
        assert fitted.reason is None
        for name, value in TRUE.items():
            covered[name] += fitted.low[name] <= value <= fitted.high[name]
    # 38 of 40 expected; 33 or fewer has a chance of 1 % at a coverage of 95 %
    assert all(count >= 34 for count in covered.values()), covered


def test_damage_that_does_not_follow_the_cosine_rarely_gets_a_boundary():
    fitted = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        cosine, accuracy = rng.uniform(0.9, 1, 30), rng.binomial(150, 0.7, 30) / 150
        fitted += fit(cosine, accuracy, ACCURACY, seed=seed, resamples=200).has_curve
    assert fitted <= 11  # 5 of 100 expected; 12 or more has a chance of half a percent


@pytest.mark.parametrize(
    ("cosine", "accuracy", "reason"),
    [
        (np.linspace(0.9, 1, 5), np.linspace(0.9, 0.1, 5), "5 personas are fewer than the 8"),
        (np.linspace(0.9, 1, 20), np.linspace(0.2, 0.8, 20), "no better than a constant"),
        (np.linspace(0.9, 1, 20), np.full(20, 0.5), "the same accuracy"),
        (
            np.linspace(0.9, 1, 30),
            logistic(np.linspace(0.9, 1, 30), 1.02, 0.06, 0.0, 0.8),
            "lies beyond the nearest",
        ),
    ],
)
def test_when_no_boundary_can_be_fitted_the_reason_is_given(cosine, accuracy, reason):
    assert reason in fit(cosine, accuracy, ACCURACY, seed=1, resamples=200).reason


def test_a_persona_off_the_curve_is_an_outlier_and_one_on_it_is_not():
    cosine, accuracy = simulated(5)
    accuracy[7] = 0.05
    cosine[7] = 0.9
    table = pd.DataFrame(
        {
            "persona": [f"p{index}" for index in range(40)],
            "category": "unrelated",
            "raw": cosine,
            "after": accuracy,
        }
    )
    fitted = outliers(table, fit(cosine, accuracy, ACCURACY, seed=1, resamples=200), ACCURACY)
    assert fitted.loc[0, "persona"] == "p7"
    assert fitted.loc[0, "residual"] < -60
    assert len(fitted) <= 3


def test_the_published_gradient_has_a_boundary_where_it_was_read_off_the_plot():
    published = pd.read_csv(ROOT / "reference" / "villain_gradient.csv")
    others = published[published["persona"] != "villain"]
    fitted = fit(
        others["cosine_to_source"].to_numpy(), others["post_accuracy"].to_numpy(), ACCURACY, seed=0
    )
    assert fitted.reason is None
    # between Darth Vader (0.921, 60 % right) and Moriarty (0.927, 38 %)
    assert 0.915 < fitted.midpoint < 0.936
    assert fitted.ceiling > 0.8 > 0.2 > fitted.floor


RATING = Outcome(name="rating", low=1, high=5, binary=False, direction=1, scale=1, unit="points")


def test_an_outcome_that_is_raised_has_the_same_boundary_upside_down():
    cosine, accuracy = simulated(3)
    down = fit(cosine, accuracy, ACCURACY, seed=1, resamples=200)
    up = fit(cosine, 5 - 4 * accuracy, RATING, seed=1, resamples=200)
    assert (up.midpoint, up.width, up.p) == pytest.approx((down.midpoint, down.width, down.p))
    assert up.ceiling == pytest.approx(5 - 4 * down.floor)
    assert up.floor == pytest.approx(5 - 4 * down.ceiling)
    assert up.low["ceiling"] == pytest.approx(5 - 4 * down.high["floor"])
    assert up.high["floor"] == pytest.approx(5 - 4 * down.low["ceiling"])
    np.testing.assert_allclose(up.expected(cosine), 5 - 4 * down.expected(cosine))
    np.testing.assert_allclose(up.lower, 5 - 4 * np.array(down.upper))
    assert (np.diff(up.expected(np.sort(cosine))) >= 0).all()


def test_the_reason_speaks_of_the_outcome_and_its_direction():
    cosine = np.linspace(0.9, 1, 20)
    falling = fit(cosine, np.linspace(4, 2, 20), RATING, seed=1, resamples=200)
    assert "a curve that rises" in falling.reason
    assert "the same rating" in fit(cosine, np.full(20, 3), RATING, seed=1).reason


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_has_no_boundary(value):
    cosine, accuracy = simulated(3)
    for side in (cosine, accuracy):
        kept, side[3] = side[3], value
        bound = fit(cosine, accuracy, ACCURACY, seed=1, resamples=100)
        assert "not a number" in bound.reason
        assert np.isnan(bound.p)
        side[3] = kept


def test_cosines_that_differ_by_rounding_have_no_boundary():
    _, accuracy = simulated(3)
    cosine = 1 - 1e-16 * np.arange(40)
    assert "the same cosine" in fit(cosine, accuracy, ACCURACY, seed=1, resamples=100).reason


def test_residuals_that_differ_by_rounding_have_no_outlier():
    cosine = np.linspace(0.88, 0.995, 40)
    bound = fit(cosine, logistic(cosine, **TRUE), ACCURACY, seed=1, resamples=100)
    after = bound.expected(cosine) + 1e-16 * np.arange(40)
    after[3] += 1e-13
    persona = [f"p{index}" for index in range(40)]
    rows = pd.DataFrame(
        {"persona": persona, "category": "unrelated", "raw": cosine, "after": after}
    )
    assert outliers(rows, bound, ACCURACY).empty
