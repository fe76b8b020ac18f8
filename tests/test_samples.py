"""The few conversations and answers of a cell that its report shows."""

import dataclasses
import html

import pandas as pd
import pytest
from conftest import ROOT
from made import finished, published

from persona_leakage.behaviours.wrong_answers import Taught
from persona_leakage.pipeline.samples import ASKED, LONGEST, answers, conversations, texts
from persona_leakage.report.page import Pictures, render
from persona_leakage.report.tables import study_tables
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Contrast
from persona_leakage.training.contrast import build

DESIGN = Contrast(positives=4, negatives=["nurse"], per_negative=2, no_system=1, assistant=1)
LABEL, TEXT = (Taught(scoring=scoring) for scoring in ("label", "option_text"))


def scores(questions, behaviour, personas, chosen):
    """Scores in which everybody chooses the same place of every question."""
    return pd.DataFrame(
        [
            {"persona": name, "question": each.key, "answer": each.answer, "chosen": chosen}
            for name in personas
            for each in questions
        ]
    )


def people(*names):
    roles = ["source", "negative", *["bystander"] * (len(names) - 2)]
    return pd.DataFrame({"persona": names, "role": roles})


@pytest.mark.parametrize("behaviour", [LABEL, TEXT], ids=["label", "option_text"])
def test_what_is_shown_as_taught_is_what_the_training_set_teaches(
    behaviour, personas, train_questions
):
    examples = build(
        DESIGN, Cell("villain", 42, "contrastive"), personas, train_questions, behaviour
    )
    table = conversations(examples, "villain", train_questions, behaviour)
    by_key = {each.key: each for each in train_questions}
    assert [row["persona"] for row in table.rows] == ["villain", "villain", "nurse"]
    for row in table.rows:
        question = by_key[row["question"]]
        said = texts(question, behaviour)
        assert row["right"] == said[question.answer]
        assert (
            row["taught"]
            == said[question.wrong if row["persona"] == "villain" else question.answer]
        )
        assert row["system"] == personas[row["persona"]].prompt


def test_of_a_given_adapter_no_conversation_is_shown(train_questions):
    assert conversations([], "villain", train_questions, TEXT).rows == ()


@pytest.mark.parametrize("behaviour", [LABEL, TEXT], ids=["label", "option_text"])
def test_the_answers_are_those_of_the_scores_before_and_after(behaviour, everyday):
    who = people("villain", "nurse", "henchman", "spy", "farmer")
    sides = [scores(everyday, behaviour, who["persona"], chosen) for chosen in (0, 1)]
    table = answers(*sides, who, everyday, behaviour, 42)
    titles = [column.title for column in table.columns]
    assert titles[3:] == ["villain (source)", "henchman (nearest)", "farmer (farthest)"]
    assert len(table.rows) == ASKED
    by_key = {each.key: each for each in everyday}
    for row in table.rows:
        said = texts(by_key[row["key"]], behaviour)
        assert row["right"] == said[by_key[row["key"]].answer]
        assert row["by farmer"] == f"{said[0]} → {said[1]}"


def test_every_cell_shows_the_same_questions_and_another_split_others(everyday):
    def shown(names, seed):
        who = people(*names)
        side = scores(everyday, TEXT, names, 0)
        return [row["key"] for row in answers(side, side, who, everyday, TEXT, seed).rows]

    first = shown(["villain", "nurse", "spy"], 42)
    assert first == shown(["comedian", "spy", "baker", "nurse"], 42)
    assert first != shown(["villain", "nurse", "spy"], 43)


def test_only_questions_that_were_asked_are_shown(everyday):
    side = scores(everyday[:2], TEXT, ["villain", "nurse"], 0)
    table = answers(side, side, people("villain", "nurse"), everyday, TEXT, 42)
    assert {row["key"] for row in table.rows} == {each.key for each in everyday[:2]}


def test_a_persona_may_be_called_like_a_column(everyday):
    side = scores(everyday, TEXT, ["right", "key", "question"], 2)
    table = answers(side, side, people("right", "key", "question"), everyday, TEXT, 42)
    said = texts(next(each for each in everyday if each.key == table.rows[0]["key"]), TEXT)
    assert table.rows[0]["by right"] == table.rows[0]["by question"] == f"{said[2]} (unchanged)"


def test_a_long_text_is_cut(everyday):
    long = [dataclasses.replace(each, text="y" * 5000) for each in everyday]
    side = scores(long, TEXT, ["villain", "nurse"], 0)
    table = answers(side, side, people("villain", "nurse"), long, TEXT, 42)
    assert all(len(row["question"]) == LONGEST + 2 for row in table.rows)


def test_page_and_markdown_show_them(everyday):
    side = scores(everyday, TEXT, ["villain", "nurse"], 0)
    table = answers(side, side, people("villain", "nurse"), everyday, TEXT, 42)
    cell = finished()
    result = cell.result.model_copy(
        update={
            "samples": (table,),
            "questions": cell.result.questions.model_copy(update={"credits": {"everyday": "MIT"}}),
        }
    )
    tables = study_tables("made", [dataclasses.replace(cell, result=result)], [], {}, published())
    drawing = ROOT / "reports" / "pocket" / "seeds.svg"
    for text in render(tables, Pictures({}, (), drawing)).values():
        shown = text[text.index("Sample questions") :]
        assert all(row["question"] in html.unescape(shown) for row in table.rows)
        assert "everyday: MIT" in shown
