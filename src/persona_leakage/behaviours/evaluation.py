"""A persona asked every question: the table of scores that all statistics start from."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from persona_leakage.behaviours.behaviour import Behaviour
from persona_leakage.data.questions import Question
from persona_leakage.errors import InputError
from persona_leakage.model.scoring import Item


def score_table(
    persona: str,
    questions: Sequence[Question],
    made: Sequence[Item],
    logprobs: Sequence[np.ndarray],
    behaviour: Behaviour,
) -> pd.DataFrame:
    """Tabulate what a persona's replies are worth.

    Parameters
    ----------
    persona : str
        Its name.
    questions : sequence of Question
        Those asked.
    made : sequence of Item
        The questions under this persona, of ``scoring.items``.
    logprobs : sequence of ndarray of shape (continuations,), float32
        One per question, of ``scoring.continuation_logprobs``.
    behaviour : Behaviour
        Says what a reply is worth.

    Returns
    -------
    DataFrame
        One row per question: ``persona``; ``question`` (key), ``benchmark``; ``outcome``,
        ``scores``, ``label_mass``, ``answer``, ``chosen`` (of ``behaviour.Observation``);
        ``tokens`` (of the prompt and its continuations).

    Raises
    ------
    InputError
        A log-probability is not finite: the model is damaged, or its training diverged.
    """
    for question, sums in zip(questions, logprobs, strict=True):
        if not np.isfinite(sums).all():
            raise InputError(
                f"scores: {persona}, question {question.key}: a log-probability is "
                f"{sums[~np.isfinite(sums)][0]}; the weights are damaged or their training "
                "diverged, fetch the model or train the cell again"
            )
    observations = [
        behaviour.observe(question, sums, [len(ids) for ids in item.continuations])
        for question, item, sums in zip(questions, made, logprobs, strict=True)
    ]
    return pd.DataFrame(
        {
            "persona": persona,
            "question": [question.key for question in questions],
            "benchmark": [question.benchmark for question in questions],
            "outcome": [each.outcome for each in observations],
            "scores": [each.scores for each in observations],
            "label_mass": [each.label_mass for each in observations],
            "answer": [each.answer for each in observations],
            "chosen": [each.chosen for each in observations],
            "tokens": [len(item.prompt) + sum(map(len, item.continuations)) for item in made],
        }
    )
