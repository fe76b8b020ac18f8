"""The margin: log-odds of the right choice, which moves before an answer flips."""

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import logsumexp

from persona_leakage.analysis.correlation import Correlation, correlation, partial_correlation
from persona_leakage.analysis.paired import CONFIDENCE
from persona_leakage.analysis.ranks import Floats

PARTS = ("before", "after", "delta")


def margins(scores: pd.DataFrame) -> Floats:
    """Log-odds of the continuation that does not show the behaviour, among those scored.

    ``log p(right) - log sum p(wrong)``, in nats: the accuracy's margin, which has no floor and no
    ceiling, and which a persona can lose without one answer flipping.

    Parameters
    ----------
    scores : DataFrame
        ``scores`` (log-probabilities, one array per row), ``answer`` (index of the right one): what
        every behaviour observes that knows one.

    Returns
    -------
    ndarray of shape (rows,)
        Not a number where there is no ``answer``, or nothing beside it.
    """
    nothing = np.full(len(scores), np.nan)
    if "answer" not in scores or scores.empty:
        return nothing
    lengths = scores["scores"].map(len).to_numpy(int)
    rows = np.repeat(np.arange(len(scores)), lengths)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    table = np.full((len(scores), max(int(lengths.max()), 1)), -np.inf)
    table[rows, places] = np.concatenate(scores["scores"].to_list()).astype(float)
    right = scores["answer"].to_numpy(int)
    known = (lengths > 1) & (right >= 0) & (right < lengths)
    each = np.flatnonzero(known)
    own = table[each, right[each]]
    table[each, right[each]] = -np.inf
    nothing[each] = own - logsumexp(table[each], axis=1)
    return nothing


def with_margins(table: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Add the margins to a persona table.

    Parameters
    ----------
    table : DataFrame
        Of ``persona_table``.
    before, after : DataFrame
        Scores of the base model and of the cell, those of the table.

    Returns
    -------
    DataFrame
        The table with ``margin_before``, ``margin_after``, ``margin_delta`` (means over questions,
        nats), each with ``*_low``, ``*_high`` (95 %, Student's t over questions; the delta's over
        each question's change). Not numbers where a behaviour has no right choice.
    """
    sides = {}
    for when, scores in (("before", before), ("after", after)):
        long = scores[["persona", "question"]].assign(margin=margins(scores))
        sides[when] = long.pivot(index="persona", columns="question", values="margin").loc[
            table["persona"]
        ]
    sides["delta"] = sides["after"] - sides["before"]
    columns: dict[str, Floats] = {}
    for part in PARTS:
        values = sides[part].to_numpy(float)
        count = values.shape[1]
        mean = values.mean(axis=1)
        reach = np.full(len(values), np.nan)
        if count > 1:
            quantile = float(stats.t.isf((1 - CONFIDENCE) / 2, count - 1))
            reach = quantile * values.std(axis=1, ddof=1) / np.sqrt(count)
        columns |= {
            f"margin_{part}": mean,
            f"margin_{part}_low": mean - reach,
            f"margin_{part}_high": mean + reach,
        }
    return table.assign(**columns)


def margin_gradient(table: pd.DataFrame, seed: int) -> dict[str, float]:
    """Summarise how the bystanders' margins moved with the cosine.

    Before any training a margin goes with the cosine to the source, and what is high falls farther
    than what is low: the change is therefore also read given its baseline and the prompt's length
    (analysis of covariance, over ranks).

    Parameters
    ----------
    table : DataFrame
        Of ``with_margins``.
    seed : int
        Of permutations and bootstrap.

    Returns
    -------
    dict of float
        ``source_margin_delta``, ``bystander_margin_delta`` (nats); ``margin_baseline_centred``:
        Spearman's rho of the margin before training with the centred cosine;
        ``margin_{raw,centred}`` and ``margin_{raw,centred}_adjusted``: rho of the change with the
        cosine, and given the baseline margin and the prompt's length; each with ``*_p``, ``*_low``,
        ``*_high``.
    """
    bystanders = table[table["role"] == "bystander"]
    delta = bystanders["margin_delta"].to_numpy(float)
    before = bystanders["margin_before"].to_numpy(float)
    given = bystanders[["margin_before", "prompt_length"]].to_numpy(float)
    sides = {kind: bystanders[kind].to_numpy(float) for kind in ("raw", "centred")}
    tests: dict[str, Correlation] = {
        "margin_baseline_centred": correlation(sides["centred"], before, "spearman", seed=seed)
    }
    for kind, cosine in sides.items():
        tests[f"margin_{kind}"] = correlation(cosine, delta, "spearman", seed=seed)
        tests[f"margin_{kind}_adjusted"] = partial_correlation(cosine, delta, given, seed=seed)
    numbers = {
        "source_margin_delta": float(table.loc[table["role"] == "source", "margin_delta"].iloc[0]),
        "bystander_margin_delta": float(delta.mean()) if len(delta) else float("nan"),
    }
    for name, test in tests.items():
        numbers |= {
            name: test.r,
            f"{name}_p": test.p,
            f"{name}_low": test.low,
            f"{name}_high": test.high,
        }
    return numbers
