"""Least squares whose errors are not independent: cluster-robust, with few clusters in mind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, special

from persona_leakage.analysis.estimate import UNKNOWN, Estimate
from persona_leakage.analysis.ranks import ROUNDING, Floats

LEAST_P = 1e-100  # what is smaller is given as this


def from_parts(
    estimate: float, variances: Sequence[float], freedoms: Sequence[float]
) -> tuple[Estimate, float]:
    """Combine sources of error, each of them known from a few observations of its own.

    The error's square is the sum of the variances; its critical value is the mean of the critical
    values of Student's t with each source's degrees of freedom, weighted by the variances (Cochran
    & Cox 1950, section 4.14; Cochran 1964). Satterthwaite's degrees of freedom (1946) are read off
    the same variances as the error: where a source with two degrees of freedom happens to look
    small they come out large, and the test rejects too often.

    Parameters
    ----------
    estimate : float
        What they are errors of.
    variances : sequence of float
        Of the estimate, due to each source; zero or more.
    freedoms : sequence of float
        Degrees of freedom of each, above zero.

    Returns
    -------
    Estimate
        With its 95 % interval; not a number, like the p-value, where the variance is not above
        zero.
    float
        Two-sided p-value of no effect.
    """
    total = sum(variances)
    if not np.isfinite(estimate) or not np.isfinite(total) or total <= 0:
        return UNKNOWN, float("nan")
    error = float(np.sqrt(total))
    parts = [(v / total, f) for v, f in zip(variances, freedoms, strict=True) if v > 0]

    def critical(p: float) -> float:
        return -sum(share * float(special.stdtrit(freedom, p / 2)) for share, freedom in parts)

    reach, t = critical(0.05) * error, abs(estimate) / error
    p = LEAST_P
    if critical(LEAST_P) > t:
        found = optimize.brentq(lambda log: critical(np.exp(log)) - t, np.log(LEAST_P), 0.0)
        p = float(np.exp(found))
    return Estimate(estimate, estimate - reach, estimate + reach), p


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
