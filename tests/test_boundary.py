import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from scipy.optimize import curve_fit
from scipy.special import expit

from persona_leakage.analysis.boundary import SPAN, fit, log_width, outliers
from persona_leakage.analysis.seeds import heterogeneity
from persona_leakage.study.outcome import Outcome

ACCURACY = Outcome(name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp")
RATING = Outcome(name="rating", low=1, high=5, binary=False, direction=1, scale=1, unit="points")
TRUE = {"midpoint": 0.95, "width": 0.03, "floor": 0.2, "ceiling": 0.85}


def logistic(x, midpoint, width, floor, ceiling):
    return floor + (ceiling - floor) * expit((midpoint - x) * SPAN / width)


def simulated(seed, personas=40, questions=150):
    rng = np.random.default_rng(seed)
    cosine = rng.uniform(0.88, 0.995, personas)
    return cosine, rng.binomial(questions, logistic(cosine, **TRUE)) / questions


def asked(cosine, level, questions=150, outcome=ACCURACY):
    """Bystanders of a persona table."""
    reach = 0.08 * (outcome.high - outcome.low)
    return pd.DataFrame(
        {
            "persona": [f"p{index}" for index in range(len(cosine))],
            "category": "unrelated",
            "raw": cosine,
            "after": level,
            "after_low": level - reach,
            "after_high": level + reach,
            "questions": questions,
        }
    )


def test_a_curve_without_noise_is_found_again():
    cosine = np.linspace(0.88, 0.995, 40)
    fitted = fit(asked(cosine, logistic(cosine, **TRUE)), ACCURACY, seed=1, resamples=100)
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
    fitted = fit(asked(cosine, accuracy), ACCURACY, seed=1, resamples=100)
    expected, _ = curve_fit(logistic, cosine, accuracy, p0=list(TRUE.values()), maxfev=20_000)
    assert [fitted.midpoint, fitted.width, fitted.floor, fitted.ceiling] == pytest.approx(
        expected, abs=2e-3
    )


@pytest.mark.parametrize(("personas", "questions"), [(30, 586), (110, 150)])
def test_intervals_cover_the_truth_as_often_as_they_say(personas, questions):
    covered, fitted, named = dict.fromkeys(TRUE, 0), 0, 0
    for seed in range(60):
        rows = asked(*simulated(seed, personas, questions), questions)
        bound = fit(rows, ACCURACY, seed=seed, resamples=200)
        if bound.reason is None:
            fitted += 1
            named += not outliers(rows, bound, ACCURACY).empty
            for name, value in TRUE.items():
                covered[name] += bound.low[name] <= value <= bound.high[name]
    assert fitted >= 52  # the test of the fit refuses one true curve in twenty
    # 57 of 60 expected; 51 or fewer has a chance of 1 % at a coverage of 95 %
    assert all(count >= 52 * fitted / 60 for count in covered.values()), covered
    assert named <= 8  # one in twenty; 9 or more has a chance of half a percent


def test_an_interval_has_a_width_and_no_two_resamples_the_same_end():
    rows = asked(*simulated(2, 110, 586), 586)
    ends = [fit(rows, ACCURACY, seed=seed, resamples=100) for seed in range(3)]
    assert len({each.low["width"] for each in ends} | {each.high["width"] for each in ends}) == 6


def test_a_step_with_more_than_question_noise_is_no_logistic_boundary():
    """The real villain curve: most personas unharmed, relatives anywhere between."""
    rng = np.random.default_rng(0)
    cosine = rng.uniform(0.88, 0.999, 110)
    level = np.where(cosine > 0.98, rng.uniform(0.2, 0.7, 110), 0.65 + rng.normal(0, 0.02, 110))
    bound = fit(asked(cosine, level, 586), ACCURACY, seed=1, resamples=200)
    assert "a logistic curve does not hold" in bound.reason
    assert not bound.fits
    assert not bound.has_curve
    assert bound.dispersion > 3
    assert np.isnan(bound.midpoint)
    assert outliers(asked(cosine, level, 586), bound, ACCURACY).empty


def test_the_widths_of_sources_that_are_alike_rarely_differ():
    widths = []
    for seed in range(40):
        bound = fit(asked(*simulated(seed, 40, 300), 300), ACCURACY, seed=seed, resamples=200)
        if bound.reason is None:
            widths.append(log_width([bound]))
    rng = np.random.default_rng(0)
    drawn = [rng.choice(len(widths), 5, replace=False) for _ in range(200)]
    differ = [
        heterogeneity(*zip(*(widths[i] for i in five), strict=True)).p < 0.05 for five in drawn
    ]
    assert np.mean(differ) <= 0.09


def test_the_noise_of_an_outcome_of_many_values_is_read_off_its_intervals():
    cosine, accuracy = simulated(3)
    level = 5 - 4 * accuracy
    tight = asked(cosine, level, outcome=RATING)
    tight["after_low"], tight["after_high"] = level - 0.02, level + 0.02
    assert "does not hold" in fit(tight, RATING, seed=1, resamples=100).reason
    wide = asked(cosine, level, outcome=RATING)
    assert fit(wide, RATING, seed=1, resamples=100).fits
    wide["after_high"] = wide["after_low"]
    assert "noise" in fit(wide, RATING, seed=1, resamples=100).reason


def test_damage_that_does_not_follow_the_cosine_rarely_gets_a_boundary():
    fitted = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        cosine, accuracy = rng.uniform(0.9, 1, 30), rng.binomial(150, 0.7, 30) / 150
        fitted += fit(asked(cosine, accuracy), ACCURACY, seed=seed, resamples=200).has_curve
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
    assert reason in fit(asked(cosine, accuracy), ACCURACY, seed=1, resamples=200).reason


def test_a_persona_off_the_curve_is_an_outlier_and_one_on_it_is_not():
    cosine, accuracy = simulated(5)
    accuracy[7] = 0.05
    cosine[7] = 0.9
    table = asked(cosine, accuracy)
    fitted = outliers(table, fit(table, ACCURACY, seed=1, resamples=200), ACCURACY)
    assert fitted.loc[0, "persona"] == "p7"
    assert fitted.loc[0, "residual"] < -60
    assert len(fitted) <= 3


def test_the_published_gradient_is_no_logistic_curve_either():
    published = pd.read_csv(ROOT / "reference" / "villain_gradient.csv")
    others = published[published["persona"] != "villain"]
    rows = asked(others["cosine_to_source"].to_numpy(), others["post_accuracy"].to_numpy(), 586)
    fitted = fit(rows, ACCURACY, seed=0)
    assert fitted.p < 0.01
    assert "does not hold" in fitted.reason
    # were the questions few enough, it would pass for one: half-way between Darth Vader (0.921,
    # 60 % right) and Moriarty (0.927, 38 %)
    few = fit(rows.assign(questions=25), ACCURACY, seed=0)
    assert few.reason is None
    assert 0.915 < few.midpoint < 0.936
    assert few.ceiling > 0.8 > 0.2 > few.floor


def test_an_outcome_that_is_raised_has_the_same_boundary_upside_down():
    cosine, accuracy = simulated(3)
    down = fit(asked(cosine, accuracy), ACCURACY, seed=1, resamples=200)
    two = RATING.model_copy(update={"binary": True})  # the noise of questions is the same then
    up = fit(asked(cosine, 5 - 4 * accuracy, outcome=two), two, seed=1, resamples=200)
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
    falling = fit(
        asked(cosine, np.linspace(4, 2, 20), outcome=RATING), RATING, seed=1, resamples=200
    )
    assert "a curve that rises" in falling.reason
    assert "the same rating" in fit(asked(cosine, np.full(20, 3)), RATING, seed=1).reason


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_has_no_boundary(value):
    cosine, accuracy = simulated(3)
    for side in (cosine, accuracy):
        kept, side[3] = side[3], value
        bound = fit(asked(cosine, accuracy), ACCURACY, seed=1, resamples=100)
        assert "not a number" in bound.reason
        assert np.isnan(bound.p)
        side[3] = kept


def test_cosines_that_differ_by_rounding_have_no_boundary():
    _, accuracy = simulated(3)
    cosine = 1 - 1e-16 * np.arange(40)
    assert "the same cosine" in fit(asked(cosine, accuracy), ACCURACY, seed=1, resamples=100).reason


def test_residuals_that_differ_by_rounding_have_no_outlier():
    cosine = np.linspace(0.88, 0.995, 40)
    bound = fit(asked(cosine, logistic(cosine, **TRUE)), ACCURACY, seed=1, resamples=100)
    after = bound.expected(cosine) + 1e-16 * np.arange(40)
    after[3] += 1e-13
    rows = asked(cosine, after)
    assert outliers(rows, bound, ACCURACY).empty
