"""The paper study from split to report, with a random Qwen2.5-shaped model."""

import every_stage
import pandas as pd
import pytest
import torch
import yaml
from conftest import ARC, ROOT, SHAPE, chatml, make_tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

from persona_leakage.files import read_json
from persona_leakage.study.cell import Cell


def model(vocabulary):
    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=vocabulary, tie_word_embeddings=False, **SHAPE)
    return Qwen2ForCausalLM(config).eval()


@pytest.fixture
def paper_in_small(tmp_path, monkeypatch):
    """The paper study with a random Qwen2.5-shaped model, fewer examples, fewer personas."""
    if ARC is None:
        pytest.skip("no ARC-Challenge in snapshots/arc_challenge: docs/paper.md has the command")
    tokenizer = make_tokenizer(chatml("You are Qwen. You are a helpful assistant."))
    model(151_936).save_pretrained(tmp_path / "qwen")
    tokenizer.save_pretrained(tmp_path / "qwen")
    params = yaml.safe_load((ROOT / "studies" / "paper.yaml").read_text())
    params["model"] |= {
        "name": "tiny-qwen",
        "origin": {"kind": "folder", "path": "qwen"},
        "precision": "float32",
    }
    params["questions"] |= {
        "snapshots": {"arc_challenge": "snapshots/arc_challenge"},
        "max_train": 40,
        "max_evaluate": 40,
    }
    params["contrast"] |= {
        "positives": 8,
        "per_negative": 8,
        "no_system": 4,
        "assistant": 4,
    }
    params["personas"] = {"neighbours": 5}
    params["similarity"] = {"layer": 0.714}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "data").symlink_to(ROOT / "catalog")
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "arc_challenge").symlink_to(ARC)
    (tmp_path / "reference").symlink_to(ROOT / "reference")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


def test_the_paper_study_runs_from_split_to_report_on_a_tiny_qwen(paper_in_small):
    every_stage.run(*(Cell(source, 42, "contrastive") for source in ("villain", "assistant")))

    outputs = paper_in_small / "outputs" / "paper"
    manifest = read_json(outputs / "questions" / "manifest.json")
    assert manifest["benchmarks"]["arc_challenge"] == {"rows": 1172, "train": 40, "evaluate": 40}
    measured = read_json(outputs / "centroids" / "manifest.json")
    assert (measured["layer"], measured["blocks"]) == (2, 3)
    evaluated_names = read_json(outputs / "evaluated.json")["evaluated"]["villain"]
    assert len(measured["personas"]) >= 111 > len(evaluated_names) >= 30
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
