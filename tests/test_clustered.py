"""A slope's test that holds where personas of a family are alike."""

import numpy as np
import pytest
from scipy import stats

from persona_leakage.analysis.clustered import wild_cluster_p

NAN = float("nan")


def test_the_cluster_bootstrap_rarely_rejects_when_families_are_alike():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 5)
    p, naive = [], []
    for _ in range(150):
        x, y = (rng.standard_normal(20)[groups] + 0.5 * rng.standard_normal(100) for _ in "xy")
        p.append(wild_cluster_p(x, y, groups, rng, 199))
        naive.append(stats.spearmanr(x, y).pvalue)
    assert 0.0 <= np.mean(np.array(p) <= 0.05) <= 0.11
    assert np.mean(np.array(naive) <= 0.05) > 0.25


def test_the_cluster_bootstrap_finds_a_slope_over_all_clusters():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 5)
    x = rng.standard_normal(100)
    y = -0.5 * x + rng.standard_normal(20)[groups] + rng.standard_normal(100)
    assert wild_cluster_p(x, y, groups, rng, 399) < 0.05


@pytest.mark.parametrize(
    ("x", "y", "groups"),
    [
        ([1, 2, 3, 4], [1, 2, 3, NAN], "abcd"),
        ([1, NAN, 3, 4], [1, 2, 3, 5], "abcd"),
        ([1, 1, 1, 1], [1, 2, 3, 5], "abcd"),
        ([1, 2, 3, 4], [2, 2, 2, 2], "abcd"),
        ([1, 2, 3, 4], [1, 2, 3, 5], "aabb"),
        ([], [], ""),
    ],
)
def test_the_cluster_bootstrap_says_nothing_of_what_it_cannot_test(x, y, groups):
    rng = np.random.default_rng(0)
    assert np.isnan(wild_cluster_p(np.array(x, float), np.array(y, float), list(groups), rng))
