"""Personas crossed with questions: log-odds that do not depend on what was asked."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.special import expit
from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM

from persona_leakage.analysis.question_model import abilities, persona_log_odds, with_log_odds
from persona_leakage.study.outcome import Outcome

ACCURACY = Outcome(name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp")


def answers(seed, personas=40, questions=300, spread=2.0):
    rng = np.random.default_rng(seed)
    ability, difficulty = rng.normal(0.5, 0.8, personas), rng.normal(0, spread, questions)
    drawn = rng.random((personas, questions)) < expit(ability[:, None] - difficulty)
    return ability, difficulty, drawn.astype(float)


def test_abilities_are_found_again_with_the_errors_they_say():
    away = []
    for seed in range(8):
        ability, difficulty, right = answers(seed)
        found, variance = abilities(right)
        away.append((found - (ability - difficulty.mean())) / np.sqrt(variance))
    away = np.concatenate(away)
    assert np.abs(away.mean()) < 0.5  # the questions' own luck is common to all personas
    centred = np.concatenate([each - each.mean() for each in np.split(away, 8)])
    assert centred.std() == pytest.approx(1, abs=0.15)


def test_they_agree_with_the_library_that_takes_minutes():
    _, _, right = answers(3, personas=12, questions=40)
    persona, question = (index.ravel() for index in np.indices(right.shape))
    effects = sp.csr_matrix(
        (
            np.ones(2 * right.size),
            (np.tile(np.arange(right.size), 2), np.r_[persona, 12 + question]),
        )
    )
    model = BinomialBayesMixedGLM(
        right.ravel(), np.ones((right.size, 1)), effects, np.repeat([0, 1], [12, 40]), vcp_p=1
    )
    theirs = model.fit_map().vc_mean[:12]
    ours = abilities(right)[0]
    assert np.corrcoef(ours, theirs)[0, 1] > 0.999


def test_who_was_asked_easy_questions_is_no_abler():
    """The same two personas over questions that half the time are all easy."""
    _, _, right = answers(5, personas=30, questions=400)
    easy = np.column_stack([right, np.ones((30, 200))])
    before, after = abilities(right)[0], abilities(easy)[0]
    np.testing.assert_allclose(before - before.mean(), after - after.mean(), atol=0.1)


def test_always_right_and_never_right_are_finite():
    right = np.vstack([np.ones(50), np.zeros(50), np.tile([0, 1], 25)])
    found, variance = abilities(right)
    assert np.isfinite(found).all()
    assert np.isfinite(variance).all()
    assert found[0] > found[2] > found[1]


def scores(right):
    return pd.DataFrame(
        [
            {"persona": f"p{i}", "question": f"q{j}", "outcome": right[i, j]}
            for i in range(right.shape[0])
            for j in range(right.shape[1])
        ]
    )


def test_a_change_is_in_log_odds_and_stands_in_the_table():
    rng = np.random.default_rng(0)
    ability, difficulty, before = answers(1, personas=12, questions=400, spread=1.0)
    change = np.where(np.arange(12) < 6, -1.5, 0.0)
    drawn = rng.random(before.shape) < expit((ability + change)[:, None] - difficulty)
    table = pd.DataFrame({"persona": [f"p{i}" for i in range(12)][::-1], "raw": 0.9})
    after = scores(drawn.astype(float)).sample(frac=1, random_state=0)
    found = with_log_odds(table, scores(before), after, ACCURACY).set_index("persona")
    order = [f"p{i}" for i in range(12)]
    assert found.index.tolist() == order[::-1]
    away = (found.loc[order, "logit_delta"] - change) / found.loc[order, "logit_error"]
    assert np.abs(away).max() < 3.5
    assert found["logit_delta"].to_numpy() == pytest.approx(
        (found["logit_after"] - found["logit_before"]).to_numpy()
    )


def test_an_outcome_of_many_values_has_no_log_odds():
    rating = ACCURACY.model_copy(update={"binary": False})
    found = persona_log_odds(scores(np.ones((2, 3))), scores(np.ones((2, 3))), ["p0", "p1"], rating)
    assert found.index.tolist() == ["p0", "p1"]
    assert found.isna().all().all()
