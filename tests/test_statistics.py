import numpy as np
import pandas as pd
import pytest
from made import bystanders
from scipy import optimize, stats

from persona_leakage.analysis import correlation as correlations
from persona_leakage.analysis.best_predictor import compare
from persona_leakage.analysis.boundary import fit
from persona_leakage.analysis.correlation import (
    correlation,
    freedman_lane,
    partial_correlation,
)
from persona_leakage.analysis.paired import change_interval, change_p, mcnemar, tango
from persona_leakage.analysis.persona_table import (
    by_benchmark,
    by_category,
    given_covariates,
    headline,
    persona_table,
)
from persona_leakage.analysis.ranks import constant, levels, rank_correlation
from persona_leakage.analysis.roles import roles
from persona_leakage.analysis.seeds import mixed_model
from persona_leakage.errors import InputError
from persona_leakage.study.outcome import Outcome

ACCURACY = Outcome(name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp")
RATING = Outcome(name="rating", low=0, high=5, binary=False, direction=1, scale=1, unit="points")


def scores(outcomes: dict[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "persona": name,
                "question": f"q{index}",
                "outcome": float(value),
                "label_mass": 0.5 + 0.1 * value,
            }
            for name, values in outcomes.items()
            for index, value in enumerate(values)
        ]
    )


def cosines(**raw: float) -> pd.DataFrame:
    return pd.DataFrame({"persona": list(raw), "raw": raw.values(), "centred": raw.values()})


def counted(right_before: int, broken: int, mended: int, questions: int = 150):
    """Outcomes before and after with these counts, spread over the questions."""
    before = np.arange(questions) < right_before
    after = before.copy()
    after[:broken] = False
    after[questions - mended :] = True
    return before.astype(float), after.astype(float)


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
    similar = cosines(villain=1, spy=0.8)
    role = {"villain": "source", "spy": "bystander"}
    table = persona_table(before, after, similar, personas, role, ACCURACY, 42).set_index("persona")
    villain = table.loc["villain"]
    assert villain["delta"] == pytest.approx(-60)
    assert (villain["broken"], villain["mended"]) == (8, 2)
    assert villain["p"] == pytest.approx(
        stats.binomtest(8, 10).pvalue - stats.binom.pmf(8, 10, 0.5)  # mid-p
    )
    assert table.loc["spy", "delta"] == 0
    assert table.loc["spy", "p"] == 1
    # Wilson 1927 in closed form
    z, n, share = stats.norm.ppf(0.975), 10, 0.8
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert villain["before_low"] == pytest.approx(centre - half)
    assert villain["before_high"] == pytest.approx(centre + half)


def test_answers_are_matched_by_persona_and_question_whatever_their_order(personas):
    before = scores({"villain": [1, 0, 1, 1], "spy": [1, 1, 0, 0]})
    after = scores({"villain": [0, 0, 1, 0], "spy": [1, 1, 0, 1]})
    similar, role = cosines(villain=1, spy=0.8), {"villain": "source", "spy": "bystander"}
    expected = persona_table(before, after, similar, personas, role, ACCURACY, 1)
    assert expected["broken"].tolist() == [2, 0]
    assert expected["mended"].tolist() == [0, 1]
    for seed in range(3):
        mixed = after.sample(frac=1, random_state=seed, ignore_index=True)
        pd.testing.assert_frame_equal(
            persona_table(before, mixed, similar, personas, role, ACCURACY, 1), expected
        )
        mixed = before.sample(frac=1, random_state=seed, ignore_index=True)
        pd.testing.assert_frame_equal(
            persona_table(mixed, after, similar, personas, role, ACCURACY, 1), expected
        )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.drop(index=5), "the cell: spy has no answer to question q1"),
        (lambda table: table[table["persona"] != "spy"], "the cell: spy has no answer"),
        (
            lambda table: table.replace({"question": {"q3": "q9"}}),
            "the base model: villain has no answer to question q9",
        ),
        (
            lambda table: pd.concat([table, table.iloc[[5]]]),
            "the cell: spy has two answers to question q1",
        ),
        (
            lambda table: table.assign(outcome=table["outcome"].where(table.index != 5)),
            "the cell: spy has an outcome that is no accuracy to question q1",
        ),
        (
            lambda table: table.assign(outcome=table["outcome"].replace(1.0, 0.5)),
            "the cell: villain has an outcome that is no accuracy to question q2",
        ),
    ],
)
def test_answers_that_do_not_pair_up_are_refused_by_name(personas, spoil, message):
    before = scores({"villain": [1, 0, 1, 1], "spy": [1, 1, 0, 0]})
    after = scores({"villain": [0, 0, 1, 0], "spy": [1, 1, 0, 1]})
    similar, role = cosines(villain=1, spy=0.8), {"villain": "source", "spy": "bystander"}
    with pytest.raises(InputError, match=message):
        persona_table(before, spoil(after), similar, personas, role, ACCURACY, 1)


def test_a_persona_whose_similarity_is_missing_is_refused_by_name(personas):
    both = scores({"villain": [1, 0], "spy": [1, 1]})
    role = {"villain": "source", "spy": "bystander"}
    with pytest.raises(InputError, match="spy is not among the personas measured"):
        persona_table(both, both, cosines(villain=1), personas, role, ACCURACY, 1)


def test_the_corrections_over_personas_are_holms_and_benjamini_hochbergs(personas):
    names = ["villain", "spy", "baker", "nurse"]
    pairs = dict(zip(names, (counted(100, n, 0, 120) for n in (9, 7, 6, 3)), strict=True))
    table = persona_table(
        scores({name: pair[0] for name, pair in pairs.items()}),
        scores({name: pair[1] for name, pair in pairs.items()}),
        cosines(villain=1, spy=0.9, baker=0.8, nurse=0.7),
        personas,
        dict.fromkeys(names, "bystander") | {"villain": "source"},
        ACCURACY,
        1,
    )
    p = table["p"].to_numpy()
    assert (np.diff(p) > 0).all()
    holm = np.maximum.accumulate(p * [4, 3, 2, 1])
    bh = np.minimum.accumulate((p * 4 / [1, 2, 3, 4])[::-1])[::-1]
    assert table["p_holm"].to_numpy() == pytest.approx(np.minimum(holm, 1))
    assert table["p_bh"].to_numpy() == pytest.approx(np.minimum(bh, 1))
    assert (table["p_holm"] > table["p_bh"])[1:3].all()


def test_equal_losses_share_a_rank_whatever_the_baselines(personas):
    """0.8 - 0.7 is not 0.5 - 0.4 in floating point; 15 questions of 150 are 15 questions."""
    names = ["villain", "spy", "baker", "nurse", "librarian", "police_officer"]
    assert (120 / 150) - (105 / 150) != (75 / 150) - (60 / 150)
    counts = [(100, 60, 0), (120, 15, 0), (75, 15, 0), (103, 16, 1), (90, 30, 0), (60, 0, 3)]
    pairs = dict(zip(names, (counted(*each) for each in counts), strict=True))
    table = persona_table(
        scores({name: pair[0] for name, pair in pairs.items()}),
        scores({name: pair[1] for name, pair in pairs.items()}),
        cosines(villain=1, spy=0.9, baker=0.8, nurse=0.85, librarian=0.95, police_officer=0.7),
        personas,
        dict.fromkeys(names, "bystander") | {"villain": "source"},
        ACCURACY,
        1,
    )
    equal = table[table["persona"].isin(["spy", "baker", "nurse"])]
    assert equal["delta"].nunique() == 1
    bystanders = table[table["role"] == "bystander"]
    whole = bystanders["mended"] - bystanders["broken"]
    expected = stats.spearmanr(bystanders["raw"], whole).statistic
    found = rank_correlation(bystanders["raw"], bystanders["delta"], 5)
    assert found == pytest.approx(expected, abs=1e-12)
    assert np.isnan(rank_correlation(bystanders["raw"], bystanders["delta"], 6))  # there are five
    # and where the deltas come from elsewhere as floats
    floats = 100 * (bystanders["after"] - bystanders["before"])
    assert floats.nunique() > whole.nunique()
    assert levels(floats).tolist() == levels(whole).tolist()
    for method in ("spearman", "pearson"):
        assert correlation(bystanders["raw"], floats, method, seed=1).r == pytest.approx(
            getattr(stats, f"{method}r")(bystanders["raw"], whole).statistic
        )


def test_levels_tell_one_question_in_a_million_from_rounding():
    counts = np.array([3, 1, 2, 2, 1_000_000])
    assert levels(counts / 1_000_000).tolist() == [2, 0, 1, 1, 3]
    assert levels([0.1 + 0.2, 0.3, -0.3]).tolist() == [1, 1, 0]
    assert levels([]).tolist() == []
    assert levels([0.5, 0.1]).dtype == np.int64


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_rounding_is_a_share_of_the_largest_value_whatever_the_scale(scale):
    values = scale * np.array([1, 1 + 1e-12, 1 + 1e-6, -2])
    assert levels(values).tolist() == [1, 1, 2, 0]


def test_intervals_of_a_change_cover_the_truth_as_often_as_they_say():
    """Exactly, over all tables of counts, also where almost nothing changes."""
    questions = 150
    for fall, rise in ((0.15, 0.05), (0.02, 0.005), (0.005, 0.005)):
        covered = total = 0.0
        for broken in range(50):
            for mended in range(30):
                chance = stats.multinomial.pmf(
                    [broken, mended, questions - broken - mended],
                    questions,
                    [fall, rise, 1 - fall - rise],
                )
                if chance > 1e-6:
                    low, high = tango(broken, mended, questions)
                    total += chance
                    covered += chance * (low <= rise - fall <= high)
        assert total > 0.99
        assert 0.93 <= covered / total <= 0.995, (fall, rise)


def test_the_interval_of_a_change_ends_where_the_score_test_rejects():
    """Tango's interval against a likelihood maximised numerically at its ends."""
    broken, mended, questions = 9, 3, 60
    low, high = tango(broken, mended, questions)
    for end in (low, high):

        def likelihood(fell, end=end):
            rose = fell + end
            same = 1 - fell - rose
            return -(broken * np.log(fell) + mended * np.log(rose) + 48 * np.log(same))

        bounds = (max(0, -end) + 1e-9, (1 - end) / 2 - 1e-9)
        fell = optimize.minimize_scalar(
            likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-10}
        ).x
        variance = questions * (2 * fell + end * (1 - end))
        score = (mended - broken - questions * end) / np.sqrt(variance)
        assert abs(score) == pytest.approx(stats.norm.ppf(0.975), abs=1e-4)
    assert low < (mended - broken) / questions < high


def test_an_interval_is_wide_where_nothing_changed_and_ends_where_everything_did():
    low, high = tango(0, 0, 100)
    assert low == pytest.approx(-high)
    assert 0.02 < high < 0.06
    assert tango(20, 0, 20)[0] == -1
    assert tango(0, 20, 20)[1] == 1
    assert tango(20, 0, 20)[1] == pytest.approx(-tango(0, 20, 20)[0])


def test_the_interval_of_a_change_is_in_the_outcomes_unit():
    before, after = counted(100, 30, 10)
    low, high = change_interval(before, after, ACCURACY, seed=1)
    assert (low, high) == pytest.approx(tuple(100 * end for end in tango(30, 10, 150)))
    assert low < 100 * (10 - 30) / 150 < high


def test_mcnemar_counts_the_observed_table_half():
    tail = sum(stats.binom.pmf(k, 12, 0.5) for k in range(3))
    assert mcnemar(9, 3) == mcnemar(3, 9)
    assert mcnemar(9, 3) == pytest.approx(2 * tail + stats.binom.pmf(3, 12, 0.5))
    assert mcnemar(4, 4) == pytest.approx(1 - stats.binom.pmf(4, 8, 0.5) / 2)
    assert mcnemar(0, 0) == 1


def test_an_outcome_of_many_values_has_a_bootstrap_interval_and_a_sign_flip_test():
    rng = np.random.default_rng(0)
    before = rng.uniform(0, 4, 120)
    after = before + rng.normal(0.3, 0.4, 120).clip(-before, 1)
    low, high = change_interval(before, after, RATING, seed=1)
    change = after - before
    error = change.std(ddof=1) / np.sqrt(120)
    assert (low, high) == pytest.approx(
        (change.mean() - 1.96 * error, change.mean() + 1.96 * error), abs=0.015
    )
    assert change_p(before, after, RATING, seed=1) < 0.001
    shifted = after - change.mean() + 0.05
    assert change_p(before, shifted, RATING, seed=1) == pytest.approx(
        stats.ttest_rel(before, shifted).pvalue, abs=0.03
    )
    assert change_p(before, before, RATING, seed=1) == 1


def test_the_table_of_an_outcome_of_many_values_keeps_its_scale(personas):
    before = scores({"villain": [0, 1, 2.5], "spy": [1, 1, 1]})
    after = scores({"villain": [5, 4, 2.5], "spy": [1, 1, 1.5]})
    role = {"villain": "source", "spy": "bystander"}
    table = persona_table(
        before, after, cosines(villain=1, spy=0.8), personas, role, RATING, 1
    ).set_index("persona")
    assert table.loc["villain", "delta"] == pytest.approx(8 / 3)
    assert (table.loc["villain", "broken"], table.loc["villain", "mended"]) == (0, 2)
    assert table.loc["villain", "before_low"] <= 3.5 / 3 <= table.loc["villain", "before_high"]


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_correlations_are_those_of_scipy(method):
    rng = np.random.default_rng(3)
    x = rng.normal(size=30)
    y = -x + rng.normal(size=30)
    reference = getattr(stats, f"{method}r")(x, y)
    measured = correlation(x, y, method, seed=1)
    assert measured.r == pytest.approx(reference.statistic)
    assert measured.p == pytest.approx(reference.pvalue, abs=2e-3)
    assert measured.low < measured.r < measured.high


def test_the_interval_of_a_correlation_covers_the_truth_as_often_as_it_says():
    covered = 0
    for trial in range(80):
        rng = np.random.default_rng(trial)
        x, y = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=50).T
        measured = correlation(x, y, "pearson", seed=trial)
        covered += measured.low <= 0.6 <= measured.high
    assert covered >= 69  # 76 expected; 68 or fewer has a chance of 0.1 % at 95 %


def test_a_permutation_test_of_nothing_is_positive_one_time_in_twenty():
    rng = np.random.default_rng(5)
    positive = sum(
        correlation(rng.normal(size=25), rng.normal(size=25), "spearman", seed=trial).p < 0.05
        for trial in range(100)
    )
    assert 1 <= positive <= 13


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_a_permutation_test_is_two_sided(method, sign):
    rng = np.random.default_rng(11)
    x = rng.normal(size=20)
    y = sign * (0.3 * x + rng.normal(size=20))
    reference = getattr(stats, f"{method}r")(x, y)
    assert 0.02 < reference.pvalue < 0.6
    measured = correlation(x, y, method, seed=1)
    assert np.sign(measured.r) == sign
    assert measured.p == pytest.approx(reference.pvalue, abs=0.02)
    partly = partial_correlation(x, y, np.zeros((20, 1)), seed=1)
    assert partly.r == pytest.approx(stats.spearmanr(x, y).statistic)
    assert partly.p == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.02)


def test_all_permutations_of_ties_count_as_extreme():
    """Of 6 places for the one that differs, 2 are as extreme: exactly a third."""
    x, y = [1, 2, 2, 2, 2, 3], 100 * np.array([0.8 - 0.7, 0.5 - 0.4, 0.3 - 0.2, 0.4 - 0.3, 0.1, 0])
    for method in ("spearman", "pearson"):
        assert correlation(x, y, method, seed=1).p == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("slope", [-1, 1])
def test_a_partial_correlation_is_the_one_of_the_inverse_correlation_matrix(slope):
    rng = np.random.default_rng(8)
    given = rng.normal(size=(60, 2))
    x = given @ [1.0, 0.5] + rng.normal(size=60)
    y = slope * x + given @ [0.3, -1.0] + rng.normal(size=60)
    partly = partial_correlation(x, y, given, seed=1)
    ranks = np.column_stack([stats.rankdata(v) for v in (x, y, *given.T)])
    inverse = np.linalg.inv(np.corrcoef(ranks.T))
    assert partly.r == pytest.approx(-inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1]))
    assert np.sign(partly.r) == slope
    assert partly.p < 0.001
    assert partly.low < partly.r < partly.high


@pytest.mark.parametrize("personas", [6, 9])
def test_a_partial_correlation_of_few_personas_is_not_positive_too_often(personas):
    """Kennedy's test, which does not regress again, is at .17 of 6 personas and .107 of 9."""
    trials = 1500
    rng = np.random.default_rng(personas)
    positive = sum(
        freedman_lane(
            rng.normal(size=personas),
            rng.normal(size=personas),
            rng.normal(size=(personas, 2)),
            rng,
            resamples=199,
        )
        <= 0.05
        for _ in range(trials)
    )
    assert 0.033 <= positive / trials <= 0.067  # three standard errors about 0.05


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
    trained = table.assign(role="negative", delta=50.0)
    everyone = pd.concat([table, trained], ignore_index=True)
    measured = by_category(everyone, ACCURACY)
    assert measured.index.tolist() == [0, 1]
    assert measured["category"].tolist() == ["opposite", "unrelated"]  # the most damaged first
    assert measured["personas"].tolist() == [3, 6]
    assert measured["delta"].tolist() == [-31, -2.5]
    assert measured["raw"].tolist() == pytest.approx([raw[6:].mean(), raw[:6].mean()])
    assert measured["rho"].tolist()[1] == pytest.approx(-1)
    assert np.isnan(measured.loc[0, "rho"])
    upwards = ACCURACY.model_copy(update={"direction": 1})
    assert by_category(everyone, upwards)["category"].tolist() == ["unrelated", "opposite"]
    five = by_category(table.iloc[:5], ACCURACY)
    assert five["rho"].tolist() == pytest.approx([-1])  # five are enough
    assert list(by_category(table.iloc[:0], ACCURACY)) == list(measured)


def test_benchmarks_are_told_apart(personas):
    names = ("villain", "spy", "baker", "nurse")
    before = scores({name: [True] * 8 for name in names})
    after = scores({name: [name != "villain"] * 4 + [True] * 4 for name in names})
    for frame in (before, after):
        frame["benchmark"] = "trained"
        frame.loc[frame["question"] >= "q4", "benchmark"] = "other"
    similar = cosines(villain=1, spy=0.9, baker=0.8, nurse=0.7)
    role = dict.fromkeys(names, "bystander") | {"villain": "source"}
    measured = by_benchmark(before, after, similar, personas, role, ACCURACY, 1).set_index(
        "benchmark"
    )
    assert measured["source_delta"].to_dict() == {"trained": -100, "other": 0}
    assert measured["questions"].to_dict() == {"trained": 4, "other": 4}


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1, 2, 3, 4, 5, 6], [5] * 6),
        ([0.1 + 0.2, 0.3, 0.3, 0.3, 0.3, 0.3], [1, 2, 3, 4, 5, 6]),
        ([1, 2, 3, 4, 5, np.nan], [1, 2, 3, 4, 5, 6]),
        ([1, 2, 3, 4, 5, 6], [1, 2, np.inf, 4, 5, 6]),
        ([1, 2], [1, 2]),
        ([], []),
    ],
)
def test_a_constant_side_or_what_is_not_a_number_has_no_correlation(x, y):
    given = np.arange(len(x))[::-1] % 4
    for nothing in (
        correlation(x, y, "spearman", seed=0),
        correlation(x, y, "pearson", seed=0),
        partial_correlation(x, y, given, seed=0),
    ):
        assert np.isnan([nothing.r, nothing.p, nothing.low, nothing.high]).all()
        assert nothing.n == len(x)


def column(rng: np.random.Generator, personas: int) -> np.ndarray:
    """One of the columns that cells have had: noise, ties, constants, one apart, holes."""
    kind = rng.integers(6)
    if kind == 0:
        return rng.random(personas)
    if kind == 1:
        return rng.integers(0, 3, personas) / 3
    if kind == 2:
        return np.full(personas, 0.3) + rng.choice([0, 5e-17], personas)
    values = np.zeros(personas)
    if kind == 3:
        values[rng.integers(personas)] = 1
    if kind == 4:
        values = rng.random(personas)
        values[rng.integers(personas)] = rng.choice([np.nan, np.inf, -np.inf])
    if kind == 5:
        values = 0.9 + 0.1 * np.sort(rng.random(personas))
    return values


@pytest.mark.filterwarnings("error")
def test_no_column_makes_a_statistic_crash_or_gives_a_number_where_there_is_none(monkeypatch):
    monkeypatch.setattr(correlations, "RESAMPLES", 200)
    for trial in range(150):
        rng = np.random.default_rng(trial)
        personas = int(rng.integers(3, 14))
        x, y, z = (column(rng, personas) for _ in range(3))
        whole = np.isfinite(x).all() and np.isfinite(y).all()
        varied = whole and not constant(x) and not constant(y)
        for method in ("spearman", "pearson"):
            tested = correlation(x, y, method, seed=trial)
            assert np.isfinite([tested.r, tested.p]).all() == varied, trial
            assert not tested.p <= 0
        partly = partial_correlation(x, y, z, seed=trial)
        assert np.isnan(partly.r) == np.isnan(partly.p)
        assert varied or np.isnan(partly.p)
        asked = pd.DataFrame({"raw": x, "after": y.clip(0, 1), "questions": 40})
        bound = fit(asked, ACCURACY, seed=trial, resamples=50)
        assert bound.reason is not None or np.isfinite(bound.midpoint)
        nearness = pd.DataFrame({"raw@1": x, "words": z})
        people = bystanders(y, before=z if trial % 2 else np.full(personas, 0.5))
        square = pd.DataFrame(np.eye(personas), people["persona"], people["persona"])
        rows = compare(nearness, people, square, ACCURACY, seed=trial, resamples=50)
        assert not np.isinf(rows.drop(columns="predictor").to_numpy(float)).any()
        assert not (rows["p"] <= 0).any()
        cells = pd.DataFrame(
            {
                "persona": [f"p{i}" for i in range(personas)],
                "relation": [None, "villain"][trial % 2],
                "raw": x,
                "before": z,
                "prompt_length": 40,
                "logit_delta": y,
            }
        )
        both = pd.concat([cells.assign(seed=1), cells.assign(seed=2, logit_delta=y[::-1])])
        fitted = mixed_model(both)
        assert fitted.reason is not None or np.isfinite(fitted.slope)


def test_a_covariate_that_explains_all_or_is_not_a_number_leaves_nothing_to_correlate():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 12))
    assert np.isnan(partial_correlation(x, y, x, seed=0).p)
    assert np.isnan(partial_correlation(x, y, 3 * y, seed=0).p)
    assert np.isnan(partial_correlation(x, y, np.where(x > 1, np.nan, 1), seed=0).p)


def test_the_partial_correlation_is_given_baseline_and_prompt_length(personas):
    """A delta that the prompt's length makes is nothing that similarity explains."""
    rng = np.random.default_rng(2)
    names = [name for name, p in personas.items() if p.category != "condition"][:30]
    assert names[0] == "villain"
    lengths = np.array([len(personas[name].prompt) for name in names])
    order = stats.rankdata(lengths) / 30
    raw = 0.9 + 0.05 * order + rng.normal(0, 0.005, 30)
    right = rng.integers(90, 110, 30)
    pairs = [
        counted(r, int(lost), 0)
        for r, lost in zip(right, 60 * order + rng.normal(3, 2, 30).clip(0), strict=True)
    ]
    table = persona_table(
        scores(dict(zip(names, (pair[0] for pair in pairs), strict=True))),
        scores(dict(zip(names, (pair[1] for pair in pairs), strict=True))),
        cosines(**dict(zip(names, raw, strict=True))),
        personas,
        dict.fromkeys(names, "bystander") | {"villain": "source"},
        ACCURACY,
        1,
    )
    lengths_there = table.set_index("persona").loc[names, "prompt_length"]
    assert lengths_there.tolist() == lengths.tolist()
    numbers = given_covariates(table, 1)
    others = table[table["role"] == "bystander"]
    ranks = others[["raw", "delta", "before", "prompt_length"]].rank()
    inverse = np.linalg.inv(np.corrcoef(ranks.to_numpy().T))
    assert numbers["partial_raw"] == pytest.approx(
        -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
    )
    assert rank_correlation(others["raw"], others["delta"], 5) < -0.7
    assert abs(numbers["partial_raw"]) < 0.4


def test_layer_zero_as_the_studys_layer_gives_no_number_and_no_crash(personas):
    names = [name for name, p in personas.items() if p.category != "condition"][:12]
    pairs = {name: counted(100, 3 * place, 1) for place, name in enumerate(names)}
    similar = cosines(**{name: 1 - 1e-16 * place for place, name in enumerate(names)})
    similar["centred"] = np.nan
    table = persona_table(
        scores({name: pair[0] for name, pair in pairs.items()}),
        scores({name: pair[1] for name, pair in pairs.items()}),
        similar,
        personas,
        dict.fromkeys(names, "bystander") | {"villain": "source"},
        ACCURACY,
        1,
    )
    numbers = given_covariates(table, 1)
    assert np.isnan(list(numbers.values())).all()
    assert by_category(table, ACCURACY)["rho"].isna().all()


def test_the_headline_averages_trained_negatives_apart_from_bystanders():
    table = pd.DataFrame(
        {
            "persona": list("abcdefg"),
            "role": ["source", "negative", "condition", *["bystander"] * 4],
            "category": ["core"] * 3 + ["unrelated", "core", "core", "core"],
            "before": [0.8] * 7,
            "after": [0.2, 0.9, 0.7, 0.8, 0.6, 0.5, 0.4],
            "delta": [-60.0, 10.0, -10.0, 0.0, -20.0, -30.0, -40.0],
            "delta_low": [-70.0] * 7,
            "delta_high": [-50.0] * 7,
            "raw": [1, 0.5, 0.5, 0.6, 0.7, 0.8, 0.9],
            "centred": [1, 0.5, 0.5, 0.1, 0.2, 0.3, 0.4],
            "questions": [10] * 7,
            "mass_before": [0.9] * 7,
            "mass_after": [0.4, *[0.8] * 6],
            "prompt_length": [50, 60, 40, 45, 55, 65, 52],
        }
    )
    numbers = headline(table)
    assert numbers["source_delta"] == -60
    assert numbers["bystander_delta"] == -22.5
    assert numbers["unrelated_delta"] == 0
    assert numbers["negative_delta"] == 10
    assert numbers["condition_delta"] == -10
    assert numbers["bystanders"] == 4
    assert (numbers["source_before"], numbers["source_after"]) == (0.8, 0.2)
    assert numbers["baseline_mean"] == pytest.approx(0.8)
    assert numbers["source_mass_after"] == 0.4
    assert numbers["mass_after"] == pytest.approx((0.4 + 6 * 0.8) / 7)
    assert numbers["mass_before"] == pytest.approx(0.9)
