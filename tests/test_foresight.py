"""Foresight is judged on what no fit has seen, with intervals that know of sources and families."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from persona_leakage.analysis import foresight
from persona_leakage.analysis.foresight import Method
from persona_leakage.errors import InputError

METHODS = (
    Method("near", ("near",)),
    Method("words", ("words",)),
    Method("both", ("near", "words")),
    Method("a layer", ("noise", "near", "other"), one=True),
)


def made(slope=5.0, sources=4, personas=60, seed=0):
    """A damage that follows one predictor, on another scale for each source, and a noise."""
    rng = np.random.default_rng(seed)
    parts = []
    for source in range(sources):
        near, words, noise, other = rng.normal(size=(4, personas))
        parts.append(
            pd.DataFrame(
                {
                    "source": f"s{source}",
                    "persona": [f"p{n}" for n in range(personas)],
                    "family": [f"f{n % 5}" for n in range(personas)],
                    "cluster": [f"c{n % 20}" for n in range(personas)],
                    "delta": -slope * near + rng.normal(size=personas),
                    "near": 100 * source + (1 + source) * near,
                    "words": words,
                    "noise": noise,
                    "other": other,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def table(frame, by="source"):
    predictions = foresight.held_out(frame, METHODS, by)
    return foresight.judge(frame, predictions, "words", seed=1).set_index("method")


@pytest.mark.parametrize("by", ["source", "family"])
def test_what_the_damage_follows_is_found_and_noise_is_not(by):
    judged = table(made(), by)
    assert judged.loc["near", "r2_low"] > 0.8
    assert judged.loc["near", "gain_low"] > 0.8
    assert judged.loc["words", "r2"] < 0.02
    # below 0, if anything: what the rest has by chance, the part left out has the other way
    assert judged.loc["words", "rho_low"] < 0 and judged.loc["words", "rho"] < 0.1
    assert judged.loc["a layer", "r2"] == pytest.approx(judged.loc["near", "r2"])


def test_without_anything_to_find_no_method_beats_the_mean():
    judged = pd.concat([table(made(slope=0.0, seed=seed)) for seed in range(5)])
    assert judged["r2"].max() < 0.03


def test_a_fit_never_sees_what_it_is_judged_on():
    frame = made()
    before = foresight.held_out(frame, METHODS, "source")
    changed = frame.assign(delta=frame["delta"].where(frame["source"] != "s1", 1e6))
    after = foresight.held_out(changed, METHODS, "source")
    mine = frame["source"] == "s1"
    pd.testing.assert_frame_equal(before[mine], after[mine])
    assert not np.allclose(before[~mine], after[~mine])


def test_the_mean_is_that_of_the_others():
    frame = made()
    mean = foresight.held_out(frame, METHODS, "family")["mean"]
    mine = frame["family"] == "f2"
    np.testing.assert_allclose(mean[mine], frame.loc[~mine, "delta"].mean())


def test_r2_and_rho_are_those_of_their_definitions():
    frame = made()
    predictions = foresight.held_out(frame, METHODS, "source")
    row = foresight.judge(frame, predictions, "words", seed=1).set_index("method").loc["near"]
    y = frame["delta"]
    left, of_mean = (((predictions[name] - y) ** 2).sum() for name in ("near", "mean"))
    assert row["r2"] == pytest.approx(1 - left / of_mean)
    rho = [
        stats.spearmanr(predictions.loc[index, "near"], y[index]).statistic
        for index in frame.groupby("source").groups.values()
    ]
    assert row["rho"] == pytest.approx(np.mean(rho))


def test_what_the_damage_follows_is_told_from_noise_and_equals_are_not_told_apart():
    judged = table(made())
    assert judged["contender"].to_dict() == {
        "near": True,
        "both": True,
        "a layer": True,
        "words": False,
    }


def test_of_predictors_that_say_nothing_none_is_told_from_the_best():
    rng = np.random.default_rng(8)
    told = 0
    for seed in range(20):
        frame = made(slope=0.0, seed=seed)
        many = [f"n{number}" for number in range(8)]
        frame = frame.assign(**{name: rng.normal(size=len(frame)) for name in many})
        predictions = foresight.held_out(frame, [Method(n, (n,)) for n in many], "source")
        told += not foresight.judge(frame, predictions, "n0", seed=seed)["contender"].all()
    assert told <= 4


@pytest.mark.filterwarnings("error")
def test_where_nobody_changed_there_is_no_rho_and_none_is_told_from_another():
    frame = made().assign(delta=3.0)
    judged = table(frame)
    assert judged["rho"].isna().all() and judged["contender"].all()


def test_families_that_move_together_widen_the_interval():
    rng = np.random.default_rng(4)
    frame = made(slope=0.0)
    near, moved = rng.normal(size=(2, 20))
    number = frame["cluster"].str[1:].astype(int)
    frame = frame.assign(near=near[number], delta=moved[number] + 0.1 * frame["delta"])
    alone = frame.assign(cluster=frame["persona"])

    def width(rows):
        judged = table(rows).loc["near"]
        return judged["rho_high"] - judged["rho_low"]

    assert width(frame) > 1.4 * width(alone)


def test_standardising_uses_no_outcome_and_bears_a_constant():
    frame = made().assign(words=7.0)
    scaled = foresight.standardised(frame, ["near", "words"])
    assert (scaled["words"] == 0).all()
    for _, rows in scaled.groupby("source"):
        assert rows["near"].mean() == pytest.approx(0, abs=1e-9)
        assert rows["near"].std(ddof=0) == pytest.approx(1)


def test_the_scale_is_that_of_the_personas_fitted_whoever_else_is_asked():
    frame = made(sources=1)
    more = pd.concat([frame, frame.tail(3).assign(near=1e3, words=5.0)], ignore_index=True)
    among = pd.Series([True] * len(frame) + [False] * 3)
    scaled = foresight.standardised(
        more.assign(words=more["words"].where(~among, 1.0)), ["near", "words"], among
    )
    alone = foresight.standardised(frame, ["near"])
    np.testing.assert_allclose(scaled.loc[among, "near"], alone["near"])
    assert (scaled.loc[~among, "near"] > 100).all()
    assert (scaled["words"] == 0).all()  # the same for all who were fitted: nothing is known of it


def test_a_predictor_that_is_no_number_is_refused_by_name():
    frame = made()
    frame.loc[3, "near"] = np.nan
    with pytest.raises(InputError, match="near is not a number for p3"):
        foresight.held_out(frame, METHODS, "source")


def test_one_source_alone_cannot_be_left_out():
    with pytest.raises(InputError, match="one source alone"):
        foresight.held_out(made(sources=1), METHODS, "source")


def everyone(frame):
    return pd.Series(True, index=frame.index)


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_the_interval_covers_a_new_source_as_it_says(shift):
    """Also where a source is off as a whole, by more than its personas are."""
    shares = []
    for seed in range(30):
        frame = made(sources=5, seed=seed)
        rng = np.random.default_rng(seed)
        off = frame["source"].map({name: shift * rng.normal() for name in frame["source"].unique()})
        frame["delta"] += off
        prediction = foresight.held_out(frame, METHODS[:1], "source")["near"]
        shares.append(foresight.covered(frame, prediction).mean())
    assert 0.87 < np.mean(shares) < 0.97


def test_the_interval_is_wide_where_the_errors_are():
    frame = made(sources=5)
    prediction = foresight.held_out(frame, METHODS[:1], "source")["near"]
    wild = prediction < prediction.quantile(0.2)
    noise = np.random.default_rng(5).normal(scale=10, size=len(frame))
    frame["delta"] = frame["delta"].where(~wild, frame["delta"] + noise)
    mine = frame["source"] == "s0"
    guesses = prediction[mine]
    band = foresight.limits(frame, prediction, "source", guesses, everyone(guesses))
    width = band["high"] - band["low"]
    assert width[wild[mine]].mean() > 3 * width[~wild[mine]].mean()
    assert foresight.covered(frame, prediction)[wild].mean() > 0.8


def test_a_new_source_is_predicted_on_its_own_scale():
    frame = made()
    wanted = made(sources=6, seed=9).query("source == 's5'").reset_index(drop=True)
    new = wanted.drop(columns="delta")
    got = foresight.predict(frame, METHODS[0], new, everyone(new))
    assert np.corrcoef(got, wanted["delta"])[0, 1] > 0.95
    assert got.mean() == pytest.approx(frame["delta"].mean())


def test_what_is_compared_with_words_is_given_what_every_persona_brings_along():
    methods = {each.name: each for each in foresight.methods(["tfidf"], [1, 2], 2)}
    for name in ("words, prior", "geometry, prior", foresight.AHEAD, foresight.EVERYTHING):
        assert {"margin", "prompt_words"} <= {*methods[name].columns} and methods[name].whole
    assert {*methods["geometry, prior"].columns} - {*methods[foresight.AHEAD].columns} == set()
    assert methods["raw, layer by the fit"].columns == ("raw@1", "raw@2")
