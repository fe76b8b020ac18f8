"""Errors that are not independent, and combinations of few of them."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from persona_leakage.analysis.robust import cluster_robust, from_parts


def drawn(seed, rows=40, clusters=8, icc=0.5):
    rng = np.random.default_rng(seed)
    codes = np.arange(rows) % clusters
    x = rng.normal(size=clusters)[codes] + 0.3 * rng.normal(size=rows)
    shared = rng.normal(size=clusters)[codes]
    y = np.sqrt(icc) * shared + np.sqrt(1 - icc) * rng.normal(size=rows)
    return np.column_stack([np.ones(rows), x]), y, codes


def test_clusters_of_one_row_give_hc2():
    design, y, _ = drawn(1)
    ours, theirs = cluster_robust(design, y, range(40)), sm.OLS(y, design).fit(cov_type="HC2")
    np.testing.assert_allclose(ours.coefficients, theirs.params)
    np.testing.assert_allclose(np.sqrt(ours.variances), theirs.bse)


def test_degrees_of_freedom_of_a_mean_are_those_of_students_t():
    ones = np.ones((12, 1))
    assert cluster_robust(ones, np.arange(12.0), range(12)).freedom(0) == pytest.approx(11)
    # of six clusters of two, five
    clustered = cluster_robust(ones, np.arange(12.0), np.arange(12) // 2)
    assert clustered.freedom(0) == pytest.approx(5)


@pytest.mark.parametrize("icc", [0.0, 0.5, 0.8])
def test_correlated_errors_in_few_clusters_keep_the_size(icc):
    found = 0
    for seed in range(400):
        fitted = cluster_robust(*drawn(seed, icc=icc))
        _, p = from_parts(fitted.coefficients[1], [fitted.variances[1]], [fitted.freedom(1)])
        found += p < 0.05
    assert 6 <= found <= 32  # 20 expected


def test_terms_that_are_collinear_have_no_coefficients():
    design = np.column_stack([np.ones(9), np.arange(9), np.arange(9)])
    assert cluster_robust(design, np.arange(9.0), range(9)) is None
    assert cluster_robust(np.eye(3), np.arange(3.0), range(3)) is None


def test_one_source_of_error_is_a_t_test():
    single, p = from_parts(2.0, [1.0], [5])
    assert p == pytest.approx(2 * stats.t.sf(2, 5))
    assert (single.low, single.high) == pytest.approx(stats.t.interval(0.95, 5, 2, 1))
    assert from_parts(2.0, [1.0, 0.0], [5, 1]) == (single, pytest.approx(p))
    assert from_parts(0.0, [1.0], [5])[1] == pytest.approx(1)
    assert from_parts(1e9, [1.0], [500])[1] == pytest.approx(0, abs=1e-90)


def test_two_sources_of_error_have_the_weighted_mean_of_their_critical_values():
    both, p = from_parts(2.0, [3.0, 1.0], [60, 2])
    reach = 2 * (3 * stats.t.isf(0.025, 60) + stats.t.isf(0.025, 2)) / 4
    assert (both.low, both.high) == pytest.approx((2 - reach, 2 + reach))
    # the p-value is the level at which the interval ends at zero
    assert from_parts(reach, [3.0, 1.0], [60, 2])[1] == pytest.approx(0.05)
    assert p > 0.05


def test_a_source_known_from_three_observations_does_not_make_the_test_too_eager():
    """Where one of them looks small by chance, degrees of freedom read off the variances do."""
    rng = np.random.default_rng(0)
    known, few = 1.0, 3 * rng.chisquare(2, 1000) / 2
    found = [
        from_parts(x, [known, v], [100, 2])[1] < 0.05
        for x, v in zip(rng.normal(0, 2, 1000), few, strict=True)
    ]
    assert np.mean(found) <= 0.055  # .04 expected, .07 by Satterthwaite's


@pytest.mark.parametrize(("estimate", "variance"), [(2.0, 0.0), (np.nan, 1.0), (2.0, np.nan)])
def test_without_an_error_there_is_no_interval(estimate, variance):
    found, p = from_parts(estimate, [variance], [5])
    assert np.isnan([found.low, found.high, p]).all()
