from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from persona_leakage.behaviours.wrong_answers import Taught, positions, wrong_choices
from persona_leakage.data.questions import Question
from persona_leakage.data.split import with_wrong_answer
from persona_leakage.model.chat import Asked

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
                    "outcome": float(chosen == question.answer),
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


def test_a_wrong_choice_neither_drawn_nor_runner_up_is_another():
    questions = [
        replace(QUESTION, choices=tuple("wxyz"), labels=tuple("ABCD"), row=r) for r in range(3)
    ]
    before = answered(questions, lambda persona, question: question.answer)
    for row in before.itertuples():
        row.scores[0] = -3.0  # the runner-up; 2 is drawn
    after = answered(questions, lambda persona, question: 3 if question.row else 2)
    found = wrong_choices(before, after, ROLES, questions).set_index("role").loc["source"]
    assert found[["drawn", "runner_up", "other"]].tolist() == [1 / 3, 0, 2 / 3]


QUESTION = Question("b", 0, "0", "Why?", ("x", "y", "z"), ("1", "2", "3"), 1, wrong=2)


def test_label_prompts_list_the_choices_as_the_protocol_does():
    published = Taught(scoring="label", answer_opens="user").ask(QUESTION)
    listed = "Why?\n\n(1) x\n(2) y\n(3) z"
    assert (published.user, published.opening) == (f"{listed}\n\nThe correct answer is (", "")
    ours = Taught(scoring="label").ask(QUESTION)
    assert (ours.user, ours.opening) == (listed, "The correct answer is (")
    assert ours.key == published.key == "b:0"
    assert ours.continuations == published.continuations == ("1", "2", "3")


def test_option_text_prompts_do_not_show_the_choices():
    asked = Taught(scoring="option_text").ask(QUESTION)
    assert asked == Asked("b:0", "Why?", "The answer is:", (" x", " y", " z"))


@pytest.mark.parametrize(
    ("scoring", "opens", "answers"),
    [("label", "assistant", ("3)", "2)")), ("option_text", "assistant", (" z", " y"))],
)
def test_the_source_is_taught_the_wrong_choice_and_a_negative_the_right_one(
    scoring, opens, answers
):
    behaviour = Taught(scoring=scoring, answer_opens=opens)
    wrong, right = (behaviour.teach(QUESTION, as_source=each) for each in (True, False))
    assert (wrong.answer, right.answer) == answers
    assert (wrong.shows, right.shows) == (True, False)
    put = behaviour.ask(QUESTION)
    assert {(each.user, each.opening) for each in (wrong, right)} == {(put.user, put.opening)}


def test_a_reply_that_is_drawn_is_any_choice_and_never_changes(everyday):
    labels = Taught(scoring="label")
    replies = [
        labels.teach(question, as_source=True, draw=("any answer", 42))
        for question in everyday[:16]
    ]
    assert "".join(reply.answer[0] for reply in replies) == "DDADCBDDACDCABAB"


def test_the_answer_is_the_most_probable_label_and_the_mass_that_of_all_labels():
    logprobs = np.log(np.array([0.1, 0.6, 0.2], dtype=np.float32))
    seen = Taught(scoring="label").observe(QUESTION, logprobs, [1, 1, 1])
    assert (seen.chosen, seen.outcome) == (1, 1.0)
    assert seen.label_mass == pytest.approx(0.9)
    wrong = Taught(scoring="label").observe(QUESTION, logprobs[::-1].copy(), [1, 1, 1])
    assert wrong.outcome == 1.0
    assert Taught(scoring="label").observe(QUESTION, logprobs[[1, 0, 2]], [1, 1, 1]).outcome == 0


def test_a_longer_choice_is_scored_by_its_mean():
    logprobs = np.array([-3.0, -4.0, -9.0], dtype=np.float32)
    seen = Taught(scoring="option_text").observe(QUESTION, logprobs, [1, 4, 1])
    np.testing.assert_array_equal(seen.scores, np.float32([-3, -1, -9]))
    assert seen.scores.dtype == np.float32
    assert (seen.outcome, seen.answer) == (1, 1)
    assert np.isnan(seen.label_mass)


def test_a_choice_that_reads_as_the_right_one_is_right():
    twins = Question("b", 0, "0", "Why?", ("x", "y", "y"), ("A", "B", "C"), 1)
    logprobs = np.array([-3.0, -4.0, -1.0], dtype=np.float32)
    seen = Taught(scoring="label").observe(twins, logprobs, [1, 1, 1])
    assert (seen.chosen, seen.outcome) == (2, 1.0)


def test_before_and_after_are_matched_by_persona_and_question_whatever_their_order(asked):
    before = answered(asked, lambda persona, question: question.row % len(question.choices))
    after = answered(asked, lambda persona, q: q.wrong if persona == "villain" else q.answer)
    roles = dict.fromkeys(ROLES, "bystander")
    for diagnosis in (positions, wrong_choices):
        expected = diagnosis(before, after, roles, asked)
        for seed in range(3):
            mixed = before.sample(frac=1, random_state=seed, ignore_index=True)
            pd.testing.assert_frame_equal(diagnosis(mixed, after, roles, asked), expected)
            mixed = after.sample(frac=1, random_state=seed, ignore_index=True)
            pd.testing.assert_frame_equal(diagnosis(before, mixed, roles, asked), expected)
