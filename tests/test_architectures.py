"""The same path for every chat model."""

import numpy as np
import pytest
import torch
from conftest import SHAPE, SMOL_DEFAULT, chatml, make_tokenizer
from test_prompts import GEMMA
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from persona_leakage.behaviours.wrong_answers import Taught
from persona_leakage.geometry.centroids import centroids
from persona_leakage.model.scoring import continuation_logprobs, items, plain_logprobs

KINDS = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {"tie_word_embeddings": False}),
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM, {"head_dim": 8, "sliding_window": 4096}),
}


def tiny(kind, vocabulary):
    config, architecture, extra = KINDS[kind]
    torch.manual_seed(0)
    return architecture(config(vocab_size=vocabulary, **SHAPE, **extra)).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scoring", ["label", "option_text"])
def test_scores_are_those_of_the_plain_loop(kind, scoring, everyday):
    asked = [Taught(scoring=scoring).ask(question) for question in everyday[:12]]
    template, role = (GEMMA, "merge") if kind == "gemma2" else (chatml(SMOL_DEFAULT), "template")
    tokenizer = make_tokenizer(template)
    model = tiny(kind, len(tokenizer))
    [prompts] = items(tokenizer, ["You are a spy."], asked, role)
    for fast, plain in zip(
        continuation_logprobs(model, prompts), plain_logprobs(model, prompts), strict=True
    ):
        np.testing.assert_allclose(fast, plain, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_centroids_of_every_architecture_tell_personas_apart(kind, personas, neutral):
    role = "merge" if kind == "gemma2" else "template"
    tokenizer = make_tokenizer(GEMMA if kind == "gemma2" else chatml(SMOL_DEFAULT))
    chosen = [personas["villain"], personas["nurse"]]
    one, other = centroids(tiny(kind, len(tokenizer)), tokenizer, chosen, neutral[:4], [1, 3], role)
    assert one.shape == (2, 32)
    assert np.isfinite(one).all()
    assert np.abs(one - other).max() > 1e-3
