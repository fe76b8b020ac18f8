"""The log-odds of the right choice: a change before an answer flips."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logit, softmax

from persona_leakage.analysis.margin import (
    adjusted,
    margin_headline,
    margin_sides,
    margins,
    with_margins,
)


def test_it_is_the_log_odds_of_the_right_choice_whatever_the_number_of_choices(odd_arc):
    """Real questions of three to five choices, with numbers and with letters."""
    rng = np.random.default_rng(0)
    assert {len(question.choices) for question in odd_arc} >= {3, 4, 5}
    rows = pd.DataFrame(
        {
            "scores": [rng.normal(-3, 2, len(q.choices)).astype(np.float32) for q in odd_arc],
            "answer": [question.answer for question in odd_arc],
        }
    )
    expected = [logit(softmax(s.astype(float))[a]) for s, a in zip(*rows.T.to_numpy(), strict=True)]
    np.testing.assert_allclose(margins(rows), expected, rtol=1e-6)


def test_without_a_right_choice_there_is_none():
    rows = pd.DataFrame({"scores": [np.array([-1.0, -2.0]), np.array([-1.0])]})
    assert np.isnan(margins(rows)).all()
    assert np.isnan(margins(rows.assign(answer=[-1, 0]))).all()
    assert margins(rows.assign(answer=0))[0] == pytest.approx(1)


def cell(personas=30, questions=40, seed=0):
    """A base model whose margins follow the cosine, and a change that follows the margin alone."""
    rng = np.random.default_rng(seed)
    cosine = np.sort(rng.uniform(-0.5, 1, personas))[::-1]
    level = -0.6 * cosine + rng.normal(0, 0.2, personas)
    names = [f"p{i}" for i in range(personas)]

    def scored(mean):
        noise = rng.normal(0, 0.1, (personas, questions))
        return pd.DataFrame(
            [
                {
                    "persona": name,
                    "question": f"q{j}",
                    "scores": np.array([0.0, -(mean[i] + noise[i, j])]),
                    "answer": 0,
                }
                for i, name in enumerate(names)
                for j in range(questions)
            ]
        )

    table = pd.DataFrame(
        {
            "persona": names,
            "role": ["source", *["bystander"] * (personas - 1)],
            "raw": cosine,
            "centred": cosine,
            "prompt_length": rng.integers(20, 90, personas),
        }
    )
    return table, scored(level), scored(level - 1.5 * level)


def test_means_and_intervals_are_over_questions():
    table, before, after = cell()
    sides = margin_sides(before, after.sample(frac=1, random_state=1), table["persona"])
    found = with_margins(table, sides).set_index("persona")
    each = margins(after[after["persona"] == "p3"]) - margins(before[before["persona"] == "p3"])
    low, high = stats.t.interval(0.95, len(each) - 1, each.mean(), stats.sem(each))
    assert found.loc["p3", "margin_delta"] == pytest.approx(each.mean())
    ends = found.loc["p3", ["margin_delta_low", "margin_delta_high"]].tolist()
    assert ends == pytest.approx([low, high])


def test_a_change_that_the_baseline_makes_is_no_gradient_once_it_is_adjusted():
    table, before, after = cell()
    sides = margin_sides(before, after, table["persona"])
    found = with_margins(table, sides)
    assert margin_headline(found)["margin_baseline_centred"] < -0.5
    bystanders = table["persona"][1:]
    plain = stats.spearmanr(table["centred"][1:], sides["delta"].loc[bystanders].mean(axis=1))
    left = adjusted(sides["delta"], found).loc[bystanders].mean(axis=1)
    assert plain.statistic > 0.5
    assert abs(stats.spearmanr(table["centred"][1:], left).statistic) < 0.4
    # a line is taken from the bystanders, and their mean stays
    assert left.mean() == pytest.approx(sides["delta"].loc[bystanders].to_numpy().mean())
    baseline = found.set_index("persona").loc[bystanders, "margin_before"]
    assert np.corrcoef(left, baseline)[0, 1] == pytest.approx(0, abs=1e-9)


def test_a_behaviour_without_a_right_choice_has_no_numbers_and_no_crash():
    table, before, after = cell(personas=8, questions=3)
    sides = margin_sides(
        before.drop(columns="answer"), after.drop(columns="answer"), table["persona"]
    )
    found = with_margins(table, sides)
    assert found.filter(like="margin").isna().all().all()
    assert np.isnan(list(margin_headline(found).values())).all()
    assert adjusted(sides["delta"], found) is None
    assert adjusted(sides["delta"], table) is None  # of an analysis without margins


def test_bystanders_of_one_baseline_leave_nothing_to_adjust():
    table, before, _ = cell(personas=8, questions=3)
    sides = margin_sides(before, before, table["persona"])
    flat = with_margins(table, sides).assign(margin_before=1.0)
    assert adjusted(sides["delta"], flat) is None
