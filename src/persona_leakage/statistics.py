"""What the scores say: accuracies, deltas and how they follow similarity. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from persona_leakage.catalog import Persona

Role = Literal["source", "negative", "condition", "bystander"]
RESAMPLES = 10_000
CONFIDENCE = 0.95


def roles(personas: Sequence[Persona], source: str, negatives: Sequence[str]) -> dict[str, Role]:
    """Tell source, trained negatives, control conditions and bystanders apart, by name.

    A condition that was trained to be right is a negative. Only bystanders were never trained.
    """
    assigned: dict[str, Role] = {}
    for persona in personas:
        if persona.name == source:
            assigned[persona.name] = "source"
        elif persona.name in negatives:
            assigned[persona.name] = "negative"
        elif persona.category == "condition":
            assigned[persona.name] = "condition"
        else:
            assigned[persona.name] = "bystander"
    return assigned


def persona_table(
    before: pd.DataFrame,
    after: pd.DataFrame,
    similarity: pd.DataFrame,
    personas: Mapping[str, Persona],
    role: Mapping[str, Role],
    seed: int,
) -> pd.DataFrame:
    """Summarise a cell, one row a persona, most similar to the source first.

    Parameters
    ----------
    before, after : DataFrame
        Tables of ``evaluation.evaluate`` for the base model and for the cell.
    similarity : DataFrame
        ``persona``, ``raw`` and ``centred`` towards the source, at the study's layer.
    role : mapping
        Of ``roles``.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        ``persona``, ``category``, ``relation``, ``role``; ``raw``, ``centred`` (cosines);
        ``questions`` (count); ``before``, ``after`` (accuracies) with ``*_low``, ``*_high`` (Wilson
        95 %); ``delta`` (percentage points) with ``delta_low``, ``delta_high`` (bootstrap over
        questions, 95 %); ``broken``, ``mended`` (questions that changed); ``p`` (McNemar, exact),
        ``p_holm``, ``p_bh`` (over the personas).
    """
    cosines = similarity.set_index("persona")
    rows = []
    for name, role_of_it in role.items():
        old = before[before["persona"] == name].set_index("question")["correct"]
        new = after[after["persona"] == name].set_index("question")["correct"].loc[old.index]
        pair = np.stack([old.to_numpy(bool), new.to_numpy(bool)])
        low, high = delta_interval(*pair, seed=seed)
        row = {
            "persona": name,
            "category": personas[name].category,
            "relation": personas[name].relation,
            "role": role_of_it,
            "raw": cosines.loc[name, "raw"],
            "centred": cosines.loc[name, "centred"],
            "questions": len(old),
        }
        for when, correct in zip(("before", "after"), pair, strict=True):
            row[when] = correct.mean()
            row[f"{when}_low"], row[f"{when}_high"] = proportion_confint(
                correct.sum(), len(correct), 1 - CONFIDENCE, method="wilson"
            )
        row |= {
            "delta": 100 * (row["after"] - row["before"]),
            "delta_low": low,
            "delta_high": high,
            "broken": int((pair[0] & ~pair[1]).sum()),
            "mended": int((~pair[0] & pair[1]).sum()),
            "p": mcnemar(*pair),
        }
        rows.append(row)
    table = pd.DataFrame(rows)
    table["p_holm"] = multipletests(table["p"], method="holm")[1]
    table["p_bh"] = multipletests(table["p"], method="fdr_bh")[1]
    return table.sort_values("raw", ascending=False, ignore_index=True)


def delta_interval(before: np.ndarray, after: np.ndarray, *, seed: int) -> tuple[float, float]:
    """95 % interval of the change in accuracy, percentage points, paired over questions.

    Percentile bootstrap (Efron & Tibshirani 1993, chapter 13). A question contributes -1, 0 or 1,
    so that resampling questions is drawing from a multinomial over these three.
    """
    change = after.astype(int) - before.astype(int)
    shares = np.array([(change == value).mean() for value in (-1, 0, 1)])
    draws = np.random.default_rng(seed).multinomial(len(change), shares, size=RESAMPLES)
    deltas = 100 * (draws[:, 2] - draws[:, 0]) / len(change)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(deltas, [tail, 100 - tail])
    return float(low), float(high)


def mcnemar(before: np.ndarray, after: np.ndarray) -> float:
    """Two-sided exact McNemar test of a change (McNemar 1947): binomial over changed questions."""
    broken, mended = int((before & ~after).sum()), int((~before & after).sum())
    if broken + mended == 0:
        return 1.0
    return float(stats.binomtest(broken, broken + mended).pvalue)


@dataclass(frozen=True)
class Correlation:
    """A rank or linear correlation over personas.

    Attributes
    ----------
    r : float
        The coefficient; not a number when one side is constant.
    p : float
        Two-sided permutation p-value.
    low, high : float
        95 % bootstrap interval over personas.
    n : int
        Number of personas.
    """

    r: float
    p: float
    low: float
    high: float
    n: int


def correlation(
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    method: Literal["spearman", "pearson"],
    *,
    seed: int,
) -> Correlation:
    """Correlate with a permutation p-value and a bootstrap interval, 10,000 seeded resamples each.

    p = (1 + number of permutations at least as extreme) / (1 + permutations), Phipson & Smyth 2010.
    Bootstrap samples with a constant side have no correlation and are left out.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(float("nan"), float("nan"), float("nan"), float("nan"), len(a))
    ranked = method == "spearman"
    ra, rb = (stats.rankdata(a), stats.rankdata(b)) if ranked else (a, b)
    observed = _pearson(ra, rb)
    rng = np.random.default_rng(seed)
    permuted = rng.permuted(np.broadcast_to(rb, (RESAMPLES, len(b))), axis=1)
    extreme = np.abs(_pearson(ra, permuted)) >= abs(observed) - 1e-12
    index = rng.integers(len(a), size=(RESAMPLES, len(a)))
    sa, sb = a[index], b[index]
    if ranked:
        sa, sb = stats.rankdata(sa, axis=1), stats.rankdata(sb, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = _pearson(sa, sb)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(resampled, [tail, 100 - tail])
    p = (1 + int(extreme.sum())) / (1 + RESAMPLES)
    return Correlation(float(observed), p, float(low), float(high), len(a))


def _pearson(a: np.ndarray, b: np.ndarray) -> Any:
    a = a - a.mean(axis=-1, keepdims=True)
    b = b - b.mean(axis=-1, keepdims=True)
    return (a * b).sum(axis=-1) / np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))


def headline(table: pd.DataFrame, seed: int) -> dict[str, float]:
    """Summarise a cell in the numbers that MLflow and ``dvc metrics`` compare.

    ``*_delta`` are percentage points: of the source, and the means over never-trained bystanders
    (all, and those unrelated to the source), over trained negatives and over control conditions.
    Correlations are over never-trained bystanders, of similarity against delta.
    """
    bystanders = table[table["role"] == "bystander"]
    source = table[table["role"] == "source"].iloc[0]
    numbers = {
        "source_before": source["before"],
        "source_after": source["after"],
        "source_delta": source["delta"],
        "baseline_mean": table["before"].mean(),
        "bystander_delta": bystanders["delta"].mean(),
        "unrelated_delta": bystanders[bystanders["category"] == "unrelated"]["delta"].mean(),
        "negative_delta": table[table["role"] == "negative"]["delta"].mean(),
        "condition_delta": table[table["role"] == "condition"]["delta"].mean(),
        "bystanders": len(bystanders),
        "questions": int(table["questions"].iloc[0]),
    }
    for kind in ("raw", "centred"):
        for method in ("spearman", "pearson"):
            found = correlation(bystanders[kind], bystanders["delta"], method, seed=seed)
            numbers[f"{method}_{kind}"] = found.r
            numbers[f"{method}_{kind}_p"] = found.p
            numbers[f"{method}_{kind}_low"] = found.low
            numbers[f"{method}_{kind}_high"] = found.high
    return {name: float(value) for name, value in numbers.items()}
