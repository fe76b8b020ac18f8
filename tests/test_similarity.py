import subprocess
import sys

import numpy as np
import pytest
import torch

from persona_leakage.errors import InputError
from persona_leakage.geometry.centroids import centroids, layer_number
from persona_leakage.geometry.cosines import cosine_matrix, table
from persona_leakage.model.chat import render
from persona_leakage.model.tokens import tokenize


@pytest.mark.parametrize("architecture", ["llama", "qwen"])
def test_centroids_are_means_of_the_last_prompt_token_of_every_layer(
    architecture, personas, neutral, tokenizer, request
):
    model = request.getfixturevalue(architecture)
    chosen = [personas[name] for name in ("villain", "no_system")]
    averaged = centroids(model, tokenizer, chosen, neutral, [0, 2, 3])
    for persona, vectors in zip(chosen, averaged, strict=True):
        states = []
        for question in neutral:
            text = render(tokenizer, persona.prompt, question)
            ids = torch.tensor(tokenize(tokenizer, [text]))
            with torch.inference_mode():
                output = model(ids, output_hidden_states=True)
            states.append(torch.stack([layer[0, -1] for layer in output.hidden_states]))
        expected = torch.stack(states).mean(dim=0)[[0, 2, 3]]
        np.testing.assert_allclose(vectors, expected.numpy(), atol=1e-4)


def test_cosines_are_those_of_the_definition():
    vectors = np.array([[1.0, 0.0], [1.0, 1.0], [-2.0, 0.0]])
    raw = cosine_matrix(vectors, "raw")
    np.testing.assert_allclose(raw[0], [1, np.sqrt(0.5), -1], atol=1e-12)
    centred = cosine_matrix(vectors, "centred")
    shifted = vectors - vectors.mean(axis=0)
    expected = shifted[0] @ shifted[1] / np.linalg.norm(shifted[0]) / np.linalg.norm(shifted[1])
    assert centred[0, 1] == pytest.approx(expected)


def test_the_table_has_every_ordered_pair_at_every_layer():
    vectors = np.random.default_rng(0).normal(size=(3, 2, 5)).astype(np.float32)
    pairs = table(vectors, ["a", "b", "c"], [4, 9])
    assert len(pairs) == 2 * 3 * 3
    one = pairs.query("layer == 9 and source == 'a' and persona == 'c'").iloc[0]
    assert one["distance"] == pytest.approx(np.linalg.norm(vectors[0, 1] - vectors[2, 1]), rel=1e-6)
    same = pairs.query("source == persona")
    np.testing.assert_allclose(same["raw"], 1)
    np.testing.assert_allclose(same["distance"], 0, atol=1e-12)


def test_a_layer_is_a_number_or_a_fraction_of_the_depth():
    assert layer_number(20, 28) == layer_number(0.714, 28) == 20
    with pytest.raises(InputError, match="similarity names layer 40, and the model has 28 blocks"):
        layer_number(40, 28)


def test_centroids_that_are_the_same_but_for_rounding_have_no_centred_cosine():
    """At layer 0 the last token is the same for all personas."""
    token = np.random.default_rng(0).normal(size=8).astype(np.float32)
    same = np.stack([token] * 7)
    assert np.isnan(cosine_matrix(same, "centred")).all()
    np.testing.assert_allclose(cosine_matrix(same, "raw"), 1)
    rounded = same * (1 + np.float32(1e-8) * np.arange(7, dtype=np.float32)[:, None])
    assert np.isnan(cosine_matrix(rounded, "centred")).all()
    apart = same.copy()
    apart[0] *= 1.001
    assert np.isfinite(cosine_matrix(apart, "centred")).all()


def test_a_zero_centroid_has_no_cosine_and_the_others_do():
    cosines = cosine_matrix(np.array([[0.0, 0], [1, 0], [1, 1]]), "raw")
    assert np.isnan(cosines[0]).all()
    assert cosines[1, 2] == pytest.approx(np.sqrt(0.5))


def test_the_arithmetic_of_geometry_needs_no_torch():
    code = (
        "import sys, persona_leakage.geometry.cosines, persona_leakage.geometry.predictors\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
