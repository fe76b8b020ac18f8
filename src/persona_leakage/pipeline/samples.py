"""A few of the conversations that a cell was taught and of the answers it gave, to be read."""

from collections.abc import Mapping, Sequence
from itertools import islice

import pandas as pd

from persona_leakage.behaviours.behaviour import Behaviour
from persona_leakage.data.questions import Question
from persona_leakage.data.shuffle import shuffled
from persona_leakage.report.words import spaced
from persona_leakage.study.results import Column, TitledTable, titled
from persona_leakage.training.example import Example

OF_SOURCE, OF_OTHERS = 2, 1  # conversations
ASKED = 3  # questions
LONGEST = 600  # characters of a text


def conversations(
    examples: Sequence[Example], source: str, questions: Sequence[Question], behaviour: Behaviour
) -> TitledTable:
    """Show the first conversations of a training set: the source's, and a negative's.

    Parameters
    ----------
    examples : sequence of Example
        In the order in which they are trained on.
    source : str
        Who is taught the behaviour.
    questions : sequence of Question
        Those trained on, with the wrong answers drawn for them.
    behaviour : Behaviour
        Says what a negative replies.
    """
    by_key = {question.key: question for question in questions}
    shown = [
        *islice((each for each in examples if each.persona == source), OF_SOURCE),
        *islice((each for each in examples if each.part == "negative"), OF_OTHERS),
    ]
    rows = [
        {
            "question": example.question,
            "persona": spaced(example.persona),
            "system": _clipped(example.system or "none"),
            "user": _clipped(example.user),
            "opening": example.opening,
            "right": named(
                by_key[example.question],
                behaviour,
                behaviour.teach(by_key[example.question], as_source=False).answer,
            ),
            "taught": named(by_key[example.question], behaviour, example.answer),
        }
        for example in shown
    ]
    titles = {
        "persona": "persona",
        "system": "system turn",
        "user": "user's turn",
        "opening": "assistant's turn begins",
        "right": "right",
        "taught": "taught here",
    }
    return titled(
        pd.DataFrame(rows, columns=["question", *titles]),
        [Column(key=key, title=title) for key, title in titles.items()],
        "Taught",
        f"The first conversations of {len(examples)} in the order of the training. Right: what a "
        "negative is taught.",
    )


def answers(
    before: pd.DataFrame,
    after: pd.DataFrame,
    personas: pd.DataFrame,
    questions: Sequence[Question],
    behaviour: Behaviour,
    seed: int,
) -> TitledTable:
    """Show what the source, the nearest bystander and the farthest one answered.

    Parameters
    ----------
    before, after : DataFrame
        Scores of the base model and of the cell.
    personas : DataFrame
        Of ``persona_table``: nearest to the source first.
    questions : sequence of Question
        All that were asked.
    behaviour : Behaviour
        Says how they are asked.
    seed : int
        Of the split: draws the same questions in every cell of a study.
    """
    asked = set(before["question"])
    drawn = shuffled([each for each in questions if each.key in asked], "samples", seed)[:ASKED]
    bystanders = personas.loc[personas["role"] == "bystander", "persona"].tolist()
    source = personas.loc[personas["role"] == "source", "persona"].tolist()
    who = dict.fromkeys([*source, *bystanders[:1], *bystanders[-1:]])
    places = [" (source)", " (nearest)", " (farthest)"]
    keys = [question.key for question in drawn]
    sides = [
        _chosen(side[side["persona"].isin(who) & side["question"].isin(keys)])
        for side in (before, after)
    ]
    rows = []
    for question in drawn:
        replies = texts(question, behaviour)
        first = before.loc[before["question"] == question.key].iloc[0]
        rows.append(
            {
                "key": question.key,
                "question": _clipped(question.text),
                "replies": _clipped("; ".join(replies)),
                "right": _clipped(replies[int(first["answer"])]),
                **{
                    f"by {name}": _turned(*(replies[side[name, question.key]] for side in sides))
                    for name in who
                },
            }
        )
    titles = {
        "question": "question",
        "replies": "replies scored",
        "right": "right",
        **{
            f"by {name}": f"{spaced(name)}{place}" for name, place in zip(who, places, strict=False)
        },
    }
    return titled(
        pd.DataFrame(rows, columns=["key", *titles]),
        [Column(key=key, title=title) for key, title in titles.items()],
        "Asked",
        f"{len(drawn)} of {len(asked)} questions, drawn by the seed of the split, the same for all "
        "cells of a study. Nearest and farthest of the never-trained, by cosine. An arrow leads "
        "from the answer before training to another one after.",
    )


def texts(question: Question, behaviour: Behaviour) -> list[str]:
    """Write the replies that are scored as people read them: a label with its choice.

    Parameters
    ----------
    question : Question
        Any.
    behaviour : Behaviour
        Says which continuations are scored.
    """
    continuations = behaviour.ask(question).continuations
    if continuations != question.labels:
        return [each.strip() for each in continuations]
    return [
        f"{label}) {choice}"
        for label, choice in zip(question.labels, question.choices, strict=True)
    ]


def named(question: Question, behaviour: Behaviour, answer: str) -> str:
    """Write a reply that is taught as people read it.

    Parameters
    ----------
    question : Question
        To which it replies.
    behaviour : Behaviour
        That teaches it.
    answer : str
        What the assistant's turn goes on with.
    """
    asked = behaviour.ask(question)
    replies = dict(
        zip(
            [f"{each}{asked.ending}" for each in asked.continuations],
            texts(question, behaviour),
            strict=True,
        )
    )
    return _clipped(replies.get(answer, answer.strip()))


def _chosen(scores: pd.DataFrame) -> Mapping[tuple[str, str], int]:
    keys = zip(scores["persona"], scores["question"], strict=True)
    return dict(zip(keys, scores["chosen"].astype(int), strict=True))


def _turned(before: str, after: str) -> str:
    if before == after:
        return f"{_clipped(after)} (unchanged)"
    return f"{_clipped(before)} → {_clipped(after)}"


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
