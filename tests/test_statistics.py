import numpy as np
import pandas as pd
import pytest
from scipy import stats

from persona_leakage.analysis.persona_table import (
    by_benchmark,
    by_category,
    correlation,
    delta_interval,
    headline,
    mcnemar,
    partial_correlation,
    persona_table,
    roles,
)


def scores(correct: dict[str, list[bool]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"persona": name, "question": f"q{index}", "correct": value}
            for name, values in correct.items()
            for index, value in enumerate(values)
        ]
    )


def test_roles_tell_the_four_kinds_apart(personas):
    chosen = [personas[n] for n in ("villain", "librarian", "no_system", "empty_system", "spy")]
    assert roles(chosen, "villain", ["librarian", "no_system"]) == {
        "villain": "source",
        "librarian": "negative",
        "no_system": "negative",
        "empty_system": "condition",
        "spy": "bystander",
    }


def test_the_table_has_the_accuracies_and_the_changes(personas):
    before = scores({"villain": [True] * 8 + [False] * 2, "spy": [True] * 5 + [False] * 5})
    after = scores({"villain": [False] * 8 + [True] * 2, "spy": [True] * 5 + [False] * 5})
    cosines = pd.DataFrame({"persona": ["villain", "spy"], "raw": [1, 0.8], "centred": [1, 0.1]})
    role = {"villain": "source", "spy": "bystander"}
    table = persona_table(before, after, cosines, personas, role, 42).set_index("persona")
    villain = table.loc["villain"]
    assert villain["delta"] == pytest.approx(-60)
    assert (villain["broken"], villain["mended"]) == (8, 2)
    assert villain["p"] == pytest.approx(stats.binomtest(8, 10).pvalue)
    assert table.loc["spy", "delta"] == 0
    assert table.loc["spy", "p"] == 1
    # Wilson 1927 in closed form
    z, n, share = stats.norm.ppf(0.975), 10, 0.8
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert villain["before_low"] == pytest.approx(centre - half)
    assert villain["before_high"] == pytest.approx(centre + half)


def test_the_order_of_the_questions_does_not_matter(personas):
    before = scores({"villain": [True, False, True], "spy": [True, True, False]})
    after = scores({"villain": [False, False, True], "spy": [True, True, False]})
    cosines = pd.DataFrame({"persona": ["villain", "spy"], "raw": [1, 0.8], "centred": [1, 0.1]})
    role = {"villain": "source", "spy": "bystander"}
    mixed = after.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(
        persona_table(before, after, cosines, personas, role, 1),
        persona_table(before, mixed, cosines, personas, role, 1),
    )


def test_intervals_of_a_change_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(400):
        before = rng.random(150) < 0.75
        after = np.where(rng.random(150) < 0.2, ~before, before)
        low, high = delta_interval(before, after, seed=trial)
        truth = 100 * 0.2 * (0.25 - 0.75)
        covered += low <= truth <= high
    assert 0.915 <= covered / 400 <= 0.98


def test_mcnemar_is_the_exact_binomial_over_changed_questions():
    before = np.array([True] * 9 + [False] * 3 + [True] * 4)
    after = np.array([False] * 9 + [True] * 3 + [True] * 4)
    total = sum(stats.binom.pmf(k, 12, 0.5) for k in range(13) if min(k, 12 - k) <= 3)
    assert mcnemar(before, after) == pytest.approx(total)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_correlations_are_those_of_scipy(method):
    rng = np.random.default_rng(3)
    x = rng.normal(size=30)
    y = -x + rng.normal(size=30)
    reference = getattr(stats, f"{method}r")(x, y)
    found = correlation(x, y, method, seed=1)
    assert found.r == pytest.approx(reference.statistic)
    assert found.p == pytest.approx(reference.pvalue, abs=2e-3)
    assert found.low < found.r < found.high


def test_the_interval_of_a_correlation_covers_the_truth_as_often_as_it_says():
    covered = 0
    for trial in range(80):
        rng = np.random.default_rng(trial)
        x, y = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=50).T
        found = correlation(x, y, "pearson", seed=trial)
        covered += found.low <= 0.6 <= found.high
    assert covered >= 69  # 76 expected; 68 or fewer has a chance of 0.1 % at 95 %


def test_a_permutation_test_of_nothing_is_positive_one_time_in_twenty():
    rng = np.random.default_rng(5)
    positive = sum(
        correlation(rng.normal(size=25), rng.normal(size=25), "spearman", seed=trial).p < 0.05
        for trial in range(200)
    )
    assert 2 <= positive <= 20


def test_a_partial_correlation_is_the_one_of_the_inverse_correlation_matrix():
    rng = np.random.default_rng(8)
    given = rng.normal(size=(60, 2))
    x = given @ [1.0, 0.5] + rng.normal(size=60)
    y = -x + given @ [0.3, -1.0] + rng.normal(size=60)
    found = partial_correlation(x, y, given, seed=1)
    ranks = np.column_stack([stats.rankdata(v) for v in (x, y, *given.T)])
    inverse = np.linalg.inv(np.corrcoef(ranks.T))
    assert found.r == pytest.approx(-inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1]))
    assert found.p < 0.001
    assert found.low < found.r < found.high


def test_a_partial_correlation_does_not_see_what_the_covariate_explains():
    positive = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        cause = rng.normal(size=40)
        x, y = cause + 0.5 * rng.normal(size=40), cause + 0.5 * rng.normal(size=40)
        positive += partial_correlation(x, y, cause, seed=trial).p < 0.05
        assert correlation(x, y, "spearman", seed=trial).r > 0.4
    assert positive <= 10  # ranks only approximate the linear cause: a little above 3


def test_a_category_has_a_gradient_of_its_own_where_it_is_large_enough():
    raw = np.linspace(0.9, 1, 9)
    table = pd.DataFrame(
        {
            "role": ["bystander"] * 9,
            "category": ["unrelated"] * 6 + ["opposite"] * 3,
            "raw": raw,
            "delta": [0.0, -1, -2, -3, -4, -5, -30, -31, -32],
        }
    )
    found = by_category(table, 1).set_index("category")
    assert found.index[0] == "opposite"  # the most damaged first
    assert found.loc["unrelated", "rho"] == pytest.approx(-1)
    assert np.isnan(found.loc["opposite", "rho"])
    assert found.loc["opposite", "delta"] == -31


def test_benchmarks_are_told_apart(personas):
    names = ("villain", "spy", "baker", "nurse")
    before = scores({name: [True] * 8 for name in names})
    after = scores({name: [name != "villain"] * 4 + [True] * 4 for name in names})
    for frame in (before, after):
        frame["benchmark"] = "trained"
        frame.loc[frame["question"] >= "q4", "benchmark"] = "other"
    cosines = pd.DataFrame(
        {"persona": names, "raw": [1, 0.9, 0.8, 0.7], "centred": [1, 0.5, 0, -1]}
    )
    role = dict.fromkeys(names, "bystander") | {"villain": "source"}
    found = by_benchmark(before, after, cosines, personas, role, 1).set_index("benchmark")
    assert found["source_delta"].to_dict() == {"trained": -100, "other": 0}
    assert found["questions"].to_dict() == {"trained": 4, "other": 4}


def test_a_constant_side_has_no_correlation():
    assert np.isnan(correlation([1, 2, 3, 4], [5, 5, 5, 5], "spearman", seed=0).r)


def test_the_headline_averages_trained_negatives_apart_from_bystanders():
    table = pd.DataFrame(
        {
            "persona": list("abcdefg"),
            "role": ["source", "negative", "condition", *["bystander"] * 4],
            "category": ["core"] * 3 + ["unrelated", "core", "core", "core"],
            "before": [0.8] * 7,
            "after": [0.2, 0.9, 0.7, 0.8, 0.6, 0.5, 0.4],
            "delta": [-60.0, 10.0, -10.0, 0.0, -20.0, -30.0, -40.0],
            "raw": [1, 0.5, 0.5, 0.6, 0.7, 0.8, 0.9],
            "centred": [1, 0.5, 0.5, 0.1, 0.2, 0.3, 0.4],
            "questions": [10] * 7,
            "prompt_length": [50, 60, 40, 45, 55, 65, 52],
        }
    )
    numbers = headline(table, 42)
    assert numbers["source_delta"] == -60
    assert numbers["bystander_delta"] == -22.5
    assert numbers["unrelated_delta"] == 0
    assert numbers["negative_delta"] == 10
    assert numbers["condition_delta"] == -10
    assert numbers["bystanders"] == 4
    assert numbers["spearman_raw"] == pytest.approx(-1)
