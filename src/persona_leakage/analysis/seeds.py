"""Across cells: what holds over seeds and sources, and what differs between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from persona_leakage.analysis.ranks import constant
from persona_leakage.analysis.robust import cluster_robust, from_parts

FEWEST = 8  # personas: two for each coefficient
METRICS = (
    "source_delta",
    "bystander_delta",
    "unrelated_delta",
    "negative_delta",
    "spearman_raw",
    "spearman_centred",
)


def over_seeds(headline: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread of the headline numbers over the seeds of each source and variant.

    Parameters
    ----------
    headline : DataFrame
        One row per cell: ``source``, ``seed``, ``variant`` and the numbers of
        ``persona_table.headline``.

    Returns
    -------
    DataFrame
        ``variant``, ``source``, ``seeds``, and for each metric ``<metric>`` (mean),
        ``<metric>_sd`` (sample standard deviation; not a number for one seed), ``<metric>_min``,
        ``<metric>_max``.
    """
    rows = []
    for (variant, source), group in headline.groupby(["variant", "source"], sort=False):
        row = {"variant": variant, "source": source, "seeds": len(group)}
        for metric in METRICS:
            values = group[metric]
            row |= {
                metric: values.mean(),
                f"{metric}_sd": values.std(),
                f"{metric}_min": values.min(),
                f"{metric}_max": values.max(),
            }
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class MixedModel:
    """How steeply the log-odds of the outcome change with the cosine, over the seeds of a source.

    Attributes
    ----------
    slope, low, high : float
        In log-odds per 0.01 of cosine, with a 95 % interval.
    p : float
        Two-sided, of no slope.
    persona_sd, seed_sd, residual_sd : float
        Standard deviations, in log-odds: of personas about the line, of the seeds' slopes (per 0.01
        of cosine), and of persona by seed.
    rows : int
        Persona-by-seed observations.
    reason : str or None
        Why it was not fitted.
    """

    slope: float
    low: float
    high: float
    p: float
    persona_sd: float
    seed_sd: float
    residual_sd: float
    rows: int
    reason: str | None


def mixed_model(table: pd.DataFrame) -> MixedModel:
    """Fit ``logit_delta = line over cosine, baseline and prompt length + persona + seed``.

    The second stage of a question-level logistic model: the first, ``persona_log_odds``, crosses
    personas with questions in each seed; here their changes are regressed on the cosine, with
    persona effects and a line of its own for each seed (random intercept and slope). As every
    persona has a change in every seed, no likelihood is needed: the slope is the mean of the seeds'
    slopes, and its variance that of the personas, robust to clusters (CR2), less what the seeds
    count as well, plus that of the seeds (Clark 1973). Three seeds leave the latter two degrees of
    freedom; the critical value is that of ``from_parts``. That seeds' lines are summarised first
    and tested then is the summary-statistics approach (Holmes & Friston 1998).

    Parameters
    ----------
    table : DataFrame
        ``persona``, ``relation``, ``seed``, ``raw``, ``before``, ``prompt_length``,
        ``logit_delta``; one row per bystander and seed. Personas of one relation are a cluster, one
        without is a cluster by itself. Who is no bystander in every seed is left out.
    """

    def not_fitted(reason: str) -> MixedModel:
        nan = float("nan")
        return MixedModel(nan, nan, nan, nan, nan, nan, nan, len(table), reason)

    columns = ["raw", "before", "prompt_length", "logit_delta"]
    table = table.reindex(columns=["persona", "relation", "seed", *columns])
    seeds = table["seed"].nunique()
    if seeds < 2:
        return not_fitted("one seed cannot tell what another would give")
    if not np.isfinite(table[columns].to_numpy(float)).all():
        return not_fitted("a cosine, a baseline or a change in log-odds is not a number")
    wide = table.pivot(index="persona", columns="seed", values="logit_delta").dropna()
    names = wide.index.tolist()
    if len(names) < FEWEST:
        return not_fitted(f"fewer than {FEWEST} personas are bystanders in every seed")
    first = table.drop_duplicates("persona").set_index("persona").loc[names]
    clusters = first["relation"].where(first["relation"].notna(), pd.Series(names, index=names))
    cosine = 100 * first["raw"].to_numpy(float)
    if constant(cosine):
        return not_fitted("all bystanders have the same cosine")
    change = wide.to_numpy(float)
    if constant(change.ravel()):
        return not_fitted("all bystanders changed alike")
    given = first[["before", "prompt_length"]].to_numpy(float)
    given = given[:, [not constant(each) for each in given.T]]
    design = np.column_stack([np.ones(len(names)), cosine, given])
    design[:, 1:] -= design[:, 1:].mean(axis=0)
    over_personas = cluster_robust(design, change.mean(axis=1), clusters.tolist())
    if over_personas is None:
        return not_fitted("baseline or prompt length follow the cosine exactly")
    # one line per seed
    lines = np.linalg.lstsq(design, change, rcond=None)[0]
    slopes, left = lines[1], change - design @ lines
    freedom = len(names) - design.shape[1]
    interplay = left - left.mean(axis=1, keepdims=True)
    noise = float((interplay**2).sum() / (freedom * (seeds - 1)))
    leverage = float(np.linalg.inv(design.T @ design)[1, 1])
    of_personas = float(over_personas.variances[1])
    of_seeds = float(slopes.var(ddof=1)) / seeds
    both = min(noise * leverage / seeds, of_personas, of_seeds)
    slope, p = from_parts(
        float(slopes.mean()),
        [of_personas - both, of_seeds],
        [over_personas.freedom(1), seeds - 1],
    )
    personas = float((over_personas.residuals**2).sum() / freedom) - noise / seeds
    return MixedModel(
        slope.value,
        slope.low,
        slope.high,
        p,
        float(np.sqrt(max(personas, 0))),
        float(np.sqrt(max(slopes.var(ddof=1) - noise * leverage, 0))),
        float(np.sqrt(noise)),
        change.size,
        None,
    )


@dataclass(frozen=True)
class Heterogeneity:
    """Whether estimates differ by more than their errors (Higgins & Thompson 2002).

    Attributes
    ----------
    pooled : float
        Inverse-variance weighted mean.
    q : float
        Cochran's Q; chi-squared with ``count - 1`` degrees of freedom if they are all the same.
    i_squared : float
        Share of the variation that is not error, 0 to 1.
    p : float
        Of Q.
    count : int
        Of the estimates.
    """

    pooled: float
    q: float
    i_squared: float
    p: float
    count: int


def heterogeneity(estimates: Sequence[float], errors: Sequence[float]) -> Heterogeneity | None:
    """Compare estimates with their standard errors, by statsmodels' ``combine_effects``.

    Parameters
    ----------
    estimates : sequence of float
        One per source, say.
    errors : sequence of float
        Their standard errors, above zero.

    Returns
    -------
    Heterogeneity or None
        ``None`` for fewer than two estimates.
    """
    if len(estimates) < 2:
        return None
    values, variances = np.asarray(estimates, float), np.asarray(errors, float) ** 2
    # about their mean: statsmodels' Q is a difference of sums of squares
    centre = values.mean()
    with np.errstate(invalid="ignore", divide="ignore"):  # of its random effects, not read here
        combined = combine_effects(values - centre, variances, method_re="chi2")
    freedom = len(values) - 1
    q = max(float(combined.q), 0.0)
    return Heterogeneity(
        pooled=float(centre + combined.mean_effect_fe),
        q=q,
        i_squared=float(combined.i2) if q > freedom else 0.0,
        p=float(stats.chi2.sf(q, freedom)),
        count=len(values),
    )
