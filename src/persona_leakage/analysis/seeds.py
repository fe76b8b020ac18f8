"""Across cells: what holds over seeds and sources, and what differs between them."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.meta_analysis import combine_effects

from persona_leakage.analysis.ranks import constant

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
    """``delta = intercept + slope * cosine + persona + seed + residual``.

    Attributes
    ----------
    slope, low, high : float
        In the outcome's unit per 0.01 of cosine, with a 95 % Wald interval.
    p : float
        Wald test of the slope, two-sided.
    persona_sd, seed_sd, residual_sd : float
        Standard deviations of the random effects and of the rest, in the outcome's unit.
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
    """Fit the bystanders of one source over its seeds, persona and seed as crossed random effects.

    statsmodels' ``MixedLM``, restricted maximum likelihood (Laird & Ware 1982).

    Parameters
    ----------
    table : DataFrame
        ``persona``, ``seed``, ``raw``, ``delta``; one row per bystander and seed.
    """
    nan = float("nan")

    def not_fitted(reason: str) -> MixedModel:
        return MixedModel(nan, nan, nan, nan, nan, nan, nan, len(table), reason)

    if table["seed"].nunique() < 2:
        return not_fitted("one seed cannot tell the effect of a persona from the rest")
    if table["persona"].nunique() < 5:
        return not_fitted("fewer than five bystanders")
    if not np.isfinite(table[["raw", "delta"]].to_numpy(float)).all():
        return not_fitted("a cosine or a change is not a number")
    if constant(table["raw"].to_numpy(float)):
        return not_fitted("all bystanders have the same cosine")
    if constant(table["delta"].to_numpy(float)):
        return not_fitted("all bystanders changed alike")
    data = pd.DataFrame(
        {
            "delta": table["delta"].astype(float),
            # in hundredths and about the mean: of a size with the deltas, for the optimiser's sake
            "cosine": 100 * (table["raw"] - table["raw"].mean()),
            "persona": table["persona"].astype(str),
            "seed": table["seed"].astype(str),
        }
    ).reset_index(drop=True)  # statsmodels aligns by the index
    model = MixedLM.from_formula(
        "delta ~ cosine",
        groups=np.ones(len(data)),
        vc_formula={"persona": "0 + C(persona)", "seed": "0 + C(seed)"},
        re_formula="0",
        data=data,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance at zero is an answer, and is reported as one
        try:
            fitted = model.fit(reml=True, method=["lbfgs", "powell"])
        except np.linalg.LinAlgError:
            return not_fitted("the likelihood has no clear maximum")
    slope, error = float(fitted.fe_params["cosine"]), float(fitted.bse_fe["cosine"])
    if not np.isfinite(error) or error == 0:
        return not_fitted("the likelihood has no clear maximum")
    variances = dict(zip(model.exog_vc.names, fitted.vcomp, strict=True))
    return MixedModel(
        slope,
        slope - 1.96 * error,
        slope + 1.96 * error,
        float(2 * stats.norm.sf(abs(slope / error))),
        float(np.sqrt(max(variances["persona"], 0))),
        float(np.sqrt(max(variances["seed"], 0))),
        float(np.sqrt(fitted.scale)),
        len(data),
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
