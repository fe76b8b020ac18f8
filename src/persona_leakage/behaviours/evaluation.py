"""Every persona times every question: the table of scores that all statistics start from."""

from collections.abc import Sequence
from itertools import tee

import pandas as pd

from persona_leakage.data.catalog import Persona
from persona_leakage.data.questions import Question
from persona_leakage.errors import InputError
from persona_leakage.model.chat import Tokenizer
from persona_leakage.model.processes import Score
from persona_leakage.model.scoring import items
from persona_leakage.progress import bar
from persona_leakage.study.parameters import Study


def evaluate(
    score: Score,
    tokenizer: Tokenizer,
    personas: Sequence[Persona],
    questions: Sequence[Question],
    study: Study,
) -> pd.DataFrame:
    """Score every choice of every question under every persona.

    Parameters
    ----------
    score : callable
        Of ``devices.scorer``.

    Returns
    -------
    DataFrame
        One row a (persona, question): ``persona``; ``question`` (key), ``benchmark``; ``answer``,
        ``chosen`` (indices of the right and of the highest-scored choice); ``correct`` (bool);
        ``scores`` (list of float32, one a choice: see ``scoring.choice_scores``); ``tokens`` (of
        the prompt and its choices).

    Raises
    ------
    InputError
        There is no question to ask.
    """
    if not questions:
        raise InputError(
            "outputs: the eval set is empty; lower questions.train_fraction or name a benchmark in "
            "questions.evaluate"
        )
    frames = []
    with bar("scoring", len(personas) * len(questions), "questions") as progress:
        everyone, asked = tee(
            items(
                tokenizer,
                [persona.prompt for persona in personas],
                questions,
                study.scoring,
                study.model.system_role,
            )
        )
        scored = score(asked, study.scoring, progress.update)
        for persona, made, scores in zip(personas, everyone, scored, strict=True):
            chosen = [int(values.argmax()) for values in scores]
            frames.append(
                pd.DataFrame(
                    {
                        "persona": persona.name,
                        "question": [question.key for question in questions],
                        "benchmark": [question.benchmark for question in questions],
                        "answer": [question.answer for question in questions],
                        "chosen": chosen,
                        "correct": [
                            choice == question.answer
                            for choice, question in zip(chosen, questions, strict=True)
                        ],
                        "scores": scores,
                        "tokens": [
                            len(item.prompt) + sum(map(len, item.continuations)) for item in made
                        ],
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)
