"""Question by question: how able a persona is, whatever the difficulty of what it was asked."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import expit

from persona_leakage.analysis.paired import aligned
from persona_leakage.analysis.ranks import Floats
from persona_leakage.study.outcome import Outcome

ROUNDS = 200
CLOSE = 1e-3  # log-odds: no change of a round is larger when it is the last
# A persona that is right always, or never, has no finite log-odds; with this standard deviation of
# all personas beforehand (logits) it has, and no other persona's is moved to speak of.
PRIOR = 3.0
COLUMNS = ("logit_before", "logit_after", "logit_delta", "logit_error")


def persona_log_odds(
    before: pd.DataFrame, after: pd.DataFrame, names: Sequence[str], outcome: Outcome
) -> pd.DataFrame:
    """Log-odds of the higher outcome of each persona, on questions of one difficulty.

    ``logit P(persona i, question q, when t) = ability[i, t] - difficulty[q]``, with persona and
    question crossed, questions as a random sample: an explanatory item response model (De Boeck &
    Wilson 2004, chapter 2; Rasch 1960). Abilities and difficulties are the joint posterior mode, as
    of ``BinomialBayesMixedGLM.fit_map`` in statsmodels, which takes four minutes for a cell where
    alternating Newton steps take seconds; the variance of the difficulties is estimated by expected
    maximisation with Laplace's approximation (Breslow & Clayton 1993).

    Parameters
    ----------
    before, after : DataFrame
        Scores of the base model and of the cell: ``persona``, ``question``, ``outcome``.
    names : sequence of str
        The personas.
    outcome : Outcome
        One of two values; another has no log-odds.

    Returns
    -------
    DataFrame
        Index: ``names``. ``logit_before``, ``logit_after``; ``logit_delta`` (their difference) with
        its standard error ``logit_error`` over questions. Not numbers where the outcome has more
        than two values.
    """
    if not outcome.binary:
        return pd.DataFrame(np.nan, index=pd.Index(names), columns=list(COLUMNS))
    tables = aligned(before, after, list(names), outcome)
    high = np.concatenate([table.to_numpy(float) == outcome.high for table in tables]).astype(float)
    ability, variance = abilities(high)
    old, new = np.split(ability, 2)
    error = np.sqrt(np.add(*np.split(variance, 2)))
    values = np.column_stack([old, new, new - old, error])
    return pd.DataFrame(values, index=pd.Index(names), columns=list(COLUMNS))


def abilities(right: Floats) -> tuple[Floats, Floats]:
    """Fit the crossed model to a table of answers.

    Parameters
    ----------
    right : ndarray of shape (personas, questions)
        1 or 0.

    Returns
    -------
    tuple of ndarray of shape (personas,)
        Log-odds on a question of mean difficulty, and their variances given the difficulties.
    """
    ability, difficulty, spread = np.zeros(len(right)), np.zeros(right.shape[1]), 1.0
    for _ in range(ROUNDS):
        expected = expit(ability[:, None] - difficulty)
        weight = expected * (1 - expected)
        step = ((right - expected).sum(axis=1) - ability / PRIOR**2) / (
            weight.sum(axis=1) + PRIOR**-2
        )
        ability = ability + np.clip(step, -1, 1)
        expected = expit(ability[:, None] - difficulty)
        precision = (expected * (1 - expected)).sum(axis=0) + spread**-2
        move = ((expected - right).sum(axis=0) - difficulty / spread**2) / precision
        difficulty = difficulty + np.clip(move, -1, 1)
        ability, difficulty = ability - difficulty.mean(), difficulty - difficulty.mean()
        spread = max(float(np.sqrt((difficulty**2 + 1 / precision).mean())), 1e-3)
        if max(np.abs(step).max(), np.abs(move).max()) < CLOSE:
            break
    expected = expit(ability[:, None] - difficulty)
    return ability, 1 / ((expected * (1 - expected)).sum(axis=1) + PRIOR**-2)


def with_log_odds(
    table: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame, outcome: Outcome
) -> pd.DataFrame:
    """Add the columns of ``persona_log_odds`` to a persona table.

    Parameters
    ----------
    table : DataFrame
        Of ``persona_table``.
    before, after : DataFrame
        Scores of the base model and of the cell, those of the table.
    outcome : Outcome
        What they are worth.
    """
    logits = persona_log_odds(before, after, table["persona"].tolist(), outcome)
    return table.join(logits, on="persona")
