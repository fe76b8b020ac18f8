"""The stage on a tiny model: one row per source and persona, and enough to compare others with."""

import numpy as np
import pandas as pd
import pytest
from conftest import CATALOG, ROOT
from safetensors.numpy import load_file

from persona_leakage.data.persona_sets import records
from persona_leakage.data.questions import write_questions
from persona_leakage.files import read_json, write_json
from persona_leakage.geometry.centroids import centroids
from persona_leakage.geometry.cosines import cosine_matrix
from persona_leakage.geometry.moments import jeffreys
from persona_leakage.pipeline import paths
from persona_leakage.pipeline import predictors as stage
from persona_leakage.study.parameters import load_study

SOURCES = ["villain", "comedian"]
PERSONAS = ["villain", "comedian", "no_system", "assistant", "medical_doctor", "darth_vader"]


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
        patch.setattr(stage, "load_study", lambda: study)
        patch.setattr(stage, "QUESTIONS", 3)
        (folder / "data").symlink_to(CATALOG)
        paths.model(study).parent.mkdir(parents=True)
        paths.model(study).symlink_to(model_folder)
        write_json(
            paths.personas(study),
            {"personas": records(personas.values()), "measured": PERSONAS},
        )
        write_questions(paths.questions(study) / "train.jsonl", train_questions)
        stage.main()
        first = {path.name: path.read_bytes() for path in paths.predictors(study).iterdir()}
        stage.main()
        again = {path.name: path.read_bytes() for path in paths.predictors(study).iterdir()}
    return folder / paths.predictors(study), first, again


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
    _, first, again = made
    assert first == again
