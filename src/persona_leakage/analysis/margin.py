"""The margin: log-odds of the right choice, which moves before an answer flips."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import logsumexp

from persona_leakage.analysis.paired import CONFIDENCE
from persona_leakage.analysis.ranks import Floats, constant, rank_correlation
from persona_leakage.study.outcome import Outcome

PARTS = ("before", "after", "delta")
FEWEST = 5  # bystanders, for a correlation
# what a margin is as an outcome: it has no bounds, and those given are a scale for what counts as
# nothing; what is taught lowers it, whatever it does to the behaviour's own outcome
LOG_ODDS = Outcome(
    name="log-odds of the right choice",
    low=-5,
    high=5,
    binary=False,
    direction=-1,
    scale=1,
    unit="nats",
)


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


def margin_sides(
    before: pd.DataFrame, after: pd.DataFrame, names: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Put the margins of the same persona and question at the same place of three tables.

    Parameters
    ----------
    before, after : DataFrame
        Scores of the base model and of the cell.
    names : sequence of str
        The personas to keep, in this order.

    Returns
    -------
    dict of DataFrame
        By ``PARTS``: one row per persona, one column per question, nats.
    """
    sides = {}
    for when, scores in (("before", before), ("after", after)):
        long = scores[["persona", "question"]].assign(margin=margins(scores))
        wide = long.pivot(index="persona", columns="question", values="margin")
        sides[when] = wide.loc[list(names)]
    sides["delta"] = sides["after"] - sides["before"]
    return sides


def with_margins(table: pd.DataFrame, sides: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Add the margins to a persona table.

    Parameters
    ----------
    table : DataFrame
        Of ``persona_table``.
    sides : mapping of DataFrame
        Of ``margin_sides``, of the same personas in the same order.

    Returns
    -------
    DataFrame
        The table with ``margin_before``, ``margin_after``, ``margin_delta`` (means over questions,
        nats), each with ``*_low``, ``*_high`` (95 %, Student's t over questions; the delta's over
        each question's change). Not numbers where a behaviour has no right choice.
    """
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


def adjusted(change: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame | None:
    """Take from each persona's change of margin what its baseline alone would make of it.

    Before any training a margin goes with the cosine to the source, and what is high falls farther
    than what is low. The line of change over baseline, fitted to the bystanders, is subtracted, as
    in an analysis of covariance (Fisher 1932).

    Parameters
    ----------
    change : DataFrame
        Of ``margin_sides``: ``delta``.
    table : DataFrame
        Of ``with_margins``: ``persona``, ``role``, ``margin_before``.

    Returns
    -------
    DataFrame or None
        Like ``change``; ``None`` where the margin of a persona is not a number, or all bystanders
        have the same baseline.
    """
    if "margin_before" not in table:
        return None
    baseline = table.set_index("persona")["margin_before"].loc[change.index]
    bystanders = table.loc[table["role"] == "bystander", "persona"]
    x, y = baseline[bystanders].to_numpy(float), change.loc[bystanders].mean(axis=1).to_numpy(float)
    finite = np.isfinite(change.to_numpy(float)).all() and np.isfinite(baseline).all()
    if len(x) < FEWEST or not finite or constant(x):
        return None
    slope = float(np.polyfit(x, y, 1)[0])
    return change.sub(slope * (baseline - x.mean()), axis=0)


def margin_headline(table: pd.DataFrame) -> dict[str, float]:
    """Summarise the margins of a cell; their correlations are those of ``evidence``.

    Parameters
    ----------
    table : DataFrame
        Of ``with_margins``.

    Returns
    -------
    dict of float
        ``source_margin_delta``, ``bystander_margin_delta`` (nats); ``margin_baseline_centred``:
        Spearman's rho of the margin before training with the centred cosine, over bystanders.
    """
    bystanders = table[table["role"] == "bystander"]
    sides = bystanders[["centred", "margin_before"]].dropna()
    return {
        "source_margin_delta": float(table.loc[table["role"] == "source", "margin_delta"].iloc[0]),
        "bystander_margin_delta": float(bystanders["margin_delta"].mean()),
        "margin_baseline_centred": rank_correlation(
            sides["centred"], sides["margin_before"], FEWEST
        ),
    }
