"""What is done before any training, on a tiny model: the predictors' stage, judging, predicting."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import CATALOG, ROOT
from made import ACCURACY
from safetensors.numpy import load_file

from persona_leakage.data.persona_sets import records
from persona_leakage.data.questions import write_questions
from persona_leakage.files import read_json, write_json
from persona_leakage.geometry.centroids import centroids
from persona_leakage.geometry.cosines import cosine_matrix
from persona_leakage.geometry.moments import jeffreys
from persona_leakage.pipeline import centroids as centroids_stage
from persona_leakage.pipeline import foresight, paths, predict
from persona_leakage.pipeline import predictors as stage
from persona_leakage.study.parameters import load_study

SKETCHED = 5 / stage.SKETCH**0.5  # five standard errors of a cosine
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
        result = SimpleNamespace(source=source, variant="contrastive", outcome=ACCURACY)
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


def test_the_moments_that_are_kept_give_the_divergences(made):
    table = pd.read_parquet(made[0] / "table.parquet").set_index(["source", "persona"])
    kept = load_file(made[0] / "moments.safetensors")
    layers = read_json(made[0] / "manifest.json")["layers"]
    means, covariances = (kept[name][:, layers.index(3)] for name in ("means", "covariances"))
    got = jeffreys(means[1], covariances[1], means, covariances)
    np.testing.assert_allclose(got, table.loc["comedian", "kl@3"], rtol=1e-2, atol=1e-3)


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
    kinds = ("left_out_source", "left_out_family", "sources")
    assert {*tables} == {f"{change}_{kind}" for change in rows["change"] for kind in kinds}
    by_method = {row["method"]: row for row in tables["delta_left_out_source"]["rows"]}
    assert by_method["js"]["r2"] > 0.5 > by_method["margin"]["r2"]
    assert (folder / "margin_delta_left_out_source.svg").exists()


def test_a_trained_source_is_ranked_without_a_model(at_work, monkeypatch, capsys):
    monkeypatch.setattr(predict, "load_model", None)
    predict.main("villain", None)
    table = pd.read_csv(f"outputs/{at_work.study}/predictions/villain.csv")
    assert {*table["persona"]} == {*PERSONAS} - {"villain"}
    assert table["predicted"].is_monotonic_increasing
    for name in ("predicted", "log_odds"):
        assert (table[f"{name}_low"] < table[f"{name}_high"]).all()
    printed = capsys.readouterr().out
    assert "fitted on comedian, villain" in printed and "R2" in printed


def test_a_persona_s_own_prompt_typed_in_is_measured_as_the_persona(at_work, personas):
    words = personas["medical_doctor"].prompt
    everyone = {
        **personas,
        predict.TYPED: personas["villain"].__class__(predict.TYPED, "unrelated", None, words),
    }
    for source in ("villain", "nurse"):  # in the stored table, and not
        table = predict.measure(at_work, source, everyone).set_index("persona")
        typed, known = table.loc[predict.TYPED], table.loc["medical_doctor"]
        for name in ("raw@2", "distance@2", "js", "symmetric_kl", "margin"):
            assert typed[name] == pytest.approx(known[name], rel=1e-3), name
        # the persona's is from a sketch where the source is not in the table
        error = SKETCHED if source == "nurse" else 1e-3
        assert typed["gradient_cosine"] == pytest.approx(known["gradient_cosine"], abs=error)


def test_a_source_not_in_the_table_is_measured_as_it_would_be_in_it(at_work, personas, monkeypatch):
    kept = foresight.stored(at_work)
    monkeypatch.setattr(predict, "stored", lambda _: kept[kept["source"] != "comedian"])
    got = predict.measure(at_work, "comedian", personas).set_index("persona")
    expected = kept[kept["source"] == "comedian"].set_index("persona")
    for name in ("raw@2", "centred@2", "distance@2", "kl@2", "js", "margin"):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-3, atol=1e-4)
    error = got["gradient_cosine"] - expected["gradient_cosine"]
    assert error.abs().max() < SKETCHED


def test_a_text_is_ranked_among_the_personas_for_a_source_never_trained(at_work, capsys):
    predict.main("nurse", "You are a pirate who sings.")
    assert predict.TYPED in capsys.readouterr().out
    table = pd.read_csv(f"outputs/{at_work.study}/predictions/nurse.csv")
    assert len(table) == len(PERSONAS)
    assert table["predicted"].notna().all()


def test_without_a_finished_cell_it_says_so_and_ranks_by_centred_cosine(
    at_work, monkeypatch, capsys
):
    monkeypatch.setattr(predict, "finished", lambda _: [])
    predict.main("villain", None)
    assert "no interval" in capsys.readouterr().out
    table = pd.read_csv(f"outputs/{at_work.study}/predictions/villain.csv")
    assert list(table) == ["rank", "persona", "centred"]
    assert table["centred"].is_monotonic_decreasing


def test_an_unknown_source_is_refused_in_a_sentence(at_work):
    with pytest.raises(SystemExit, match="'pirate' is no persona"):
        predict.main("pirate", None)
