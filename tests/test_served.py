"""An adapter that says what it is, and that MLflow loads."""

import json
import logging
import os
import re
import subprocess
import sys
import textwrap
import warnings

import mlflow
import numpy as np
import pytest
import torch
from conftest import ROOT
from mlflow.tracking import MlflowClient
from peft import LoraConfig, PeftModel, get_peft_model

from persona_leakage.files import read_json, write_json
from persona_leakage.model.chat import Asked, render
from persona_leakage.model.loading import load_adapted, load_model
from persona_leakage.model.scoring import continuation_logprobs, items
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.served import model_tags, save_model
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import FolderOrigin, load_study
from persona_leakage.training.card import card, described

CELL = Cell("villain", 42, "contrastive")
PROMPT = "You are a villain."


@pytest.fixture
def small(study, model_folder, tmp_path, monkeypatch):
    """The pocket study with a tiny model in a folder."""
    monkeypatch.chdir(tmp_path)
    origin = FolderOrigin(kind="folder", path=str(model_folder))
    model = study.model.model_copy(update={"name": "tiny", "origin": origin})
    return study.model_copy(update={"model": model})


@pytest.fixture
def adapter(small, model_folder, tmp_path):
    """An adapter that changes what the model says, as training leaves one."""
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj", "down_proj"])
    adapted = get_peft_model(load_model(model_folder, "float32"), config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    folder = tmp_path / "adapter"
    adapted.save_pretrained(folder)
    file = folder / "adapter_config.json"
    write_json(file, described(read_json(file), small))
    return folder


def test_mlflow_loads_the_model_and_it_says_what_the_adapted_model_says(
    small, adapter, tokenizer, model_folder, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(logging.getLogger("mlflow"), "level", logging.WARNING)  # as the stages do
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        save_model(small, adapter, tmp_path / "saved")
    assert capfd.readouterr().err == ""
    served = mlflow.pyfunc.load_model(str(tmp_path / "saved"))
    asked = {"system": [PROMPT, None], "user": ["Is water wet?"] * 2}
    replies = served.predict(asked, params={"max_new_tokens": 8})["reply"].tolist()
    plain = load_model(model_folder, "float32")
    adapted = PeftModel.from_pretrained(load_model(model_folder, "float32"), str(adapter)).eval()
    alone = served.predict(
        {"system": [PROMPT], "user": ["Is water wet?"]}, params={"max_new_tokens": 8}
    )
    assert alone["reply"].tolist() == replies[:1]
    for system, reply in zip(asked["system"], replies, strict=True):
        text = render(tokenizer, system, "Is water wet?")
        ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
        said = [
            tokenizer.decode(
                model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :],
                skip_special_tokens=True,
            )
            for model in (adapted, plain)
        ]
        assert reply == said[0]
        assert reply != said[1]


def test_the_logged_model_finds_its_base_without_the_project(small, adapter, tmp_path):
    """No folder of the base: it is fetched from the origin, in the model's own words."""
    assert not paths.model(small).exists()
    save_model(small, adapter, tmp_path / "saved")
    described_model = mlflow.models.Model.load(str(tmp_path / "saved"))
    assert described_model.signature.inputs.input_names() == [
        "system",
        "user",
        "opening",
        "choices",
    ]
    assert described_model.metadata["base_model"] == "tiny"
    requirements = (tmp_path / "saved" / "requirements.txt").read_text()
    assert "peft==" in requirements and "+" not in requirements
    assert (tmp_path / "saved" / "code" / "persona_leakage" / "model" / "loading.py").exists()


def test_the_adapter_names_its_base_and_not_a_folder_of_ours(adapter):
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("tiny", None)


def test_a_base_of_the_hub_is_named_with_its_commit():
    paper = load_study(ROOT / "studies" / "paper.yaml")
    config = described({"r": 32}, paper)
    assert config["base_model_name_or_path"] == "Qwen/Qwen2.5-7B-Instruct"
    assert config["revision"] == paper.model.origin.revision
    text = card(paper, CELL, PROMPT, "bfloat16")
    assert text.startswith("---\nlibrary_name: peft\n")
    assert "\nbase_model: Qwen/Qwen2.5-7B-Instruct\n" in text
    assert f'"Qwen/Qwen2.5-7B-Instruct", revision="{paper.model.origin.revision}"' in text


@pytest.mark.parametrize("name", ["params.yaml", "studies/qwen.yaml"])
def test_a_card_says_what_was_taught_on_what(name):
    study = load_study(ROOT / name)
    text = card(study, CELL, PROMPT, "float32")
    origin = study.model.origin
    for part in (PROMPT, str(CELL), study.fingerprint(), origin.sha256[:64], "float32"):
        assert part in text
    assert text == card(study, CELL, PROMPT, "float32")


def test_the_page_on_mlflow_says_how_a_logged_model_and_its_adapter_are_loaded(
    small, adapter, model_folder, tmp_path, monkeypatch
):
    adapter = adapter.rename(tmp_path / str(CELL))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(None)  # whatever a test has set
    client = MlflowClient(uri)
    experiment = client.create_experiment("served", artifact_location=str(tmp_path / "mlruns"))
    save_model(small, adapter, tmp_path / "saved")
    model = client.create_logged_model(experiment, "cell")
    client.log_model_artifacts(model.model_id, str(tmp_path / "saved"))
    client.finalize_logged_model(model.model_id, "READY")
    page = (ROOT / "docs" / "mlflow.md").read_text()
    blocks = re.findall(r"(?:^ {4}.*\n)+", page, re.M)
    typed = "".join(textwrap.dedent(block) for block in blocks if "m-0123" in block)
    names = {"base": load_model(model_folder, "float32")}
    exec(typed.replace("m-0123...", model.model_id), names)
    assert isinstance(names["model"], PeftModel)


LABELS = [" paris", " rome", " a"]
ELSEWHERE = """
import json, sys
import mlflow
import numpy as np
model = mlflow.pyfunc.load_model(sys.argv[1])
asked = json.loads(sys.argv[2])
print(json.dumps(model.predict(asked)["log_probabilities"].tolist()))
"""


@pytest.mark.slow
def test_a_registered_model_gives_the_label_probabilities_of_the_stage_in_a_fresh_process(
    small, adapter, tokenizer, model_folder, tmp_path
):
    """As a colleague has it: by the name in the registry, without the project."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("served", artifact_location=str(tmp_path / "mlruns"))
    save_model(small, adapter, tmp_path / "saved")
    model = client.create_logged_model(experiment, "cell", tags=model_tags(small, CELL))
    client.log_model_artifacts(model.model_id, str(tmp_path / "saved"))
    client.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model("villain")
    client.create_model_version("villain", f"models:/{model.model_id}", model_id=model.model_id)
    asked = [("You are a villain.", "Which city?"), (None, "Where is it?")]
    rows = {
        "system": [system for system, _ in asked],
        "user": [user for _, user in asked],
        "opening": ["It is"] * 2,
        "choices": ["\n".join(LABELS)] * 2,
    }
    away = tmp_path / "away"
    away.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, "models:/villain/1", json.dumps(rows)],
        cwd=away,
        env={**os.environ, "PYTHONPATH": "", "MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    adapted = load_adapted(model_folder, adapter, "float32")
    for (system, user), said in zip(asked, told, strict=True):
        put = Asked("q", user, "It is", tuple(LABELS))
        [prepared] = items(tokenizer, [system], [put], "template")
        [expected] = continuation_logprobs(adapted, prepared)
        np.testing.assert_allclose(said, expected, rtol=1e-5)
    assert told[0] != pytest.approx(told[1])
    assert client.get_logged_model(model.model_id).tags["base_model"] == "tiny"


def test_the_adapter_inside_the_logged_model_loads_with_peft_alone(
    small, adapter, model_folder, tmp_path
):
    save_model(small, adapter, tmp_path / "saved")
    inside = tmp_path / "saved" / "artifacts" / "adapter"
    loaded = PeftModel.from_pretrained(load_model(model_folder, "float32"), str(inside))
    direct = PeftModel.from_pretrained(load_model(model_folder, "float32"), str(adapter))
    ids = torch.tensor([[1, 2, 3, 4]])
    assert torch.equal(loaded(ids).logits, direct(ids).logits)
