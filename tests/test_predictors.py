import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from persona_leakage.analysis.prediction import compare
from persona_leakage.geometry.cosines import table
from persona_leakage.geometry.predictors import predictors
from persona_leakage.study.outcome import Outcome

ACCURACY = Outcome(name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp")


@pytest.fixture(scope="module")
def names(personas):
    return [p.name for p in personas.values() if p.category != "condition"][:30]


@pytest.fixture(scope="module")
def pairs(names):
    vectors = np.random.default_rng(0).normal(size=(len(names), 3, 8)).astype(np.float32)
    vectors[:, 0] = 1.0  # the embedding of the last token, the same for all
    return table(vectors, names, [0, 1, 2])


def test_every_geometry_and_the_words_are_there(pairs, names, personas):
    found = predictors(pairs, "villain", names, list(personas.values()))
    assert set(found) == {
        *(f"{kind}@{layer}" for kind in ("raw", "centred", "distance") for layer in (1, 2)),
        "words",
        "tfidf",
    }
    assert found.loc["villain", "words"] == 1
    assert found.loc["villain", "tfidf"] == pytest.approx(1)
    assert found.loc["villain", "distance@1"] == pytest.approx(0, abs=1e-5)
    assert (found["distance@1"].drop("villain") < 0).all()


def test_shared_words_are_a_jaccard_index(pairs, names, personas):
    found = predictors(pairs, "villain", names, list(personas.values()))
    own, other = (
        set(personas[name].prompt.lower().rstrip(".").replace(",", "").split())
        for name in ("villain", "librarian")
    )
    assert found.loc["librarian", "words"] == pytest.approx(len(own & other) / len(own | other))


def test_the_one_that_made_the_damage_wins_and_its_error_is_the_smallest(pairs, names, personas):
    nearness = predictors(pairs, "villain", names, list(personas.values()))
    rng = np.random.default_rng(1)
    delta = -20 * nearness["centred@2"] + rng.normal(0, 1, len(names))
    found = compare(nearness, delta, "raw@2", ACCURACY, seed=1)
    assert found.loc[0, "predictor"] == "centred@2"
    assert found.loc[0, "rho"] == pytest.approx(
        stats.spearmanr(nearness["centred@2"], delta).statistic
    )
    assert found["error"].idxmin() == 0
    own = found.set_index("predictor").loc["raw@2"]
    assert own["difference"] == own["difference_low"] == own["difference_high"] == 0
    far = found.set_index("predictor").loc["words"]
    assert far["difference_low"] < far["difference"] < far["difference_high"]


def test_the_leave_one_out_error_is_the_one_of_leaving_each_out(pairs, names, personas):
    nearness = predictors(pairs, "villain", names, list(personas.values()))
    delta = np.random.default_rng(2).normal(size=len(names))
    found = compare(nearness, delta, "raw@2", ACCURACY, seed=1).set_index("predictor")
    predicted = cross_val_predict(
        LinearRegression(), nearness[["tfidf"]].to_numpy(), delta, cv=LeaveOneOut()
    )
    assert found.loc["tfidf", "error"] == pytest.approx(np.sqrt(((delta - predicted) ** 2).mean()))
    others = [np.delete(delta, index).mean() for index in range(len(delta))]
    assert found.loc["mean", "error"] == pytest.approx(np.sqrt(((delta - others) ** 2).mean()))


def test_two_predictors_of_pure_noise_rarely_differ():
    differs = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        noise = pd.DataFrame(rng.normal(size=(40, 2)), columns=["raw@1", "words"])
        found = compare(noise, rng.normal(size=40), "raw@1", ACCURACY, seed=seed).set_index(
            "predictor"
        )
        row = found.loc["words"]
        differs += not row["difference_low"] <= 0 <= row["difference_high"]
    assert differs <= 9  # 3 of 60 expected


def test_where_nothing_changed_the_mean_alone_is_left_in_the_same_columns(pairs, names, personas):
    nearness = predictors(pairs, "villain", names, list(personas.values()))
    changed = compare(nearness, np.arange(len(names)), "raw@2", ACCURACY, seed=1)
    same = compare(nearness, np.zeros(len(names)), "raw@2", ACCURACY, seed=1)
    assert same["predictor"].tolist() == ["mean"]
    assert same.loc[0, "error"] == 0
    assert set(same.columns) == set(changed.columns)
