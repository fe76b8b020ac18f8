import numpy as np
import pandas as pd
import pytest

from persona_leakage.data.catalog import Persona
from persona_leakage.errors import InputError
from persona_leakage.geometry.cosines import table
from persona_leakage.geometry.lexical import lexical
from persona_leakage.geometry.predictors import predictors


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
