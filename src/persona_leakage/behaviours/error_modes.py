"""How the answers go wrong: towards a position, or towards a particular wrong choice."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from persona_leakage.data.questions import Question


def positions(
    before: pd.DataFrame,
    after: pd.DataFrame,
    role: Mapping[str, str],
    questions: Sequence[Question],
) -> pd.DataFrame:
    """Where the chosen and the right answers stand, by role: does it pick wrong, or pick "C"?

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
    for kind, (old, new) in _by_role(before, after, role).items():
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
    role: Mapping[str, str],
    questions: Sequence[Question],
) -> pd.DataFrame:
    """Which wrong choice the wrong answers go to after training, by role.

    Parameters
    ----------
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
    drawn = {question.key: question.wrong for question in questions}
    chance = {question.key: 1 / (len(question.choices) - 1) for question in questions}
    rows = []
    for kind, (old, new) in _by_role(before, after, role).items():
        runner_up = [
            _highest_wrong(scores, answer)
            for scores, answer in zip(old["scores"], old["answer"], strict=True)
        ]
        told = new.assign(
            runner_up=runner_up,
            drawn=new["question"].map(drawn),
            chance=new["question"].map(chance),
        )
        wrong = told[~told["correct"]]
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
    before: pd.DataFrame, after: pd.DataFrame, role: Mapping[str, str]
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Both tables of each role, row for row the same persona and question."""
    keys = ["persona", "question"]
    found = {}
    for kind in ("source", "negative", "condition", "bystander"):
        names = [name for name, each in role.items() if each == kind]
        if names:
            new = after[after["persona"].isin(names)].reset_index(drop=True)
            old = before.set_index(keys).loc[pd.MultiIndex.from_frame(new[keys])].reset_index()
            found[kind] = (old, new)
    return found


def _shares(places: pd.Series, most: int) -> np.ndarray:
    counts = np.bincount(places.to_numpy(), minlength=most)
    share: np.ndarray = counts / counts.sum()
    return share


def _highest_wrong(scores: np.ndarray, answer: int) -> int:
    others = np.array(scores, dtype=float)
    others[answer] = -np.inf
    return int(others.argmax())
