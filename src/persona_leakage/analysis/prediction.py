"""Which predictor explains the damage best: rank correlations side by side, and errors."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from persona_leakage.analysis.ranks import ROUNDING, Floats, constant, levels
from persona_leakage.study.outcome import Outcome

RESAMPLES = 2_000
FEWEST = 4  # personas


def compare(
    table: pd.DataFrame, delta: npt.ArrayLike, primary: str, outcome: Outcome, *, seed: int
) -> pd.DataFrame:
    """Rank the predictors by how well each explains the same personas' deltas.

    Parameters
    ----------
    table : DataFrame
        Of ``predictors``; one row per persona, higher meaning nearer to the source.
    delta : array-like of shape (personas,)
        In the outcome's unit, in the order of the table.
    primary : str
        The study's predictor, which the others are compared with.
    outcome : Outcome
        Its direction says which rho is steep: below zero where what is taught lowers the outcome.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        ``predictor``; ``rho`` (Spearman), ``low``, ``high`` (95 % bootstrap over personas);
        ``difference``: by how much less steep its rho is than the primary's, with
        ``difference_low``, ``difference_high`` (the same resamples; below zero it is steeper);
        ``error`` (in the outcome's unit): root mean square of predicting each persona from a line
        through the others, not a number where the others make no line. Steepest first, then the
        row ``mean``: predicting each from the mean of the others. That row alone for fewer than
        four personas, when all changed alike, or when a change is not a number.
    """
    y = np.asarray(delta, dtype=float)
    x = table.to_numpy(dtype=float)
    unknown = ("rho", "low", "high", "difference", "difference_low", "difference_high")
    mean_error = _leave_one_out(np.zeros_like(y), y) if len(y) > 1 else np.nan
    mean = {"predictor": "mean", **dict.fromkeys(unknown, np.nan), "error": mean_error}
    if len(y) < FEWEST or not np.isfinite(y).all() or constant(y) or primary not in table:
        return pd.DataFrame([mean])
    ranked_y = levels(y)
    index = np.random.default_rng(seed).integers(len(y), size=(RESAMPLES, len(y)))
    sampled_y = stats.rankdata(ranked_y[index], axis=1)
    rho, resampled = {}, {}
    for name in table:
        column = table[name].to_numpy(dtype=float)
        if np.isfinite(column).all() and not constant(column):
            places = levels(column)
            rho[name] = float(stats.spearmanr(places, ranked_y).statistic)
            resampled[name] = _correlate(stats.rankdata(places[index], axis=1), sampled_y)
        else:
            rho[name], resampled[name] = float("nan"), np.full(RESAMPLES, np.nan)
    rows = [
        {
            "predictor": name,
            "rho": rho[name],
            **_interval(resampled[name], ""),
            "difference": -outcome.direction * (rho[name] - rho[primary]),
            **_interval(-outcome.direction * (resampled[name] - resampled[primary]), "difference_"),
            "error": _leave_one_out(x[:, number], y),
        }
        for number, name in enumerate(table)
    ]
    ranked = pd.DataFrame(rows).sort_values("rho", ascending=outcome.direction < 0, kind="stable")
    return pd.concat([ranked, pd.DataFrame([mean])], ignore_index=True)


def _correlate(a: Floats, b: Floats) -> Floats:
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        r: Floats = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return r


def _interval(values: Floats, prefix: str) -> dict[str, float]:
    if np.isnan(values).all():
        return {f"{prefix}low": np.nan, f"{prefix}high": np.nan}
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return {f"{prefix}low": float(low), f"{prefix}high": float(high)}


def _leave_one_out(x: Floats, y: Floats) -> float:
    """Root mean square error of predicting each point from the least-squares line of the others.

    Residuals over one minus leverage (PRESS; Allen 1974): no line has to be fitted twice. A point
    that alone sets the line's slope has leverage 1, and the others none to predict it with.
    """
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    design = np.ones((len(y), 1)) if constant(x) else np.column_stack([np.ones_like(x), x])
    hat = design @ np.linalg.pinv(design)
    left = 1 - np.diag(hat)
    if (left <= ROUNDING).any():
        return float("nan")
    return float(np.sqrt((((y - hat @ y) / left) ** 2).mean()))
