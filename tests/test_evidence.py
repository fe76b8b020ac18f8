"""The evidence of a source: what it counts, and what it refuses."""

import math
from dataclasses import fields, is_dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made import ACCURACY, AGREEMENT

from persona_leakage.analysis.best_predictor import adjusted_p
from persona_leakage.analysis.clustered import wild_cluster_p
from persona_leakage.analysis.equivalence import size_of
from persona_leakage.analysis.estimate import Estimate
from persona_leakage.analysis.evidence import evidence
from persona_leakage.analysis.pseudo_source import pseudo_source
from persona_leakage.analysis.settle import Components, components, needed
from persona_leakage.errors import InputError

NAN = float("nan")
COUNT = 45
NAMES = ["villain", *(f"kin_{n}" for n in range(16)), *(f"other_{n}" for n in range(COUNT - 17))]
CLUSTERS = {
    name: "villain" if number < 17 else f"c{number % 9}" for number, name in enumerate(NAMES)
}
FAMILY = frozenset(NAMES[:17])
QUESTIONS = [f"q{n}" for n in range(40)]


def made(seed=0, drop=0.5, source_drop=0.5, everyone=0.0, noise=0.3):
    """A study: similarity, and changes that follow it within the family."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((COUNT, 6)) / np.arange(1, 7)
    points[:17] += rng.standard_normal(6) / np.arange(1, 7)
    points = np.column_stack([points, np.full(COUNT, 6.0)])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    square = pd.DataFrame(np.clip(points @ points.T, -1, 1), NAMES, NAMES)
    near = square["villain"].rank(pct=True).to_numpy()
    damage = np.array([-drop * near[n] if name in FAMILY else 0 for n, name in enumerate(NAMES)])
    damage[0] = -source_drop
    change = damage[:, None] + everyone + rng.normal(0, noise, (COUNT, len(QUESTIONS)))
    return pd.DataFrame(np.clip(change, -1, 1), NAMES, QUESTIONS), square


def gathered(changes, square, outcome=ACCURACY, by_similarity=False, bystanders=NAMES[1:]):
    return evidence(
        changes,
        square,
        "villain",
        bystanders,
        FAMILY,
        CLUSTERS,
        outcome,
        by_similarity=by_similarity,
        seed=0,
    )


@pytest.fixture(scope="module")
def study():
    change, square = made()
    return change, square, gathered([change], square)


def test_changes_are_means_in_the_outcomes_unit(study):
    change, _, found = study
    pp = 100 * change.mean(axis=1)
    assert found.source_change.value == pytest.approx(pp["villain"])
    assert found.family_change.value == pytest.approx(pp.iloc[1:17].mean())
    assert found.outside_change.value == pytest.approx(pp.iloc[17:].mean())
    assert found.bystander_change.value == pytest.approx(pp.iloc[1:].mean())
    assert found.specific.value == pytest.approx(pp["villain"] - pp.iloc[17:].mean())
    assert found.between.value == pytest.approx(pp.iloc[1:17].mean() - pp.iloc[17:].mean())
    assert (found.family, found.outside, found.questions, found.seeds) == (16, COUNT - 17, 40, 1)


def test_every_estimate_lies_in_its_interval(study):
    for field in fields(study[2]):
        value = getattr(study[2], field.name)
        if isinstance(value, Estimate):
            assert value.low <= value.value <= value.high, field.name


def test_rho_is_over_bystanders_whole_within_and_outside(study):
    change, square, found = study
    pair = pd.DataFrame({"x": square["villain"], "y": change.mean(axis=1)}).iloc[1:]

    def rho(rows):
        return rows["x"].corr(rows["y"], method="spearman")

    assert found.rho.value == pytest.approx(rho(pair))
    assert found.family_rho.value == pytest.approx(rho(pair.iloc[:16]))
    assert found.outside_rho.value == pytest.approx(rho(pair.iloc[16:]))
    assert found.rho_by_seed == (pytest.approx(found.rho.value),)
    assert found.family_rho.excludes(0) and not found.outside_rho.excludes(0)
    assert abs(found.true_rho.value) > abs(found.rho.value)


def test_the_order_of_rows_and_columns_changes_nothing(study):
    change, square, found = study
    shuffled = square.sample(frac=1, random_state=1)
    again = gathered([change.iloc[::-1]], shuffled[shuffled.index])
    assert again.rho == found.rho
    assert again.place == found.place and again.family_change == found.family_change


def test_the_source_is_no_bystander_of_its_own(study):
    change, square, found = study
    assert gathered([change], square, bystanders=NAMES).bystander_change == found.bystander_change


def test_seeds_are_averaged_and_their_rhos_kept():
    (one, square), (other, _) = made(0), made(1)
    found = gathered([one, other], square)
    assert found.seeds == 2 and len(found.rho_by_seed) == 2
    assert found.source_change.value == pytest.approx(
        50 * (one.loc["villain"].mean() + other.loc["villain"].mean())
    )
    assert math.isfinite(found.needed.seeds) or found.needed.seeds == math.inf


def test_an_outcome_of_another_scale_and_direction_is_read_by_it():
    change, square = made()
    found = gathered([-10 * change], square, AGREEMENT)
    plain = gathered([change], square)
    assert found.source_change.value == pytest.approx(-plain.source_change.value / 10)
    assert found.place == plain.place
    assert found.size == plain.size and found.shape == plain.shape


def test_everyone_improving_is_no_leakage(study):
    change, square = made(drop=0.0, everyone=0.15, noise=0.1)
    found = gathered([change], square)
    assert found.size == found.family_size == "opposite"
    assert found.shape in ("none", "cannot tell")


def test_neighbours_carry_no_shape(study):
    change, square, _ = study
    assert gathered([change], square, by_similarity=True).shape == "cannot tell"


@pytest.mark.parametrize("where", ["change", "similarity", "absent", "unasked"])
def test_what_is_missing_is_refused_by_name(study, where):
    change, square = study[0].copy(), study[1].copy()
    if where == "change":
        change.loc["kin_3", "q5"] = NAN
    elif where == "similarity":
        square.loc["kin_3", "other_2"] = NAN
    elif where == "absent":
        square = square.drop(index="kin_3", columns="kin_3")
    else:
        change = change.drop(index="kin_3")
    with pytest.raises(InputError, match="kin_3"):
        gathered([change], square)


@pytest.mark.parametrize("outside", [0, 3])
def test_a_study_without_others_has_a_family_all_the_same(study, outside):
    change, square, found = study
    few = gathered([change], square, bystanders=NAMES[1 : 17 + outside])
    assert few.family_rho.value == pytest.approx(found.family_rho.value)
    assert math.isnan(few.outside_rho.value)


# the mean, its spread, and the word that the 90 % interval calls for
@pytest.mark.parametrize(
    ("mean", "spread", "direction", "word"),
    [
        (-0.01, 0.01, -1, "no leakage"),
        (-0.03, 0.01, -1, "no leakage"),
        (-0.05, 0.01, -1, "inconclusive"),
        (-0.04, 0.02, -1, "inconclusive"),
        (-0.10, 0.02, -1, "leaks"),
        (0.10, 0.02, -1, "opposite"),
    ],
)
def test_the_size_of_a_change_follows_its_interval(mean, spread, direction, word):
    draws = np.random.default_rng(0).normal(mean, spread, 5000)
    assert size_of(draws, ACCURACY) == word
    assert size_of(-10 * draws, AGREEMENT) == word


def test_unknown_draws_are_inconclusive():
    assert size_of(np.array([]), ACCURACY) == "inconclusive"
    assert size_of(np.array([0.0, NAN]), ACCURACY) == "inconclusive"


def test_variance_components_are_those_put_in():
    rng = np.random.default_rng(0)
    persona = rng.normal(0, 0.3, (1, 300, 1))
    by_seed = rng.normal(0, 0.2, (6, 300, 1))
    shared = rng.normal(0, 1.0, (6, 1, 1)) + rng.normal(0, 1.0, (1, 1, 50))
    changes = persona + by_seed + shared + rng.normal(0, 0.5, (6, 300, 50))
    found = components(changes)
    assert found.persona == pytest.approx(0.09, rel=0.25)
    assert found.persona_seed == pytest.approx(0.04, rel=0.15)
    assert found.answer == pytest.approx(0.25, rel=0.05)
    assert math.isnan(components(changes[:1]).persona_seed)


def test_a_steeper_or_less_noisy_gradient_needs_less():
    parts = Components(0.004, 0.001, 0.2)
    plain = needed(-0.3, parts, 100, 50, 2)
    assert plain.personas > 100 and plain.questions > 50 and plain.seeds > 2
    assert needed(-0.5, parts, 100, 50, 2).personas < plain.personas
    assert needed(-0.3, parts, 100, 500, 2).personas < plain.personas
    assert needed(-0.3, parts, 100, 50, 5).personas < plain.personas
    assert needed(0.3, parts, 100, 50, 2) == plain


def test_no_number_of_questions_makes_up_for_too_few_personas():
    few = needed(-0.3, Components(0.004, 0.001, 0.2), 20, 50, 2)
    assert few.questions == few.seeds == math.inf
    assert math.isfinite(few.personas)


@pytest.mark.parametrize("rho", [0.0, NAN])
def test_without_an_effect_nothing_would_settle_it(rho):
    assert math.isnan(needed(rho, Components(0.004, 0.001, 0.2), 100, 50, 2).personas)


VALUES = st.sampled_from([0.0, 1.0, -1.0, 0.25, 1e-12, 1e12, 0.1 + 0.2, NAN, math.inf])


@settings(max_examples=40)
@given(
    hnp.arrays(float, 12, elements=VALUES),
    hnp.arrays(float, 12, elements=VALUES),
    st.lists(st.sampled_from("abcd"), min_size=12, max_size=12),
)
def test_any_numbers_give_a_p_between_0_and_1_or_none(x, y, clusters):
    rng = np.random.default_rng(0)
    names = [str(number) for number in range(12)]
    points = np.column_stack([np.arange(12.0), np.full(12, 30.0)])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    square = points @ points.T
    everyone = [
        wild_cluster_p(x, y, clusters, rng, 19),
        *adjusted_p(pd.DataFrame({"x": x, "y": y}), y, square, clusters, seed=0, resamples=19),
    ]
    others = []  # the source is no bystander: what became of it is not asked
    hole = square.copy()
    hole[0] = hole[:, 0] = x
    for matrix in (square, hole):
        frame = pd.DataFrame(matrix, names, names)
        change = pd.Series(y, names).drop("0")
        groups = dict(zip(names, clusters, strict=True))
        others.append(pseudo_source(change, frame, "0", {"0"}, groups, -1, seed=0, resamples=19).p)
    for asked, found in ((y, everyone), (y[1:], others)):
        for p in found:
            assert math.isnan(p) or (np.isfinite(asked).all() and 0 < p <= 1)


@settings(max_examples=15)
@given(st.data())
def test_any_answers_give_evidence_or_a_sentence(data):
    count = data.draw(st.integers(0, 12))
    elements = st.sampled_from([-1.0, 0.0, 1.0] + [NAN] * data.draw(st.integers(0, 1)))
    change = data.draw(hnp.arrays(float, (COUNT, 3), elements=elements))
    square = made()[1]
    if data.draw(st.booleans()):
        square = square * 0 + 1.0
    frame = pd.DataFrame(change, NAMES, ["a", "b", "c"])
    bystanders = data.draw(st.permutations(NAMES[1:]))[:count]
    asked = frame.loc[["villain", *bystanders]]
    if asked.isna().to_numpy().any():
        with pytest.raises(InputError, match="not a number"):
            gathered([frame], square, bystanders=bystanders)
        return
    found = gathered([frame], square, bystanders=bystanders)
    assert is_dataclass(found)
    for p in (found.pseudo_p, found.family_pseudo_p, found.cluster_p):
        assert math.isnan(p) or 0 < p <= 1
    assert -1 <= found.rho.value <= 1 or math.isnan(found.rho.value)
