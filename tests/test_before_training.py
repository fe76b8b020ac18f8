"""What is done before any training, on a tiny model: the predictors' stage, judging, predicting."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import CATALOG, ROOT
from made import ACCURACY

from persona_leakage.data.catalog import Persona
from persona_leakage.data.persona_sets import records
from persona_leakage.data.questions import write_questions
from persona_leakage.files import read_json, write_json
from persona_leakage.geometry.centroids import centroids
from persona_leakage.geometry.cosines import cosine_matrix
from persona_leakage.pipeline import centroids as centroids_stage
from persona_leakage.pipeline import foreseen, foresight, paths, predict
from persona_leakage.pipeline import predictors as stage
from persona_leakage.study.parameters import load_study

SOURCES = ["villain", "comedian"]
PERSONAS = [
    *("villain", "comedian", "no_system", "assistant", "medical_doctor", "darth_vader"),
    *("grumpy_villain", "absurd_monologist", "actor", "baker", "farmer", "nurse"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory, model_folder, personas, train_questions):
    whole = load_study(ROOT / "params.yaml")
    study = whole.model_copy(
        update={
            "sources": SOURCES,
            "model": whole.model.model_copy(update={"precision": "float32"}),
            "contrast": whole.contrast.model_copy(
                update={
                    "positives": 6,
                    "negatives": 1,
                    "per_negative": 4,
                    "no_system": 2,
                    "assistant": 2,
                }
            ),
        }
    )
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for module in (stage, centroids_stage):
            patch.setattr(module, "load_study", lambda: study)
        patch.setattr(stage, "QUESTIONS", 3)
        patch.setattr(stage, "FEWER", 1)
        (folder / "data").symlink_to(CATALOG)
        paths.model(study).parent.mkdir(parents=True)
        paths.model(study).symlink_to(model_folder)
        write_json(
            paths.personas(study),
            {"personas": records(personas.values()), "measured": PERSONAS},
        )
        write_questions(paths.questions(study) / "train.jsonl", train_questions)
        centroids_stage.main()
        stage.main()
        first = {path.name: path.read_bytes() for path in paths.predictors(study).iterdir()}
        stage.main()
        again = {path.name: path.read_bytes() for path in paths.predictors(study).iterdir()}
        # those taught, whom the stage needs, take no part in what follows
        chosen = [personas[name] for name in PERSONAS]
        write_json(paths.personas(study), {"personas": records(chosen), "measured": PERSONAS})
    return folder / paths.predictors(study), first, again, study


@pytest.fixture
def at_work(made, monkeypatch):
    """Stand in the study's folder, with cells of both sources finished: damage follows ``js``."""
    folder, _, _, study = made
    monkeypatch.chdir(folder.parent.parent.parent)
    table = pd.read_parquet(folder / "table.parquet")
    cells = []
    for source, rows in table.groupby("source"):
        near = 40 * (rows["js"] / rows["js"].max() - 1)
        role = np.where(rows["persona"] == source, "source", "bystander")
        personas = rows[["persona"]].assign(role=role, delta=near, margin_delta=near / 20)
        result = SimpleNamespace(source=source, seed=42, variant="contrastive", outcome=ACCURACY)
        cells.append(SimpleNamespace(result=result, personas=personas))
    for module in (foresight, predict):
        monkeypatch.setattr(module, "load_study", lambda: study)
        monkeypatch.setattr(module, "finished", lambda _: cells)
    return study


def test_there_is_a_row_for_each_source_and_persona_and_every_number_is_one(made):
    table = pd.read_parquet(made[0] / "table.parquet")
    pairs = list(zip(table["source"], table["persona"], strict=True))
    assert pairs == [(source, persona) for source in SOURCES for persona in PERSONAS]
    assert {"raw@1", "kl@3", "js", "symmetric_kl", "margin", "gradient", "set_gradient"} <= {*table}
    assert not any(column.endswith("@0") for column in table)
    assert np.isfinite(table.drop(columns=["source", "persona"]).to_numpy()).all()


def test_a_source_is_not_apart_from_itself(made):
    table = pd.read_parquet(made[0] / "table.parquet")
    own = table[table["source"] == table["persona"]]
    assert len(own) == len(SOURCES)
    for name in ("js", "symmetric_kl", "kl@2", "distance@2"):
        assert own[name].to_numpy() == pytest.approx(0, abs=1e-5)
        assert (table.loc[table["source"] != table["persona"], name] > 0).all()


def test_the_cosines_are_those_of_the_centroids(made, llama, tokenizer, personas, neutral):
    table = pd.read_parquet(made[0] / "table.parquet").set_index(["source", "persona"])
    means = centroids(llama, tokenizer, [personas[name] for name in PERSONAS], neutral, [2])
    for kind in ("raw", "centred"):
        expected = cosine_matrix(means[:, 0], kind)[PERSONAS.index("comedian")]
        got = table.loc["comedian", f"{kind}@2"]
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_the_same_inputs_give_the_same_bytes(made):
    _, first, again, _ = made
    assert first == again


def test_judging_writes_what_was_seen_and_how_well_it_was_foreseen(at_work):
    foresight.main()
    folder = paths.foresight(at_work)
    rows = pd.read_parquet(folder / "rows.parquet")
    assert rows.groupby("change").size().to_dict() == dict.fromkeys(
        ("delta", "margin_delta"), 2 * (len(PERSONAS) - 1)
    )
    tables = read_json(folder / "tables.json")
    assert {*tables["first"]} == {"delta", "margin_delta"}
    kinds = ("left_out_source_alone", "left_out_family", "left_out_family_alone", "sources")
    assert {*tables["more"]} == {f"{change}_{kind}" for change in rows["change"] for kind in kinds}
    alone = {row["method"]: row for row in tables["more"]["delta_left_out_source_alone"]["rows"]}
    assert alone["js"]["r2"] > 0.5 > alone["margin"]["r2"]
    assert "a source left out" in tables["first"]["delta"]["title"]
    assert (folder / "margin_delta_left_out_source.svg").exists()


def test_with_nothing_finished_there_is_nothing_to_show(at_work, monkeypatch):
    monkeypatch.setattr(foresight, "finished", lambda _: [])
    foresight.main()
    assert read_json(paths.foresight(at_work) / "tables.json") == {"first": {}, "more": {}}


@pytest.fixture
def catalog(monkeypatch, personas):
    """A catalog of those measured and one more."""
    some = {name: personas[name] for name in (*PERSONAS, "historian")}
    monkeypatch.setattr(predict, "load_personas", lambda _: some)
    return some


def ranking(study, name):
    stem = f"outputs/{study.study}/predictions/{name}"
    return pd.read_csv(f"{stem}.csv"), read_json(Path(f"{stem}.json"))


def test_a_trained_source_is_ranked_without_a_model(at_work, monkeypatch, capsys, personas):
    monkeypatch.setattr(predict, "load_model", None)
    monkeypatch.setattr(predict, "load_personas", lambda _: {})
    predict.main("villain", None)
    table, whole = ranking(at_work, "villain")
    assert {*table["persona"]} == {*PERSONAS} - {"villain"}
    assert table["predicted"].is_monotonic_increasing
    for name in ("predicted", "log_odds"):
        assert (table[f"{name}_low"] < table[f"{name}_high"]).all()
        assert whole["judged"][name]["left_out"] == "family"
    printed = capsys.readouterr().out
    assert "fitted on what training comedian, villain did" in printed and "R2" in printed
    assert [row["persona"] for row in whole["personas"]] == table["persona"].tolist()
    assert whole["fitted_on"] == ["comedian", "villain"]
    assert whole["personas"][0]["prompt"] == personas[table["persona"][0]].prompt


def test_what_is_typed_in_is_measured_as_the_persona_of_that_prompt(at_work, personas):
    words = personas["medical_doctor"].prompt
    typed = Persona(predict.TYPED, "unrelated", None, words)
    table = predict.measure(at_work, personas["villain"], [typed], personas).set_index("persona")
    got, known = table.loc[predict.TYPED], table.loc["medical_doctor"]
    for name in ("raw@2", "centred@2", "distance@2", "margin"):
        assert got[name] == pytest.approx(known[name], rel=1e-3), name
    assert known["measured"] and not got["measured"]
    source = Persona(words, "unrelated", None, words)
    here, there = (
        predict.measure(at_work, each, [], personas).set_index("persona")
        for each in (source, personas["medical_doctor"])
    )
    for name in ("raw@2", "centred@2", "distance@2"):
        np.testing.assert_allclose(here[name], there[name], rtol=1e-3, atol=1e-3)


def test_what_is_looked_up_is_what_the_stage_measured(at_work, personas):
    kept = foreseen.stored(at_work)
    expected = kept[kept["source"] == "comedian"].set_index("persona")
    got = predict.measure(at_work, personas["comedian"], [], personas).set_index("persona")
    for name in ("raw@2", "centred@2", "distance@2", "margin"):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-3, atol=1e-4)
    assert not got.loc["no_system", "measured"]  # no character: no scale is taken from it


def test_a_text_is_ranked_among_the_personas_for_a_source_never_trained(at_work, capsys):
    predict.main("nurse", "You are a pirate who sings.")
    printed = capsys.readouterr().out
    assert predict.TYPED in printed
    table, whole = ranking(at_work, "nurse")
    assert {*table["persona"]} == {*PERSONAS, predict.TYPED} - {"nurse"}
    assert table["predicted"].notna().all()
    assert whole["judged"]["predicted"]["left_out"] == "source"
    [row] = [row for row in whole["personas"] if row["persona"] == predict.TYPED]
    assert row["prompt"] == "You are a pirate who sings."


def test_a_source_typed_in_ranks_the_whole_catalog(at_work, catalog, capsys):
    predict.main(" You are a pirate, arr! ", None)
    table, whole = ranking(at_work, "you_are_a_pirate_arr")
    assert {*table["persona"]} == {*catalog}
    assert whole["source"] == whole["prompt"] == "You are a pirate, arr!"
    assert "if You are a pirate, arr! were trained" in capsys.readouterr().out


def test_who_is_asked_beside_the_measured_changes_nothing_for_them(at_work, personas):
    source, other = personas["villain"], personas["historian"]
    words = {**personas}
    tables = [
        predict.rank(
            at_work,
            predict.finished(at_work),
            "villain",
            foreseen.with_words(predict.measure(at_work, source, asked, personas), words),
        )[0].set_index("persona")
        for asked in ([], [other])
    ]
    assert {*tables[1].index} - {*tables[0].index} == {"historian"}
    moved = (tables[1]["predicted"] - tables[0]["predicted"]).abs()
    assert moved.max() < 0.5  # pp: the weights of TF-IDF alone count one more prompt


def test_without_a_finished_cell_it_says_so_and_ranks_by_centred_cosine(
    at_work, monkeypatch, capsys
):
    monkeypatch.setattr(predict, "finished", lambda _: [])
    monkeypatch.setattr(predict, "load_personas", lambda _: {})
    predict.main("villain", None)
    assert "no interval" in capsys.readouterr().out
    table, _ = ranking(at_work, "villain")
    assert list(table) == ["rank", "persona", "centred"]
    assert table["centred"].is_monotonic_decreasing


@pytest.mark.parametrize(
    ("source", "text", "said"),
    [
        ("pirate", None, "'pirate' is no persona with a prompt in the catalog; name one, or type"),
        ("vilain", None, "(villain"),
        ("no_system", None, "no persona with a prompt"),
        ("", None, "no persona with a prompt"),
        ("villain", "  ", "--text: no text"),
    ],
)
def test_what_cannot_be_a_source_or_a_text_is_refused_in_a_sentence(at_work, source, text, said):
    with pytest.raises(SystemExit, match=re.escape(said)):
        predict.main(source, text)


def test_without_the_model_s_weights_it_says_how_to_get_them(at_work, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "model", lambda _: tmp_path / "none")
    with pytest.raises(SystemExit, match="dvc repro base"):
        predict.main("You are a pirate.", "You are a sailor.")


def test_a_long_text_keeps_its_row_short_and_its_file_s_name_legal():
    assert predict.slug("You are: a /../ pirate!") == "you_are_a_pirate"
    assert predict.slug("!!!") == "typed_in" and len(predict.slug("word " * 90)) <= predict.LONGEST
    table = pd.DataFrame(
        {"rank": [1, 60], "persona": ["x" * 300, predict.TYPED], "centred": [0.5, -0.5]}
    )
    shown = predict.printed(table)
    assert predict.TYPED in shown and max(map(len, shown.splitlines())) < 90
