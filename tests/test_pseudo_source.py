"""Damage that has nothing to do with the source must not look as if it had."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from persona_leakage.analysis.best_predictor import adjusted_p
from persona_leakage.analysis.pseudo_source import pseudo_source
from persona_leakage.analysis.surrogates import surrogates

NAN = float("nan")


def geometry(seed=0, each=8):
    """Four families and eight single personas, in few directions, with a large common part."""
    rng = np.random.default_rng(seed)
    clusters = [family for family in "abcd" for _ in range(each)] + [f"s{n}" for n in range(8)]
    middles = {cluster: rng.standard_normal(10) for cluster in clusters}
    scale = 1 / np.arange(1, 11)
    points = np.array([middles[cluster] + 0.7 * rng.standard_normal(10) for cluster in clusters])
    points = np.column_stack([points * scale, np.full(len(points), 8.0)])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    names = [f"{cluster}_{number}" for number, cluster in enumerate(clusters)]
    square = pd.DataFrame(points @ points.T, names, names)
    return square, dict(zip(names, clusters, strict=True))


SQUARE, CLUSTERS = geometry()
NAMES = list(SQUARE.index)
SOURCE = NAMES[0]
FAMILY = [name for name in NAMES if CLUSTERS[name] == CLUSTERS[SOURCE]]


def standing(change, source=SOURCE, direction=-1, resamples=99, seed=0, square=SQUARE):
    family = [name for name in NAMES if CLUSTERS[name] == CLUSTERS[source]]
    return pseudo_source(
        pd.Series(change, NAMES).drop(source),
        square,
        source,
        family,
        CLUSTERS,
        direction,
        seed=seed,
        resamples=resamples,
    )


def field(kind, rng):
    same = np.array([[CLUSTERS[a] == CLUSTERS[b] for a in NAMES] for b in NAMES]).astype(float)
    centred = SQUARE.to_numpy() - SQUARE.to_numpy().mean(axis=0)
    covariance = {
        "none": np.eye(len(NAMES)),
        "families": 0.5 * same + 0.5 * np.eye(len(NAMES)),
        "smooth": centred @ centred.T / (centred**2).sum(axis=1).mean() + 0.05 * np.eye(len(NAMES)),
    }[kind]
    return np.linalg.cholesky(covariance + 1e-9 * np.eye(len(NAMES))) @ rng.standard_normal(
        len(NAMES)
    )


@pytest.mark.parametrize("kind", ["none", "families", "smooth"])
def test_any_smooth_damage_is_rarely_taken_for_this_sources(kind):
    rng = np.random.default_rng(1)
    p = [standing(field(kind, rng), NAMES[study % 32]).p for study in range(50)]
    assert np.mean(np.array(p) <= 0.05) <= 0.14  # three standard errors above .05


def test_a_permutation_of_personas_takes_smooth_damage_for_this_sources():
    rng = np.random.default_rng(1)
    p = []
    for study in range(120):
        damage = field("smooth", rng)
        p.append(stats.spearmanr(SQUARE.iloc[study % 32], damage).pvalue)
    assert np.mean(np.array(p) <= 0.05) > 0.4


def test_damage_of_the_nearest_of_the_family_alone_is_found():
    rng = np.random.default_rng(3)
    found = []
    for study in range(20):
        source = NAMES[study]
        near = SQUARE[source].rank(pct=True).to_numpy()
        kin = np.array([CLUSTERS[name] == CLUSTERS[source] for name in NAMES])
        found.append(standing(-1.0 * kin * near**4 + rng.normal(0, 0.05, len(near)), source).p)
    assert np.mean(np.array(found) <= 0.05) >= 0.25


def test_rho_leaves_the_source_out_and_each_pretender_itself():
    rng = np.random.default_rng(0)
    damage = np.round(rng.standard_normal(len(NAMES)), 1)  # with ties
    result = standing(damage)
    change = pd.Series(damage, NAMES).drop(SOURCE)
    assert result.rho == pytest.approx(
        stats.spearmanr(SQUARE.loc[SOURCE, change.index], change).statistic
    )
    rhos = {}
    for name in NAMES:
        if name not in FAMILY:
            others = change.drop(name)
            rhos[name] = stats.spearmanr(SQUARE.loc[name, others.index], others).statistic
    assert result.middle == pytest.approx(np.mean(list(rhos.values())))
    assert result.spread == pytest.approx(np.std(list(rhos.values())))
    assert result.place == 1 + sum(rho <= result.rho + 1e-9 for rho in rhos.values())
    assert result.pretenders == 1 + len(rhos)


def test_surrogate_standings_are_what_the_observed_standing_is():
    from persona_leakage.analysis.pseudo_source import _rhos, _standings

    rng = np.random.default_rng(0)
    asked = np.arange(1, len(NAMES))
    candidates = np.array([0, *range(8, len(NAMES))])
    toward = SQUARE.to_numpy()[np.ix_(candidates, asked)]
    own = np.array([-1, *range(7, len(NAMES) - 1)])
    drawn = rng.standard_normal((3, len(asked)))
    for values, far in zip(drawn, _standings(toward, own, drawn), strict=True):
        rhos = _rhos(toward, own, values)
        assert far == pytest.approx(abs(rhos[0] - rhos[1:].mean()) / rhos[1:].std())


def test_both_directions_are_tested_and_place_follows_the_direction():
    damage = field("families", np.random.default_rng(5))
    down, up = standing(damage), standing(-damage, direction=1)
    assert down.p == pytest.approx(up.p, abs=0.15)  # other surrogates, the same question
    assert down.place == up.place
    assert standing(damage, direction=1).place >= down.pretenders - down.place


def test_what_is_constant_not_a_number_or_too_little_has_no_p():
    assert np.isnan(standing(np.zeros(len(NAMES))).p)
    damage = field("none", np.random.default_rng(0))
    damage[3] = NAN
    assert np.isnan(standing(damage).p)
    hole = SQUARE.copy()
    hole.iloc[5, 6] = NAN
    fine = field("none", np.random.default_rng(0))
    assert np.isnan(standing(fine, square=hole).p)
    assert np.isnan(standing(fine, square=SQUARE * 0 + 0.9).p)
    few = pd.Series(fine[1:5], NAMES[1:5])
    assert np.isnan(pseudo_source(few, SQUARE, SOURCE, FAMILY, CLUSTERS, -1, seed=0).p)


def test_surrogates_are_as_smooth_as_the_damage():
    rng = np.random.default_rng(0)
    square = SQUARE.to_numpy()
    names = [CLUSTERS[name] for name in NAMES]

    def alike(values):
        """Correlation of a persona's change with its nearest neighbour's."""
        nearest = (square - 2 * np.eye(len(square))).argmax(axis=1)
        return np.mean([np.corrcoef(row, row[nearest])[0, 1] for row in values])

    for kind, low, high in (("none", -0.2, 0.25), ("smooth", 0.5, 1.0)):
        drawn = [surrogates(field(kind, rng), square, names, rng, 20) for _ in range(10)]
        assert low < alike(np.concatenate(drawn)) < high


def test_the_best_of_many_predictors_is_rarely_found_by_chance():
    rng = np.random.default_rng(2)
    names = [CLUSTERS[name] for name in NAMES]
    hits, bare = [], []
    for study in range(30):
        damage = field("families", rng)
        table = pd.DataFrame([field("families", rng) for _ in range(40)]).T
        p = adjusted_p(table, damage, SQUARE.to_numpy(), names, seed=study, resamples=99)
        hits.append(p.min() <= 0.05)
        bare.append(min(stats.spearmanr(table[c], damage).pvalue for c in table) <= 0.05)
    assert np.mean(hits) <= 0.2
    assert np.mean(bare) > 0.8


def test_a_predictor_that_is_the_damage_is_found_and_the_others_are_not():
    rng = np.random.default_rng(4)
    damage = field("none", rng)
    table = pd.DataFrame({"noise": field("none", rng), "it": damage, "same": 1.0, "hole": NAN})
    names = [CLUSTERS[name] for name in NAMES]
    p = adjusted_p(table, damage, SQUARE.to_numpy(), names, seed=0, resamples=199)
    assert p["it"] <= 0.01 < 0.2 < p["noise"]
    assert np.isnan(p["same"]) and np.isnan(p["hole"])
    assert adjusted_p(table, damage * NAN, SQUARE.to_numpy(), names, seed=0).isna().all()
    assert adjusted_p(table, damage * 0, SQUARE.to_numpy(), names, seed=0).isna().all()
