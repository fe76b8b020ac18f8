"""The same questions before and after: outcomes side by side, interval and test of their change."""

import math
from collections.abc import Collection

import numpy as np
import pandas as pd
from scipy import optimize, stats
from statsmodels.stats import contingency_tables
from statsmodels.stats.proportion import proportion_confint

from persona_leakage.analysis.ranks import Floats
from persona_leakage.errors import InputError
from persona_leakage.study.outcome import Outcome

RESAMPLES = 10_000
CONFIDENCE = 0.95


def aligned(
    before: pd.DataFrame, after: pd.DataFrame, names: Collection[str], outcome: Outcome
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put the outcomes of the same persona and question at the same place of two tables.

    Parameters
    ----------
    before, after : DataFrame
        Scores of the base model and of the cell: ``persona``, ``question`` (key), ``outcome``.
    names : collection of str
        The personas to keep.
    outcome : Outcome
        Its bounds are checked.

    Returns
    -------
    tuple of DataFrame
        Before and after: one row per persona, one column per question, floats.

    Raises
    ------
    InputError
        A persona's answer to a question is missing from one of the two, is there twice, or is
        worth what no answer can be.
    """
    sides = {"the base model": before, "the cell": after}
    wide = {who: _wide(table, names, outcome, who) for who, table in sides.items()}
    old, new = wide.values()
    questions = old.columns.union(new.columns)
    for who, table in wide.items():
        full = table.reindex(index=pd.Index(list(names)), columns=questions)
        if full.isna().to_numpy().any():
            row, column = np.argwhere(full.isna().to_numpy())[0]
            persona, question = full.index[row], full.columns[column]
            raise InputError(
                f"scores of {who}: {persona} has no answer to question {question}, so that before "
                "and after cannot be compared; run `dvc repro evaluate`"
            )
        wide[who] = full
    old, new = wide.values()
    return old, new


def _wide(table: pd.DataFrame, names: Collection[str], outcome: Outcome, who: str) -> pd.DataFrame:
    """One row per persona, one column per question; every value one that an answer can be worth."""
    answers = table.loc[table["persona"].isin(list(names)), ["persona", "question", "outcome"]]
    worth = answers["outcome"]
    allowed = (
        worth.isin([outcome.low, outcome.high])
        if outcome.binary
        else worth.between(outcome.low, outcome.high)
    )
    twice = answers.duplicated(["persona", "question"])
    for faulty, fault in (
        (~allowed, f"an outcome that is no {outcome.name}"),
        (twice, "two answers"),
    ):
        if faulty.any():
            row = answers[faulty].iloc[0]
            raise InputError(
                f"scores of {who}: {row['persona']} has {fault} to question {row['question']}; "
                "run `dvc repro evaluate`"
            )
    return answers.pivot(index="persona", columns="question", values="outcome")


def mean(values: Floats) -> float:
    """Mean of outcomes, from their exact sum: equal counts give equal means.

    Parameters
    ----------
    values : ndarray of shape (questions,)
        Of one persona.
    """
    return math.fsum(values) / len(values)


def mean_interval(values: Floats, outcome: Outcome, *, seed: int) -> tuple[float, float]:
    """95 % interval of a mean over questions.

    Wilson's for an outcome of two values (Wilson 1927), else percentile bootstrap (Efron &
    Tibshirani 1993, chapter 13).

    Parameters
    ----------
    values : ndarray of shape (questions,)
        Outcomes of one persona.
    outcome : Outcome
        Whether it has two values, and which.
    seed : int
        Of the bootstrap.
    """
    if not outcome.binary:
        return _bootstrap(values, seed)
    high = int((values == outcome.high).sum())
    shares = proportion_confint(high, len(values), 1 - CONFIDENCE, method="wilson")
    low_end, high_end = (outcome.low + (outcome.high - outcome.low) * float(s) for s in shares)
    return low_end, high_end


def change_interval(
    before: Floats, after: Floats, outcome: Outcome, *, seed: int
) -> tuple[float, float]:
    """95 % interval of the mean change over questions, in the outcome's unit.

    Tango's for an outcome of two values, else percentile bootstrap over the questions' changes.

    Parameters
    ----------
    before, after : ndarray of shape (questions,)
        Of the same questions.
    outcome : Outcome
        Whether it has two values, and its scale.
    seed : int
        Of the bootstrap.
    """
    change = after - before
    if outcome.binary:
        span = outcome.high - outcome.low
        low, high = tango(int((change < 0).sum()), int((change > 0).sum()), len(change))
    else:
        span = 1.0
        low, high = _bootstrap(change, seed)
    return outcome.scale * span * low, outcome.scale * span * high


def change_p(before: Floats, after: Floats, outcome: Outcome, *, seed: int) -> float:
    """Two-sided p-value of a change.

    McNemar's for an outcome of two values, else a permutation test that flips the signs of the
    questions' changes (Fisher 1935; SciPy's ``permutation_test``).

    Parameters
    ----------
    before, after : ndarray of shape (questions,)
        Of the same questions.
    outcome : Outcome
        Whether it has two values, and its scale.
    seed : int
        Of the permutations.
    """
    change = after - before
    if outcome.binary:
        return mcnemar(int((change < 0).sum()), int((change > 0).sum()))
    if len(change) < 2:
        return 1.0
    tested = stats.permutation_test(
        (change,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return float(tested.pvalue)


def mcnemar(broken: int, mended: int) -> float:
    """Two-sided mid-p McNemar test (McNemar 1947; Fagerland, Lydersen & Laake 2013).

    statsmodels' exact p counts the observed table whole; its mid-p counts it half, which keeps the
    size at its nominal level where the exact test is far below it.

    Parameters
    ----------
    broken, mended : int
        Questions whose outcome fell, and rose.
    """
    changed = broken + mended
    if changed == 0:
        return 1.0
    exact = float(contingency_tables.mcnemar([[0, broken], [mended, 0]], exact=True).pvalue)
    observed = float(stats.binom.pmf(broken, changed, 0.5))
    return 1 - observed / 2 if broken == mended else exact - observed


def tango(broken: int, mended: int, questions: int) -> tuple[float, float]:
    """95 % score interval of the difference of two paired shares (Tango 1998).

    All differences that the score test, with the restricted maximum-likelihood estimate of the
    nuisance share, does not reject. Not degenerate where nothing changed.

    Parameters
    ----------
    broken, mended : int
        Questions whose outcome fell, and rose.
    questions : int
        All of them.

    Returns
    -------
    tuple of float
        Ends of the interval for (mended - broken) / questions, from -1 to 1.
    """
    critical = float(stats.norm.isf((1 - CONFIDENCE) / 2))

    def score(difference: float) -> float:
        """Measure how many standard deviations lie from the observed difference to this one."""
        away = mended - broken - questions * difference
        linear = (2 * questions + broken - mended) * difference - broken - mended
        root = linear**2 + 8 * questions * broken * difference * (1 - difference)
        fell = (math.sqrt(max(root, 0.0)) - linear) / (4 * questions)  # restricted share of falls
        variance = questions * (2 * fell + difference * (1 - difference))
        if variance <= 0:
            return math.copysign(1e9, away) if away else 0.0
        return away / math.sqrt(variance)

    estimate = (mended - broken) / questions
    ends = []
    for bound, sign in ((-1.0, 1), (1.0, -1)):
        if estimate == bound:
            ends.append(bound)
        else:
            near, far = sorted((estimate, bound + sign * 1e-12))
            ends.append(optimize.brentq(lambda d, s=sign: score(d) - s * critical, near, far))
    return float(ends[0]), float(ends[1])


def _bootstrap(values: Floats, seed: int) -> tuple[float, float]:
    if len(values) < 2:
        return float("nan"), float("nan")
    bootstrap = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=1_000,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(bootstrap.confidence_interval.low), float(bootstrap.confidence_interval.high)
