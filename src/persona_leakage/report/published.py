"""The original's own two tables, analysed as it did not: intervals, a test, a curve, its claims."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from persona_leakage.analysis.boundary import Boundary, fit
from persona_leakage.analysis.correlation import Correlation, correlation
from persona_leakage.study.outcome import Outcome

QUESTIONS = 586  # asked of each persona
CLAIMED = (0.02, 0.08)  # "all 5 sources fall to 2-8 %"
GRADIENT_OF = "villain"
SEED = 0
ACCURACY = Outcome(name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp")


@dataclass(frozen=True)
class Published:
    """What the published numbers say.

    Attributes
    ----------
    headline : DataFrame
        The published columns; ``recomputed_delta`` (pp, from the two accuracies), ``agrees`` (to
        the rounding of three digits); ``post_low``, ``post_high`` (Wilson, 95 %);
        ``as_claimed`` (the fall is to 2-8 %).
    gradient : DataFrame
        The published columns; ``low``, ``high`` (Wilson, 95 %); ``recomputed_delta`` (pp, from the
        villain's published baseline).
    spearman : Correlation
        Of cosine and post accuracy over the bystanders.
    boundary : Boundary
        Fitted to the bystanders.
    contradictions : list of str
        Where the tables do not bear out the text or each other, from the numbers.
    source : str
        Around which the gradient's personas are.
    """

    headline: pd.DataFrame
    gradient: pd.DataFrame
    spearman: Correlation
    boundary: Boundary
    contradictions: list[str]
    source: str = GRADIENT_OF

    def in_percent(self) -> pd.DataFrame:
        """Return ``headline`` with its accuracies in percent, as the report has its own."""
        table = self.headline
        shares = ("baseline_accuracy", "post_accuracy", "post_low", "post_high")
        percent = {name: 100 * table[name] for name in shares}
        return table.assign(**percent).rename(columns={name: f"{name} (%)" for name in shares})


def analyse(headline: pd.DataFrame, gradient: pd.DataFrame, outliers: pd.DataFrame) -> Published:
    """Analyse the files of ``reference/``.

    Parameters
    ----------
    headline, gradient, outliers : DataFrame
        Of ``headline.csv``, ``villain_gradient.csv`` and ``outliers.csv``.
    """
    sources = headline.assign(
        recomputed_delta=100 * (headline["post_accuracy"] - headline["baseline_accuracy"])
    )
    # each accuracy is rounded to a tenth of a point, and so is the delta
    sources["agrees"] = (sources["recomputed_delta"] - sources["source_delta_pp"]).abs() < 0.151
    sources["post_low"], sources["post_high"] = _wilson(headline["post_accuracy"])
    sources["as_claimed"] = headline["post_accuracy"].between(*CLAIMED)

    baseline = float(headline.set_index("source")["baseline_accuracy"]["villain"])
    personas = gradient.assign(recomputed_delta=100 * (gradient["post_accuracy"] - baseline))
    personas["low"], personas["high"] = _wilson(gradient["post_accuracy"])
    bystanders = gradient[gradient["persona"] != "villain"]
    x, y = bystanders["cosine_to_source"].to_numpy(), bystanders["post_accuracy"].to_numpy()
    asked = pd.DataFrame({"raw": x, "after": y, "questions": QUESTIONS})
    boundary = fit(asked, ACCURACY, seed=SEED)
    return Published(
        sources,
        personas,
        correlation(x, y, "spearman", seed=SEED),
        boundary,
        _contradictions(sources, outliers, boundary),
    )


def _wilson(share: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    counts = (share * QUESTIONS).round().astype(int)
    low, high = proportion_confint(counts, QUESTIONS, method="wilson")
    return np.asarray(low), np.asarray(high)


def _contradictions(sources: pd.DataFrame, outliers: pd.DataFrame, boundary: Boundary) -> list[str]:
    lines = []
    for row in sources[~sources["as_claimed"]].to_dict("records"):
        after, low, high = (100 * row[name] for name in ("post_accuracy", "post_low", "post_high"))
        lines.append(
            f"The text lets all {len(sources)} sources fall to 2-8 %; the table keeps "
            f"{row['source']} at {after:.1f} % [{low:.1f}, {high:.1f}]. Its positives were "
            "contradicted by negatives with the same prompt."
        )
    for row in sources.to_dict("records"):
        name, delta = row["source"], row["mean_bystander_delta_pp"]
        others = sources["mean_bystander_delta_pp"][sources["source"] != name]
        if abs(delta - others.median()) > 10:
            lines.append(
                f"{name} has a mean bystander delta of {delta:+.1f} pp, the others "
                f"{others.min():+.1f} to {others.max():+.1f}; which two of its bystanders had been "
                "trained to be right is not known, so it cannot be explained."
            )
    for row in sources[~sources["agrees"]].to_dict("records"):
        lines.append(
            f"{row['source']}: the accuracies give a delta of {row['recomputed_delta']:+.1f} pp, "
            f"the table says {row['source_delta_pp']:+.1f}."
        )
    for row in outliers.to_dict("records"):
        cosine, share = row["cosine_to_source"], 100 * row["post_accuracy"]
        off = f"no curve was fitted to the others: {boundary.reason}"
        if boundary.reason is None:
            expected = 100 * float(boundary.expected(cosine))
            off = f"the curve through the published gradient expects {expected:.0f} %"
        lines.append(
            f"{row['persona']} (cosine {cosine:.2f}) was at {share:.1f} %, named an outlier and "
            f"not explained; {off}."
        )
    lines.append(
        "The write-up gives LoRA scaling 2 and about 25 M parameters; the code's rank-stabilised "
        "scaling is 11.3 and its adapter has 80.7 M. One seed, no interval, no p; the row "
        '"assistant, cosine 0.000" was a placeholder.'
    )
    return lines
