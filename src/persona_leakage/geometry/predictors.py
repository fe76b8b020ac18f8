"""Which geometry predicts the damage best: cosines, distances, layers, or the prompts' words."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer

from persona_leakage.data.catalog import Persona

RESAMPLES = 2_000


def predictors(
    pairs: pd.DataFrame, source: str, names: Sequence[str], personas: Mapping[str, Persona]
) -> pd.DataFrame:
    """Everything that could predict damage before training, higher meaning nearer to the source.

    Parameters
    ----------
    pairs : DataFrame
        Of ``similarity.table``.
    names : sequence of str
        The personas to predict for; each has a prompt.

    Returns
    -------
    DataFrame
        Index: ``names``. Columns ``raw@L``, ``centred@L``, ``distance@L`` (negated Euclidean) for
        each layer L; ``words`` (Jaccard overlap of the prompts' words); ``tfidf`` (cosine of their
        TF-IDF vectors, fitted on the whole catalog). A layer on which all are alike is left out.
    """
    towards = pairs[pairs["source"] == source]
    columns = {}
    for layer, group in towards.groupby("layer"):
        rows = group.set_index("persona").loc[list(names)]
        columns[f"raw@{layer}"] = rows["raw"]
        columns[f"centred@{layer}"] = rows["centred"]
        columns[f"distance@{layer}"] = -rows["distance"]
    texts = {p.name: p.prompt or "" for p in personas.values()}
    own = _words(texts[source])
    overlap = {name: _words(texts[name]) for name in names}
    columns["words"] = pd.Series(
        {name: len(own & other) / len(own | other) for name, other in overlap.items()}
    )
    vectors = TfidfVectorizer().fit(texts.values())
    nearness = vectors.transform([texts[n] for n in names]) @ vectors.transform([texts[source]]).T
    columns["tfidf"] = pd.Series(nearness.toarray().ravel(), index=list(names))
    table = pd.DataFrame(columns)
    # layer 0 gives every persona the same last token: nothing to rank, or not a number
    ranked = [
        column for column in table if table[column].notna().all() and np.ptp(table[column]) > 1e-9
    ]
    return table[ranked]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def compare(
    table: pd.DataFrame, delta: Sequence[float] | np.ndarray, primary: str, *, seed: int
) -> pd.DataFrame:
    """Rank the predictors by how well each explains the same personas' deltas.

    Parameters
    ----------
    table : DataFrame
        Of ``predictors``.
    delta : array of shape (personas,)
        Percentage points, in the order of the table.
    primary : str
        The study's own predictor, which the others are compared with.

    Returns
    -------
    DataFrame
        ``predictor``; ``rho`` (Spearman), ``low``, ``high`` (95 % bootstrap over personas);
        ``difference`` of its rho from the primary's, ``difference_low``, ``difference_high`` (the
        same resamples; below zero is steeper); ``error`` (pp): root mean square of predicting each
        persona from a line through the others. Steepest first, then the row ``mean``: predicting
        each from the mean of the others. That row alone for fewer than four personas, or when all
        changed alike.
    """
    y = np.asarray(delta, dtype=float)
    x = table.to_numpy(dtype=float)
    unknown = ("rho", "low", "high", "difference", "difference_low", "difference_high")
    mean_error = _leave_one_out(np.zeros_like(y), y) if len(y) > 1 else np.nan
    mean = {"predictor": "mean", **dict.fromkeys(unknown, np.nan), "error": mean_error}
    if len(y) < 4 or np.ptp(y) == 0 or primary not in table:
        return pd.DataFrame([mean])
    rho = np.array([stats.spearmanr(column, y).statistic for column in x.T])
    index = np.random.default_rng(seed).integers(len(y), size=(RESAMPLES, len(y)))
    ranks_y = stats.rankdata(y[index], axis=1)
    resampled = np.stack(
        [_correlate(stats.rankdata(column[index], axis=1), ranks_y) for column in x.T]
    )
    own = list(table).index(primary)
    rows = [
        {
            "predictor": name,
            "rho": rho[number],
            **_interval(resampled[number], ""),
            "difference": rho[number] - rho[own],
            **_interval(resampled[number] - resampled[own], "difference_"),
            "error": _leave_one_out(x[:, number], y),
        }
        for number, name in enumerate(table)
    ]
    ranked = pd.DataFrame(rows).sort_values("rho", kind="stable")
    return pd.concat([ranked, pd.DataFrame([mean])], ignore_index=True)


def _correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return found


def _interval(values: np.ndarray, prefix: str) -> dict[str, float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return {f"{prefix}low": float(low), f"{prefix}high": float(high)}


def _leave_one_out(x: np.ndarray, y: np.ndarray) -> float:
    """Root mean square error of predicting each point from the least-squares line of the others.

    Residuals over one minus leverage (PRESS; Allen 1974): no line has to be fitted twice.
    """
    design = np.column_stack([np.ones_like(x), x]) if np.ptp(x) > 0 else np.ones((len(y), 1))
    hat = design @ np.linalg.pinv(design)
    leverage = np.diag(hat)
    return float(np.sqrt((((y - hat @ y) / (1 - leverage)) ** 2).mean()))
