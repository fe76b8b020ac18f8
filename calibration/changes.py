"""How one persona's change, partial correlations and the margin do where the truth is known."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pandas as pd
from row import Row, share
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as table_test

from persona_leakage.analysis import paired
from persona_leakage.analysis.correlation import freedman_lane
from persona_leakage.analysis.margin import adjusted

LEVEL = 0.05


def of_one_persona(studies: int, seed: int, questions: int = 150) -> Iterator[Row]:
    """Coverage of the interval of a change, and size of its test, down to hardly any change.

    Parameters
    ----------
    studies : int
        To simulate of each kind.
    seed : int
        Of all draws.
    questions : int
        Asked before and after.
    """
    tango = cache(paired.tango)
    shares = ((0.15, 0.05), (0.02, 0.005), (0.002, 0.0), (0.1, 0.1), (0.02, 0.02), (0.005, 0.005))
    for number, (fell, rose) in enumerate(shares):
        rng = np.random.default_rng([seed, number])
        drawn = rng.multinomial(questions, [fell, rose, 1 - fell - rose], studies)[:, :2].tolist()
        truth = f"{100 * fell:g} % of {questions} questions broken, {100 * rose:g} % mended"
        ends = [tango(*each, questions) for each in drawn]
        covered = [low <= rose - fell <= high for low, high in ends]
        yield share("change, Tango", truth, "95 % interval covers", covered, 0.93, 1)
        broken, mended = np.array(drawn).T / questions
        error = 1.96 * np.sqrt((broken + mended - (mended - broken) ** 2) / questions)
        yield share(
            "(change, delta)",
            truth,
            "95 % interval covers",
            np.abs(mended - broken - rose + fell) <= error,
        )
        if fell == rose:
            p = [paired.mcnemar(*each) for each in drawn]
            yield share("change, mid-p McNemar", truth, "p <= .05", np.array(p) <= LEVEL, 0, 0.06)
            exact = cache(lambda a, b: table_test([[0, a], [b, 0]], exact=True).pvalue)
            hits = [exact(*each) <= LEVEL for each in drawn]
            yield share("(exact McNemar)", truth, "p <= .05", hits)


def partial(studies: int, seed: int, resamples: int = 199) -> Iterator[Row]:
    """Size of the partial correlation's test with as few personas as it is ever given.

    Parameters
    ----------
    studies : int
        To simulate of each kind.
    seed : int
        Of all draws.
    resamples : int
        Permutations of a test.
    """
    for personas in (6, 9, 20):
        rng = np.random.default_rng([seed, personas])
        true, false = [], []
        for _ in range(studies):
            x, y, *given = rng.standard_normal((4, personas))
            y = y + given[0]
            true.append(freedman_lane(x, y, np.transpose(given), rng, resamples) <= LEVEL)
            false.append(_kennedy(x, y, np.transpose(given), rng, resamples) <= LEVEL)
        truth = f"{personas} personas, two covariates, no connection"
        yield share("partial correlation, Freedman & Lane", truth, "p <= .05", true, 0.045, 0.058)
        yield share("(Kennedy)", truth, "p <= .05", false)


def _kennedy(x, y, given, rng, resamples) -> float:
    """Permute what the covariates leave, and do not regress again."""
    design = np.column_stack([np.ones(len(y)), given])
    x, y = (side - design @ np.linalg.lstsq(design, side, rcond=None)[0] for side in (x, y))
    permuted = rng.permuted(np.broadcast_to(y, (resamples, len(y))), axis=1)
    return (1 + (np.abs(permuted @ x) >= abs(y @ x) * (1 - 1e-9)).sum()) / (1 + resamples)


def margin(studies: int, seed: int, personas: int = 100, questions: int = 60) -> Iterator[Row]:
    """See whether a margin that falls the farther the higher it was looks like a gradient.

    Parameters
    ----------
    studies : int
        To simulate of each kind.
    seed : int
        Of all draws.
    personas, questions : int
        In each.
    """
    names = [f"p{number}" for number in range(personas)]
    for damage, low, high in ((0.0, 0.0, 0.06), (0.4, 0.8, 1.0)):
        rng = np.random.default_rng([seed, int(10 * damage)])
        plain, given = [], []
        for _ in range(studies):
            cosine = rng.standard_normal(personas)
            # as measured before any training: r = -.69
            before = -0.69 * cosine + (1 - 0.69**2) ** 0.5 * rng.standard_normal(personas)
            falls = 0.5 * before + damage * cosine + rng.normal(0, 0.5, personas)
            change = pd.DataFrame(-falls[:, None] + rng.normal(0, 1, (personas, questions)), names)
            table = pd.DataFrame({"persona": names, "role": "bystander", "margin_before": before})
            left = adjusted(change, table)
            for side, hits in ((change, plain), (left, given)):
                hits.append(stats.spearmanr(cosine, side.mean(axis=1)).pvalue <= LEVEL)
        truth = "change follows the baseline alone" if not damage else "change follows both"
        yield share("margin given its baseline, rho", truth, "p <= .05", given, low, high)
        yield share("(margin as it is, rho)", truth, "p <= .05", plain)
