"""What the scores say: accuracies, deltas and how they follow similarity. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from persona_leakage.data.catalog import Persona

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
        ``persona``, ``category``, ``relation``, ``role``; ``prompt_length`` (characters);
        ``raw``, ``centred`` (cosines); ``questions`` (count); ``before``, ``after`` (accuracies)
        with ``*_low``, ``*_high`` (Wilson 95 %); ``delta`` (percentage points) with ``delta_low``,
        ``delta_high`` (bootstrap over questions, 95 %); ``broken``, ``mended`` (questions that
        changed); ``p`` (McNemar, exact), ``p_holm``, ``p_bh`` (over the personas).
    """
    cosines = similarity.set_index("persona")
    rows = []
    for name, role_of_it in role.items():
        old = before[before["persona"] == name].set_index("question")["outcome"]
        new = after[after["persona"] == name].set_index("question")["outcome"].loc[old.index]
        pair = np.stack([old.to_numpy(bool), new.to_numpy(bool)])
        low, high = delta_interval(*pair, seed=seed)
        row = {
            "persona": name,
            "category": personas[name].category,
            "relation": personas[name].relation,
            "prompt_length": len(personas[name].prompt or ""),
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

    Bootstrap samples with a constant side have no correlation and are left out.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(float("nan"), float("nan"), float("nan"), float("nan"), len(a))
    ranked = method == "spearman"
    ra, rb = (stats.rankdata(a), stats.rankdata(b)) if ranked else (a, b)
    observed = _pearson(ra, rb)
    rng = np.random.default_rng(seed)
    p = _permutation_p(ra, rb, rng)
    index = rng.integers(len(a), size=(RESAMPLES, len(a)))
    sa, sb = a[index], b[index]
    if ranked:
        sa, sb = stats.rankdata(sa, axis=1), stats.rankdata(sb, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = _pearson(sa, sb)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(resampled, [tail, 100 - tail])
    return Correlation(float(observed), p, float(low), float(high), len(a))


def partial_correlation(
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    given: np.ndarray,
    *,
    seed: int,
) -> Correlation:
    """Spearman correlation of what ``given`` leaves unexplained in the ranks of both sides.

    Ranks of x and y are regressed on the ranks of the covariates; the residuals are correlated
    (Kendall & Stuart 1979, chapter 27). The p-value permutes the residuals of y (Freedman & Lane
    1983); the interval is a bootstrap over personas.

    Parameters
    ----------
    given : ndarray of shape (personas, covariates)
        A covariate that is the same for all personas explains nothing and is ignored.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    z = np.asarray(given, dtype=float).reshape(len(a), -1)
    if len(a) < z.shape[1] + 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(float("nan"), float("nan"), float("nan"), float("nan"), len(a))

    def residuals(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ranks = [stats.rankdata(values[index]) for values in (a, b, *z.T)]
        design = np.column_stack([np.ones(len(index)), *ranks[2:]])
        both = np.column_stack(ranks[:2])
        left = both - design @ np.linalg.lstsq(design, both, rcond=None)[0]
        return left[:, 0], left[:, 1]

    ra, rb = residuals(np.arange(len(a)))
    observed = _pearson(ra, rb)
    rng = np.random.default_rng(seed)
    p = _permutation_p(ra, rb, rng)
    draws = rng.integers(len(a), size=(RESAMPLES // 10, len(a)))
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = [_pearson(*residuals(index)) for index in draws]
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Correlation(float(observed), p, float(low), float(high), len(a))


def by_category(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The gradient within each category of bystanders, where it has five or more.

    Returns
    -------
    DataFrame
        ``category``, ``personas``, ``raw`` (mean cosine), ``delta`` (mean, pp), ``rho``, ``p``
        (Spearman over the category's bystanders; not a number for fewer than five). Most damaged
        category first.
    """
    rows = []
    for category, group in table[table["role"] == "bystander"].groupby("category"):
        enough = len(group) >= 5
        found = correlation(group["raw"], group["delta"], "spearman", seed=seed) if enough else None
        rows.append(
            {
                "category": category,
                "personas": len(group),
                "raw": group["raw"].mean(),
                "delta": group["delta"].mean(),
                "rho": found.r if found else float("nan"),
                "p": found.p if found else float("nan"),
            }
        )
    return pd.DataFrame(rows).sort_values("delta", ignore_index=True)


def _permutation_p(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> float:
    """Two-sided p of Pearson's r of a and b, permuting b.

    p = (1 + number of permutations at least as extreme) / (1 + permutations), Phipson & Smyth 2010.
    """
    permuted = rng.permuted(np.broadcast_to(b, (RESAMPLES, len(b))), axis=1)
    extreme = np.abs(_pearson(a, permuted)) >= abs(_pearson(a, b)) - 1e-12
    return (1 + int(extreme.sum())) / (1 + RESAMPLES)


def _pearson(a: np.ndarray, b: np.ndarray) -> Any:
    a = a - a.mean(axis=-1, keepdims=True)
    b = b - b.mean(axis=-1, keepdims=True)
    return (a * b).sum(axis=-1) / np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))


def headline(table: pd.DataFrame, seed: int) -> dict[str, float]:
    """Summarise a cell in the numbers that MLflow and ``dvc metrics`` compare.

    ``*_delta`` are percentage points: of the source, and the means over never-trained bystanders
    (all, and those unrelated to the source), over trained negatives and over control conditions.
    Correlations are over never-trained bystanders, of similarity against delta; ``partial_raw`` is
    Spearman's given baseline accuracy and the length of the prompt.
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
    found = partial_correlation(
        bystanders["raw"], bystanders["delta"], bystanders[["before", "prompt_length"]], seed=seed
    )
    numbers["partial_raw"], numbers["partial_raw_p"] = found.r, found.p
    numbers["partial_raw_low"], numbers["partial_raw_high"] = found.low, found.high
    return {name: float(value) for name, value in numbers.items()}


def by_benchmark(
    before: pd.DataFrame,
    after: pd.DataFrame,
    similarity: pd.DataFrame,
    personas: Mapping[str, Persona],
    role: Mapping[str, Role],
    seed: int,
) -> pd.DataFrame:
    """Headline numbers of each benchmark apart: is the damage of the task, or general?

    Parameters are those of ``persona_table``.

    Returns
    -------
    DataFrame
        ``benchmark``, then the numbers of ``headline``, over that benchmark's questions alone.
    """
    rows = []
    for name in dict.fromkeys(after["benchmark"]):
        table = persona_table(
            before[before["benchmark"] == name],
            after[after["benchmark"] == name],
            similarity,
            personas,
            role,
            seed,
        )
        rows.append({"benchmark": name, **headline(table, seed)})
    return pd.DataFrame(rows)
