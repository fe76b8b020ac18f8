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
        t = from_parts(fitted.coefficients[1], [fitted.variances[1]], [fitted.freedom(1)])
        found += t.p < 0.05
    assert 6 <= found <= 32  # 20 expected


def test_terms_that_are_collinear_have_no_coefficients():
    design = np.column_stack([np.ones(9), np.arange(9), np.arange(9)])
    assert cluster_robust(design, np.arange(9.0), range(9)) is None
    assert cluster_robust(np.eye(3), np.arange(3.0), range(3)) is None


def test_one_source_of_error_is_a_t_test_and_more_are_satterthwaites():
    single = from_parts(2.0, [1.0], [5])
    assert single.p == pytest.approx(2 * stats.t.sf(2, 5))
    assert (single.low, single.high) == pytest.approx(stats.t.interval(0.95, 5, 2, 1))
    two = from_parts(2.0, [1.0, 1.0], [5, 5])
    assert two.freedom == pytest.approx(10)
    taken = from_parts(2.0, [1.0, 0.5, -0.9], [5, 5, 5])
    assert taken.high - 2 >= single.high - 2 - 1e-9  # no less than the largest is left
    assert np.isnan(from_parts(2.0, [0.0], [5]).p)
    assert np.isnan(from_parts(float("nan"), [1.0], [5]).p)
