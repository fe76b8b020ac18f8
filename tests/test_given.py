"""An adapter of somebody else's is evaluated and analysed: a study, no training."""

import json
import re
import shutil
from pathlib import Path

import every_stage
import pytest
import torch
import yaml
from conftest import CATALOG, ROOT
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from persona_leakage.errors import InputError
from persona_leakage.files import sha256
from persona_leakage.pipeline import evaluate, train
from persona_leakage.pipeline.cost import cost
from persona_leakage.pipeline.score_files import read_scores
from persona_leakage.report.write import ACCURACY
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study
from persona_leakage.study.results import read_cell
from persona_leakage.training.given import CONFIG, WEIGHTS, take

CELL = Cell("villain", 1, "given")


@pytest.fixture(scope="module")
def published(model_folder, tmp_path_factory) -> Path:
    """A folder as peft saves it, of a model called by another name, with its author's card."""
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"]
    )
    adapted = get_peft_model(model, config)
    torch.manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    folder = tmp_path_factory.mktemp("published")
    adapted.save_pretrained(folder)
    settings = json.loads((folder / CONFIG).read_text())
    settings["base_model_name_or_path"] = "somebody/tiny"
    (folder / CONFIG).write_text(json.dumps(settings))
    (folder / "README.md").write_text("What its author says of it.\n")
    return folder


def parameters(published, model_folder):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {
        "study": "theirs",
        "seeds": [1],
        "variants": ["given"],
        "personas": ["villain", "henchman", "spy", "nurse", "baker", "librarian", "comedian"],
        "contrast": {
            "positives": 12,
            "negatives": ["librarian"],
            "per_negative": 6,
            "no_system": 0,
            "assistant": 2,
        },
        "similarity": {"layer": 2, "layers": [2]},
    }
    params["model"] = {"name": "tiny", "origin": {"kind": "folder", "path": str(model_folder)}}
    params["questions"] |= {"max_train": 12, "max_evaluate": 10}
    params["train"] |= {
        "adapters": {str(CELL): {"path": str(published), "sha256": sha256(published / WEIGHTS)}},
        "lora": {"r": 4, "alpha": 8, "dropout": 0.0, "rank_stabilised": False},
    }
    return params


def written(params, folder):
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder / "params.yaml"


@pytest.fixture
def theirs(tmp_path, monkeypatch, published, model_folder):
    params = parameters(published, model_folder)
    written(params, tmp_path)
    (tmp_path / "data").symlink_to(CATALOG)
    (tmp_path / "reference").symlink_to(ROOT / "reference")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return params


def test_a_given_adapter_is_evaluated_and_analysed_without_training(theirs, published, tmp_path):
    every_stage.run(CELL)
    outputs = tmp_path / "outputs" / "theirs"
    adapter = outputs / "adapters" / str(CELL)
    for name in (WEIGHTS, CONFIG, "README.md"):
        assert (adapter / name).read_bytes() == (published / name).read_bytes()
    finished = read_cell(outputs / "analysis" / str(CELL))
    roles = finished.personas.set_index("persona")["role"].to_dict()
    # who was taught right is what the study says of it
    assert {name for name in roles if roles[name] == "negative"} == {"assistant", "librarian"}
    assert roles["villain"] == "source" and roles["no_system"] == "condition"
    assert finished.curve.empty
    assert finished.personas["delta"].abs().sum() > 0
    page = (tmp_path / "reports" / "theirs" / "report.html").read_text()
    assert "trained elsewhere" in page and sha256(published / WEIGHTS) in page
    summary = json.loads((tmp_path / "reports" / "theirs" / "summary.json").read_text())
    assert [row["source"] for row in summary["verdict"]["findings_table"]] == ["villain"]

    # the same weights on another scaling are another adapter: nobody's old scores are taken
    before = read_scores(outputs / "scores" / str(CELL), roles, ACCURACY)["scores"]
    settings = json.loads((published / CONFIG).read_text()) | {"lora_alpha": 64}
    changed = shutil.copytree(published, tmp_path / "changed")
    (changed / CONFIG).write_text(json.dumps(settings))
    theirs["train"]["adapters"][str(CELL)]["path"] = str(changed)
    theirs["train"]["lora"]["alpha"] = 64
    written(theirs, tmp_path)
    train.main(CELL)
    evaluate.main(CELL)
    after = read_scores(outputs / "scores" / str(CELL), roles, ACCURACY)["scores"]
    assert max(abs(a - b).max() for a, b in zip(before, after, strict=True)) > 0.01


def refused(change, published, model_folder, tmp_path):
    """What is said of the adapter, or of its study, after a change of either."""
    folder = shutil.copytree(published, tmp_path / "adapter")
    params = parameters(folder, model_folder)
    change(folder, params)
    path = written(params, tmp_path)
    with pytest.raises(InputError) as caught:
        take(load_study(path), CELL, model_folder, tmp_path / "taken")
    assert not (tmp_path / "taken").exists()
    message = str(caught.value)
    assert len(message.replace(str(tmp_path), "")) <= 300 and "\n" not in message
    return message


def configured(**settings):
    def change(folder, params):
        config = json.loads((folder / CONFIG).read_text()) | settings
        (folder / CONFIG).write_text(json.dumps(config))

    return change


def weighed(alter):
    """Change the tensors, and the hash that the study names with them."""

    def change(folder, params):
        save_file(alter(load_file(folder / WEIGHTS)), folder / WEIGHTS)
        params["train"]["adapters"][str(CELL)]["sha256"] = sha256(folder / WEIGHTS)

    return change


def pickled(folder, params):
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pickled, "has no adapter_model.safetensors; point to .* other formats are not loaded"),
        (lambda f, p: (f / CONFIG).unlink(), "has no adapter_config.json"),
        (
            lambda f, p: p["train"]["adapters"][str(CELL)].update(sha256="0" * 64),
            "has SHA-256 .*, not 0000000000000000...; fetch it again",
        ),
        (
            configured(base_model_name_or_path="somebody/other"),
            r"\(rank 4\) was trained on somebody/other, and the study's model is tiny",
        ),
        (configured(r=8), "the adapter has rank 8, alpha 8, .* set train.lora to {r: 8, alpha: 8"),
        (configured(use_rslora=True), "rank_stabilised: true}"),
        (configured(use_dora=True), "the adapter sets use_dora; only plain LoRA is taken"),
        (configured(modules_to_save=["lm_head"]), "the adapter sets modules_to_save"),
        (configured(rank_pattern={"q_proj": 2}), "the adapter sets rank_pattern"),
        (configured(bias="all"), "the adapter sets bias"),
        (configured(init_lora_weights="pissa"), "the adapter sets init_lora_weights"),
        (configured(peft_type="IA3"), "the adapter is IA3"),
        (weighed(lambda t: {}), "nothing .rank 4. does not fit the linear projections of"),
        (
            weighed(lambda t: {k.replace("layers.2", "layers.7"): v for k, v in t.items()}),
            r"layers.7.* and 1 more \(rank 4\) does not fit the linear projections",
        ),
        (weighed(lambda t: t | {FIRST: t[FIRST][:2]}), r"layers.0.self_attn.q_proj \(rank 4\)"),
        (weighed(lambda t: {k: v for k, v in t.items() if k != FIRST}), "0.self_attn.q_proj"),
        (weighed(lambda t: t | {FIRST: t[FIRST] * float("nan")}), "q_proj is not finite"),
        (
            lambda f, p: p["train"].pop("adapters"),
            "train.adapters lacks villain-1-given, whose variant is given",
        ),
        (
            lambda f, p: p.update(variants=["contrastive"]),
            "no cell of the study has this name and the variant given",
        ),
        (
            lambda f, p: p.update(variants=["given", "contrastive"]),
            "put them into two studies",
        ),
        (
            lambda f, p: p["contrast"].update(negatives=2),
            r"contrast.negatives must name whom .*: \[\] where nobody is known",
        ),
    ],
)
def test_an_adapter_that_cannot_be_taken_is_named(
    change, message, published, model_folder, tmp_path
):
    said = refused(change, published, model_folder, tmp_path)
    assert re.search(message, said), said


def test_another_name_of_the_base_can_be_given(published, model_folder, tmp_path):
    folder = shutil.copytree(published, tmp_path / "adapter")
    configured(base_model_name_or_path="quantised/tiny-4bit")(folder, None)
    params = parameters(folder, model_folder)
    params["train"]["adapters"][str(CELL)]["base"] = "quantised/tiny-4bit"
    take(load_study(written(params, tmp_path)), CELL, model_folder, tmp_path / "taken")
    assert (tmp_path / "taken" / WEIGHTS).exists()


def test_no_training_is_counted(published, model_folder, tmp_path, personas, everyday):
    study = load_study(written(parameters(published, model_folder), tmp_path))
    taken = cost(study, list(personas.values())[:3], everyday[:5], finished=0)
    assert (taken.examples, taken.train_tokens) == (0, 0)
    assert taken.minutes({"score": 100.0}) == pytest.approx(2 * taken.score_tokens / 6000)


def test_a_study_without_given_adapters_says_nothing_of_them(study):
    assert "adapters" not in study.model_dump()["train"]
