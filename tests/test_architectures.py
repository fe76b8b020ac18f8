"""The same path for every chat model: three architectures, and the shape of Qwen2.5."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ARC, ROOT, SHAPE, SMOL_DEFAULT, chatml, make_tokenizer
from test_prompts import GEMMA
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from persona_leakage.files import read_json
from persona_leakage.geometry.centroids import centroids
from persona_leakage.model.scoring import continuation_logprobs, items, plain_logprobs
from persona_leakage.pipeline import (
    analyse,
    base,
    baseline,
    contrast,
    evaluate,
    questions,
    report,
    similarity,
    train,
)
from persona_leakage.study.parameters import Cell

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
    template, role = (GEMMA, "merge") if kind == "gemma2" else (chatml(SMOL_DEFAULT), "template")
    tokenizer = make_tokenizer(template)
    model = tiny(kind, len(tokenizer))
    [prompts] = items(tokenizer, ["You are a spy."], everyday[:12], scoring, role)
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


@pytest.fixture
def paper_in_small(tmp_path, monkeypatch):
    """The paper study with a random Qwen2.5-shaped model, fewer examples, fewer personas."""
    if not ARC.exists():
        pytest.skip("ARC-Challenge is not beside the clone, in shared/data/ai2_arc")
    tokenizer = make_tokenizer(chatml("You are Qwen. You are a helpful assistant."))
    tiny("qwen2", 151_936).save_pretrained(tmp_path / "qwen")
    tokenizer.save_pretrained(tmp_path / "qwen")
    params = yaml.safe_load((ROOT / "studies" / "paper.yaml").read_text())
    params["model"] |= {
        "name": "tiny-qwen",
        "origin": {"kind": "folder", "path": "qwen"},
        "precision": "float32",
    }
    params["questions"] |= {
        "snapshots": {"arc_challenge": str(ARC)},
        "max_train": 40,
        "max_evaluate": 40,
    }
    params["contrast"] |= {
        "positives": 8,
        "per_bystander": 8,
        "no_system": 4,
        "assistant": 4,
    }
    params["personas"] = {"neighbours": 5}
    params["similarity"] = {"layer": 0.714}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "data").symlink_to(ROOT / "catalog")
    (tmp_path / "reference").symlink_to(ROOT / "reference")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


def test_the_paper_study_runs_from_split_to_report_on_a_tiny_qwen(paper_in_small):
    for stage in (base, questions, similarity, baseline):
        stage.main()
    for source in ("villain", "assistant"):
        cell = Cell(source, 42, "contrastive")
        for stage in (contrast, train, evaluate, analyse):
            stage.main(cell)
    report.main()

    outputs = paper_in_small / "outputs" / "paper"
    manifest = read_json(outputs / "questions" / "manifest.json")
    assert manifest["benchmarks"]["arc_challenge"] == {"rows": 1172, "train": 40, "evaluate": 40}
    chosen = read_json(outputs / "similarity" / "personas.json")
    assert (chosen["layer"], chosen["blocks"]) == (2, 3)
    assert len(chosen["measured"]) >= 111 > len(chosen["evaluated"]["villain"]) >= 30
    audit = read_json(outputs / "contrast" / "assistant-42-contrastive" / "manifest.json")
    assert audit["clashes"] == [
        {"source": "assistant", "negative": "assistant", "part": "assistant"}
    ]
    reports = paper_in_small / "reports" / "paper"
    headline = pd.read_csv(reports / "headline.csv").set_index("source")
    assert headline.loc["assistant", "clash"]
    assert not headline.loc["villain", "clash"]
    page = (reports / "report.html").read_text()
    assert "assistant and the negative assistant render to the same prompt" in page
    assert "after, published" in page
    assert "Not finished: villain-42-non_contrastive" in page
