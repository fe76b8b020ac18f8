"""Least squares whose errors are not independent: cluster-robust, with few clusters in mind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from persona_leakage.analysis.ranks import ROUNDING, Floats


@dataclass(frozen=True)
class Interval:
    """A 95 % interval and a two-sided p-value from Student's t.

    Attributes
    ----------
    low, high : float
        Ends of the interval.
    p : float
        Of no effect.
    freedom : float
        Degrees of freedom.
    """

    low: float
    high: float
    p: float
    freedom: float


def from_parts(estimate: float, variances: Sequence[float], freedoms: Sequence[float]) -> Interval:
    """Combine sources of error, each with its own degrees of freedom (Satterthwaite 1946).

    Parameters
    ----------
    estimate : float
        What they are errors of.
    variances : sequence of float
        Of the estimate, due to each source; what counts an error twice is subtracted as a negative
        one. At least the largest is left.
    freedoms : sequence of float
        Degrees of freedom of each, above zero; infinite where it is known.
    """
    total = max(sum(variances), *variances, 0.0)
    parts = sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    if not np.isfinite(estimate) or not np.isfinite(total) or total <= 0 or parts <= 0:
        nan = float("nan")
        return Interval(nan, nan, nan, nan)
    freedom = max(total**2 / parts, 1.0)
    error = float(np.sqrt(total))
    reach = float(stats.t.isf(0.025, freedom)) * error
    p = float(2 * stats.t.sf(abs(estimate) / error, freedom))
    return Interval(estimate - reach, estimate + reach, p, freedom)


@dataclass(frozen=True)
class Regression:
    """Coefficients of least squares, with the variance and degrees of freedom of each.

    Attributes
    ----------
    coefficients, variances : ndarray of shape (terms,)
        The variances are cluster-robust.
    residuals : ndarray of shape (rows,)
        What the terms leave.
    weights : ndarray of shape (clusters, rows, terms)
        What each cluster makes of the rows' errors in each coefficient.
    """

    coefficients: Floats
    variances: Floats
    residuals: Floats
    weights: Floats

    def freedom(self, term: int) -> float:
        """Degrees of freedom of a coefficient's variance.

        Parameters
        ----------
        term : int
            Its column in the design.
        """
        gram = self.weights[:, :, term] @ self.weights[:, :, term].T
        return float(np.trace(gram) ** 2 / (gram**2).sum())


def cluster_robust(design: Floats, y: Floats, clusters: Sequence[object]) -> Regression | None:
    """Ordinary least squares with CR2 variances (Bell & McCaffrey 2002).

    The errors of a cluster may be correlated in any way; each cluster's residuals are inflated by
    what the fit takes out of them, which makes the variance unbiased where errors are independent
    after all. Degrees of freedom are Satterthwaite's, coefficient by coefficient (Pustejovsky &
    Tipton 2018, section 2). Clusters of one row give HC2.

    Parameters
    ----------
    design : ndarray of shape (rows, terms)
        With the intercept.
    y : ndarray of shape (rows,)
        Response.
    clusters : sequence of shape (rows,)
        Which cluster each row belongs to.

    Returns
    -------
    Regression or None
        ``None`` where the terms are collinear, or as many as the rows.
    """
    rows, terms = design.shape
    if rows <= terms or np.linalg.matrix_rank(design) < terms:
        return None
    bread = np.linalg.inv(design.T @ design)
    coefficients = bread @ design.T @ y
    residuals = y - design @ coefficients
    annihilator = np.eye(rows) - design @ bread @ design.T
    codes = pd.factorize(np.asarray(clusters, dtype=object))[0]
    scores, weights = [], []
    for code in range(codes.max() + 1):
        here = codes == code
        inflated = _inverse_root(annihilator[np.ix_(here, here)]) @ design[here] @ bread
        scores.append(inflated.T @ residuals[here])
        weights.append(annihilator[:, here] @ inflated)  # (rows, terms)
    variances = (np.array(scores) ** 2).sum(axis=0)
    return Regression(coefficients, variances, residuals, np.array(weights))


def _inverse_root(matrix: Floats) -> Floats:
    """Symmetric inverse square root; directions that the fit takes out fully stay out."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > 1e3 * ROUNDING
    root: Floats = (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T
    return root
