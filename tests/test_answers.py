import numpy as np
import pandas as pd
import pytest

from persona_leakage.behaviours.error_modes import positions, wrong_choices
from persona_leakage.data.split import with_wrong_answer

ROLES = {"villain": "source", "spy": "bystander"}


@pytest.fixture
def asked(everyday):
    return [with_wrong_answer(question, 42) for question in everyday[:80]]


def answered(asked, choose):
    rows = []
    for persona in ROLES:
        for question in asked:
            chosen = choose(persona, question)
            scores = np.full(len(question.choices), -9.0)
            scores[chosen], scores[question.answer] = -1.0, max(scores[question.answer], -2.0)
            scores[chosen] = -1.0
            rows.append(
                {
                    "persona": persona,
                    "question": question.key,
                    "answer": question.answer,
                    "chosen": chosen,
                    "correct": chosen == question.answer,
                    "scores": scores,
                }
            )
    return pd.DataFrame(rows)


def test_a_source_that_always_picks_c_is_told_from_one_that_picks_wrong(asked):
    right = answered(asked, lambda persona, question: question.answer)
    picks_c = answered(asked, lambda persona, q: 2 if persona == "villain" else q.answer)
    found = positions(right, picks_c, ROLES, asked).set_index(["role", "position"])
    assert found.loc[("source", 3), "after"] == 1
    share = np.mean([question.answer == 2 for question in asked])
    assert found.loc[("source", 3), "right"] == pytest.approx(share)
    assert found.loc[("source", 1), "excess"] == pytest.approx(1 - share)
    assert found.loc[("source", 1), "excess_before"] == 0
    assert found.loc[("bystander", 1), "excess"] == 0
    sums = found.groupby("role")[["right", "before", "after"]].sum()
    np.testing.assert_allclose(sums, 1)


def test_wrong_answers_are_told_apart_by_the_choice_they_go_to(asked):
    before = answered(asked, lambda persona, question: question.answer)
    after = answered(asked, lambda persona, q: q.wrong if persona == "villain" else q.answer)
    found = wrong_choices(before, after, ROLES, asked).set_index("role")
    assert found.loc["source", "wrong"] == len(asked)
    assert found.loc["source", "drawn"] == 1
    assert found.loc["source", "drawn_by_chance"] == pytest.approx(1 / 3)
    assert found.loc["bystander", "wrong"] == 0
    assert np.isnan(found.loc["bystander", "drawn"])


def test_going_to_the_base_models_second_choice_is_seen(asked):
    def second(question):
        return (question.answer + 1) % len(question.choices)

    before = answered(asked, lambda persona, question: question.answer)
    for row in before.itertuples():
        row.scores[(row.answer + 1) % len(row.scores)] = -3.0
    after = answered(asked, lambda persona, question: second(question))
    found = wrong_choices(before, after, ROLES, asked).set_index("role")
    assert (found["runner_up"] == 1).all()
    assert (found["other"] == 0).all()
