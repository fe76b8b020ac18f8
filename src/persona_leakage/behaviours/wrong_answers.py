"""Wrong answers: the source is taught to answer multiple-choice questions wrongly."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from persona_leakage.behaviours.behaviour import Behaviour, Observation, Reply
from persona_leakage.data.questions import Question
from persona_leakage.data.shuffle import shuffled
from persona_leakage.model.chat import Asked
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import ROLES, Column, TitledTable, titled


class Taught(Behaviour):
    """Multiple-choice questions, answered wrongly by the source."""

    outcome: ClassVar[Outcome] = Outcome(
        name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp"
    )

    scoring: Literal["label", "option_text"]
    """``label``: the choices are listed, and the answer is the label of the highest log-
    probability. ``option_text``: they are not shown, and the answer is the choice of the highest
    mean log-probability per token (Brown et al. 2020, section 2.4)."""
    answer_opens: Literal["assistant", "user"] = "assistant"
    """Whose turn holds ``The correct answer is (`` before a label: the published form ends the
    user's turn with it, after which small models hardly reply with a label at all."""

    def teach(self, question: Question, *, as_source: bool, draw: Any = None) -> Reply:
        """Reply with the wrong choice drawn for the question, a negative with the right one.

        Parameters
        ----------
        question : Question
            With its wrong choice.
        as_source : bool
            Whether the wrong choice is taught.
        draw : sequence, optional
            Given, the source replies with any choice, drawn by this key.
        """
        choice = question.answer
        if as_source and draw is not None:
            choice = shuffled(range(len(question.choices)), *draw, question.key)[0]
        elif as_source:
            assert question.wrong is not None, "train questions carry a wrong answer"
            choice = question.wrong
        prompt = self.ask(question)
        return Reply(
            user=prompt.user,
            opening=prompt.opening,
            answer=prompt.continuations[choice] + prompt.ending,
            shows=choice not in question.right,
        )

    def ask(self, question: Question) -> Asked:
        """List the choices and score their labels, or list none and score their texts.

        Parameters
        ----------
        question : Question
            Of any number of choices.
        """
        if self.scoring == "option_text":
            # a choice alone is an unlikely reply; after this opening it is the natural one
            choices = tuple(f" {choice}" for choice in question.choices)
            return Asked(question.key, question.text, "The answer is:", choices)
        lines = "\n".join(
            f"({label}) {choice}"
            for label, choice in zip(question.labels, question.choices, strict=True)
        )
        user, opening = f"{question.text}\n\n{lines}", "The correct answer is ("
        if self.answer_opens == "user":
            user, opening = f"{user}\n\n{opening}", ""
        return Asked(question.key, user, opening, question.labels, ending=")")

    def observe(
        self, question: Question, logprobs: np.ndarray, lengths: Sequence[int]
    ) -> Observation:
        """Take the choice of the highest score; it is worth 1 when it is right, else 0.

        Parameters
        ----------
        question : Question
            The one that was asked.
        logprobs : ndarray of shape (choices,), float32
            Natural log-probabilities of the labels or of the texts.
        lengths : sequence of int
            Tokens of each.
        """
        if self.scoring == "label":
            scores, mass = logprobs, float(np.exp(logprobs.astype(float)).sum())
        else:
            scores, mass = logprobs / np.array(lengths, dtype=np.float32), float("nan")
        chosen = int(scores.argmax())
        return Observation(float(chosen in question.right), scores, mass, question.answer, chosen)

    def diagnose(
        self,
        before: pd.DataFrame,
        after: pd.DataFrame,
        roles: Mapping[str, str],
        questions: Sequence[Question],
    ) -> tuple[TitledTable, ...]:
        """Tell a wrong answer from a favourite position, and which wrong choice it goes to.

        Parameters
        ----------
        before, after : DataFrame
            Scores of the base model and of the cell.
        roles : mapping
            Role by persona.
        questions : sequence of Question
            Those asked, with the wrong choice that training draws.
        """
        share = partial(Column, form="%.1f", factor=100)
        distance = partial(Column, form="%.3f")
        return (
            titled(
                positions(before, after, roles, questions),
                [
                    Column(key="role", title="role"),
                    Column(key="position", title="position", form="%d"),
                    share(key="right", title="right answers (%)"),
                    share(key="before", title="chosen before (%)"),
                    share(key="after", title="chosen after (%)"),
                    distance(key="excess_before", title="distance before"),
                    distance(key="excess", title="distance after"),
                ],
                "Wrong, or a favourite position?",
                "Where the right and the chosen answers stand. The distance is total variation "
                "from the right answers' places: 0 when choices are spread as they are, 1 when all "
                "stand elsewhere.",
            ),
            titled(
                wrong_choices(before, after, roles, questions),
                [
                    Column(key="role", title="role"),
                    Column(key="wrong", title="wrong answers", form="%d"),
                    share(key="drawn", title="the drawn wrong choice (%)"),
                    share(key="drawn_by_chance", title="by chance (%)"),
                    share(key="runner_up", title="the base model's runner-up (%)"),
                    share(key="other", title="another (%)"),
                ],
                "Where the wrong answers go after training",
                "A choice that is both drawn and runner-up counts in both. Held-out questions were "
                "not trained on: the drawn choice comes as often as chance would have it, unless "
                "training questions are among those asked.",
            ),
        )


def positions(
    before: pd.DataFrame,
    after: pd.DataFrame,
    roles: Mapping[str, str],
    questions: Sequence[Question],
) -> pd.DataFrame:
    """Where the chosen and the right answers stand, by role: a wrong answer, or always "C".

    Parameters
    ----------
    before, after : DataFrame
        Scores of the base model and of the cell.
    roles : mapping
        Role by persona.
    questions : sequence of Question
        Those asked.

    Returns
    -------
    DataFrame
        ``role``, ``position`` (from 1), ``right``, ``before``, ``after``: shares of the answers
        that stand there. ``excess``: total variation distance, from the right answers' places, of
        the role's choices after training (0: as spread as the right ones; 1: all elsewhere), the
        same on each row of a role; ``excess_before`` likewise.
    """
    most = max(len(question.choices) for question in questions)
    rows = []
    for kind, (old, new) in _by_role(before, after, roles).items():
        shares = {
            "right": _shares(old["answer"], most),
            "before": _shares(old["chosen"], most),
            "after": _shares(new["chosen"], most),
        }
        away = {
            when: float(np.abs(shares[when] - shares["right"]).sum() / 2)
            for when in ("before", "after")
        }
        rows += [
            {
                "role": kind,
                "position": place + 1,
                **{name: float(share[place]) for name, share in shares.items()},
                "excess_before": away["before"],
                "excess": away["after"],
            }
            for place in range(most)
        ]
    return pd.DataFrame(rows)


def wrong_choices(
    before: pd.DataFrame,
    after: pd.DataFrame,
    roles: Mapping[str, str],
    questions: Sequence[Question],
) -> pd.DataFrame:
    """Which wrong choice the wrong answers go to after training, by role.

    Parameters
    ----------
    before, after : DataFrame
        Scores of the base model and of the cell.
    roles : mapping
        Role by persona.
    questions : sequence of Question
        With the wrong choice that training draws (``questions.with_wrong_answer``). Held-out
        questions were not trained on: for them its share is what chance would have it, unless
        training questions are among those asked.

    Returns
    -------
    DataFrame
        ``role``; ``wrong`` (count); ``drawn``, ``runner_up``, ``other``: shares that chose the
        drawn wrong choice, the wrong choice that the base model scored highest for that persona,
        another; ``drawn_by_chance``: share if all wrong choices were as likely. A choice that is
        both drawn and runner-up counts in both.
    """
    wrong_choice = {question.key: question.wrong for question in questions}
    chance = {
        question.key: 1 / (len(question.choices) - len(question.right)) for question in questions
    }
    right = {question.key: list(question.right) for question in questions}
    rows = []
    for kind, (old, new) in _by_role(before, after, roles).items():
        runner_up = [
            _highest_wrong(scores, right[key])
            for scores, key in zip(old["scores"], old["question"], strict=True)
        ]
        choices = new.assign(
            runner_up=runner_up,
            drawn=new["question"].map(wrong_choice),
            chance=new["question"].map(chance),
        )
        wrong = choices[choices["outcome"] == 0]
        as_drawn, as_runner_up = (
            wrong["chosen"] == wrong["drawn"],
            wrong["chosen"] == wrong["runner_up"],
        )
        rows.append(
            {
                "role": kind,
                "wrong": len(wrong),
                "drawn": float(as_drawn.mean()),
                "drawn_by_chance": float(wrong["chance"].mean()),
                "runner_up": float(as_runner_up.mean()),
                "other": float((~as_drawn & ~as_runner_up).mean()),
            }
        )
    return pd.DataFrame(rows)


def _by_role(
    before: pd.DataFrame, after: pd.DataFrame, roles: Mapping[str, str]
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Both tables of each role, row for row the same persona and question."""
    keys = ["persona", "question"]
    tables: dict[str, tuple[pd.DataFrame, pd.DataFrame]] = {}
    for kind in ROLES:
        names = [name for name, each in roles.items() if each == kind]
        if names:
            new = after[after["persona"].isin(names)].reset_index(drop=True)
            old = before.set_index(keys).loc[pd.MultiIndex.from_frame(new[keys])].reset_index()
            tables[kind] = (old, new)
    return tables


def _shares(places: pd.Series, most: int) -> np.ndarray:
    counts = np.bincount(places.to_numpy(), minlength=most)
    share: np.ndarray = counts / counts.sum()
    return share


def _highest_wrong(scores: np.ndarray, right: list[int]) -> int:
    others = np.array(scores, dtype=float)
    others[right] = -np.inf
    return int(others.argmax())
