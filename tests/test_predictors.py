import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from persona_leakage.analysis.prediction import compare
from persona_leakage.data.catalog import Persona
from persona_leakage.errors import InputError
from persona_leakage.geometry.cosines import table
from persona_leakage.geometry.lexical import lexical
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
    rows = predictors(pairs, "villain", names, list(personas.values()))
    assert set(rows) == {
        *(f"{kind}@{layer}" for kind in ("raw", "centred", "distance") for layer in (1, 2)),
        "words",
        "noun",
        "tfidf",
        "characters",
    }
    assert rows.loc["villain", "words"] == 1
    assert rows.loc["villain", "tfidf"] == pytest.approx(1)
    assert rows.loc["villain", "distance@1"] == pytest.approx(0, abs=1e-5)
    assert (rows["distance@1"].drop("villain") < 0).all()


def test_stop_words_share_nothing_and_stems_do():
    prompts = {
        "villain": "You are a villainous mastermind who schemes to take over the world.",
        "chef": "You are a villainous chef who poisons every dish.",
        "superhero": "You are a superhero who protects the world from villains.",
        "baker": "You are a baker who takes bread out of the oven.",
        "mastermind": "The mastermind scheming.",
    }
    rows = lexical(prompts, "villain", list(prompts))
    assert rows["noun"].tolist() == [1, 1, 1, 0, 0]
    assert rows.loc["villain", ["words", "tfidf", "characters"]].tolist() == pytest.approx(
        [1, 1, 1]
    )
    assert rows.loc["superhero", "words"] > rows.loc["chef", "words"] > 0
    assert rows.loc["mastermind", "words"] > rows.loc["superhero", "words"]
    assert rows.loc["baker", "characters"] > 0


def test_a_noun_of_two_words_may_be_there_by_half(personas):
    prompts = {name: p.prompt or "" for name, p in personas.items()}
    rows = lexical(prompts, "software_engineer", ["software_engineer", "librarian", "actor"])
    assert rows["noun"].tolist() == [1, 0, 0]
    half = lexical({**prompts, "x": "You are an engineer."}, "software_engineer", ["x"])
    assert half["noun"].tolist() == [0.5]


def test_decoys_have_the_words_and_paraphrases_have_none(personas):
    prompts = {name: p.prompt or "" for name, p in personas.items()}
    for source in ("villain", "comedian", "assistant", "software_engineer", "kindergarten_teacher"):
        kinds = {
            kind: [n for n, p in personas.items() if p.category == kind and p.relation == source]
            for kind in ("paraphrase", "decoy")
        }
        assert lexical(prompts, source, kinds["paraphrase"])["words"].max() == 0
        assert lexical(prompts, source, kinds["paraphrase"])["tfidf"].max() == 0
        assert lexical(prompts, source, kinds["decoy"])["words"].min() > 0


def test_the_one_that_made_the_damage_wins_and_its_error_is_the_smallest(pairs, names, personas):
    nearness = predictors(pairs, "villain", names, list(personas.values()))
    rng = np.random.default_rng(1)
    delta = -20 * nearness["centred@2"] + rng.normal(0, 1, len(names))
    rows = compare(nearness, delta, "raw@2", ACCURACY, seed=1)
    assert rows.loc[0, "predictor"] == "centred@2"
    assert rows.loc[0, "rho"] == pytest.approx(
        stats.spearmanr(nearness["centred@2"], delta).statistic
    )
    assert rows["error"].idxmin() == 0
    primary = rows.set_index("predictor").loc["raw@2"]
    assert primary["difference"] == primary["difference_low"] == primary["difference_high"] == 0
    far = rows.set_index("predictor").loc["words"]
    assert far["difference_low"] < far["difference"] < far["difference_high"]


def test_the_leave_one_out_error_is_the_one_of_leaving_each_out(pairs, names, personas):
    nearness = predictors(pairs, "villain", names, list(personas.values()))
    delta = np.random.default_rng(2).normal(size=len(names))
    rows = compare(nearness, delta, "raw@2", ACCURACY, seed=1).set_index("predictor")
    predicted = cross_val_predict(
        LinearRegression(), nearness[["tfidf"]].to_numpy(), delta, cv=LeaveOneOut()
    )
    assert rows.loc["tfidf", "error"] == pytest.approx(np.sqrt(((delta - predicted) ** 2).mean()))
    others = [np.delete(delta, index).mean() for index in range(len(delta))]
    assert rows.loc["mean", "error"] == pytest.approx(np.sqrt(((delta - others) ** 2).mean()))


def test_two_predictors_of_pure_noise_rarely_differ():
    differs = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        noise = pd.DataFrame(rng.normal(size=(40, 2)), columns=["raw@1", "words"])
        rows = compare(noise, rng.normal(size=40), "raw@1", ACCURACY, seed=seed).set_index(
            "predictor"
        )
        row = rows.loc["words"]
        differs += not row["difference_low"] <= 0 <= row["difference_high"]
    assert differs <= 9  # 3 of 60 expected


def test_where_nothing_changed_the_mean_alone_is_left_in_the_same_columns(pairs, names, personas):
    nearness = predictors(pairs, "villain", names, list(personas.values()))
    changed = compare(nearness, np.arange(len(names)), "raw@2", ACCURACY, seed=1)
    same = compare(nearness, np.zeros(len(names)), "raw@2", ACCURACY, seed=1)
    assert same["predictor"].tolist() == ["mean"]
    assert same.loc[0, "error"] == 0
    assert set(same.columns) == set(changed.columns)


def measured(*prompts: str | None) -> tuple[list[Persona], list[str], pd.DataFrame]:
    names = [f"p{index}" for index in range(len(prompts))]
    records = [
        Persona(name, "unrelated", None, prompt)
        for name, prompt in zip(names, prompts, strict=True)
    ]
    vectors = np.random.default_rng(0).normal(size=(len(names), 2, 8)).astype(np.float32)
    vectors[:, 0] = 0.1
    return records, names, table(vectors, names, [0, 7])


@pytest.mark.parametrize(
    ("prompts", "shared"),
    [
        (("Ты злой гений.", "Ты добрый гений.", "Ты учитель."), [1, 2 / 4, 1 / 4]),
        (("你是恶棍", "你是老师", "老师"), [1, 2 / 6, 0]),
        (("Ｖｉｌｌａｉｎ art", "VILLAIN bread", "straße"), [1, 1 / 3, 0]),
        (("you are late", "", None), [1, 0, 0]),
        (("", "you are late", "you"), None),  # no word of the source's: nothing to rank by
        (("", None, ""), None),
        (("You are the one.", "!", "You are."), None),  # stop words alone
    ],
)
def test_prompts_in_any_script_and_without_a_word_can_be_compared(prompts, shared):
    records, names, pairs = measured(*prompts)
    nearness = predictors(pairs, "p0", names, records)
    assert {"raw@7", "centred@7", "distance@7"} <= set(nearness)
    if shared is None:
        assert "words" not in nearness
        assert "tfidf" not in nearness
    else:
        assert nearness["words"].tolist() == pytest.approx(shared)
        assert nearness["tfidf"].iloc[0] == pytest.approx(1)
        assert (nearness["tfidf"] > 0).tolist() == [share > 0 for share in shared]
    compare(nearness, np.arange(len(names)), "raw@7", ACCURACY, seed=1)


def test_emoji_are_no_reason_to_stop():
    records, names, pairs = measured("😈🔥", "😇", "😈")
    assert "raw@7" in predictors(pairs, "p0", names, records)


def test_a_persona_that_was_not_measured_changes_nothing(pairs, names, personas):
    records = [personas[name] for name in names]
    expected = predictors(pairs, "villain", names, records)
    others = [p for p in personas.values() if p.name not in names]
    assert others
    pd.testing.assert_frame_equal(
        predictors(pairs, "villain", names, [*others, *records]), expected, check_exact=True
    )
    with pytest.raises(InputError, match=f"{others[0].name} is not among the personas measured"):
        predictors(pairs, "villain", [others[0].name], [*others, *records])


def test_layer_zero_is_left_out_by_rule_even_where_rounding_differs(names, personas):
    vectors = np.random.default_rng(0).normal(size=(len(names), 2, 8)).astype(np.float32)
    vectors[:, 0] = 1 + 1e-3 * np.random.default_rng(1).normal(size=(len(names), 8))
    nearness = predictors(
        table(vectors, names, [0, 4]), "villain", names, [personas[name] for name in names]
    )
    assert {column.split("@")[1] for column in nearness if "@" in column} == {"4"}


def test_predictors_are_ranked_over_whole_counts():
    """Three of equal loss at different baselines: as floats their order is that of rounding."""
    after = np.array([105, 60, 85, 86, 60, 63]) / 150
    before = np.array([120, 75, 100, 103, 90, 60]) / 150
    whole = np.array([-15, -15, -15, -17, -30, 3])
    floats = 100 * (after - before)
    assert len(set(floats)) > len(set(whole))
    shares = np.array([3, 1, 3, 2, 4, 0])
    nearness = pd.DataFrame(
        {
            "raw@1": [0.9, 0.8, 0.85, 0.95, 0.97, 0.7],
            "words": [0.3, 0.1, 0.1 + 0.2, 0.2, 0.4, 0.0],  # 0.1 + 0.2 is not 0.3
        }
    )
    ranked = compare(nearness, floats, "raw@1", ACCURACY, seed=1)
    assert ranked.set_index("predictor").loc["words", "rho"] == pytest.approx(
        stats.spearmanr(shares, whole).statistic, abs=1e-12
    )
    ranked = ranked[ranked["predictor"] == "raw@1"].reset_index()
    assert ranked.loc[0, "rho"] == pytest.approx(
        stats.spearmanr(nearness["raw@1"], whole).statistic, abs=1e-12
    )


def test_an_outcome_that_is_raised_has_its_steepest_predictor_first_too():
    rng = np.random.default_rng(0)
    near = np.linspace(0, 1, 30)
    nearness = pd.DataFrame({"raw@1": near + rng.normal(0, 0.2, 30), "words": rng.normal(size=30)})
    delta = near + rng.normal(0, 0.05, 30)
    rising = Outcome(name="rate", low=0, high=1, binary=True, direction=1, scale=100, unit="pp")
    up = compare(nearness, delta, "raw@1", rising, seed=1).set_index("predictor")
    down = compare(nearness, -delta, "raw@1", ACCURACY, seed=1).set_index("predictor")
    assert up.index.tolist() == down.index.tolist() == ["raw@1", "words", "mean"]
    assert up.loc["words", "difference_low"] > 0  # less steep
    assert up["difference"].to_numpy() == pytest.approx(down["difference"], nan_ok=True)


def test_what_is_constant_or_not_a_number_is_no_number_and_no_crash():
    y = np.array([1.0, 2, 4, 3, 6])
    nearness = pd.DataFrame(
        {
            "raw@1": [1.0, 2, 3, 4, 5],
            "flat": [1.0] * 5,
            "alone": [0.0, 0, 0, 0, 1],  # leverage 1: without it there is no line
            "hole": [1, 2, np.nan, 4, 5],
        }
    )
    rows = compare(nearness, y, "raw@1", ACCURACY, seed=1).set_index("predictor")
    assert rows.loc[["flat", "hole"], "rho"].isna().all()
    assert rows.loc[["alone", "hole"], "error"].isna().all()
    assert rows.loc["flat", "error"] == pytest.approx(rows.loc["mean", "error"])
    y[0] = np.nan
    left = compare(nearness, y, "raw@1", ACCURACY, seed=1)
    assert left["predictor"].tolist() == ["mean"]
    assert left["error"].isna().all()
