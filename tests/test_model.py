import shutil

import pytest
import torch
from conftest import make_tokenizer
from safetensors.torch import load_file, save_file

from persona_leakage.errors import InputError
from persona_leakage.model.kernels import ProcessorLinear, product
from persona_leakage.model.loading import dtype, fetch, load_model, load_tokenizer
from persona_leakage.study.parameters import FolderOrigin, HubOrigin, WheelOrigin


def test_a_folder_gives_the_same_model(model_folder, tmp_path, llama):
    fetch(FolderOrigin(kind="folder", path=str(model_folder)), tmp_path / "base")
    loaded = load_model(tmp_path / "base", "float32")
    ids = torch.tensor([[3, 4, 5]])
    with torch.inference_mode():
        # not equal: the sums may run in another order (ProcessorLinear)
        torch.testing.assert_close(loaded(ids).logits, llama(ids).logits, atol=1e-5, rtol=0)
    assert load_tokenizer(tmp_path / "base").chat_template


def test_a_hub_model_without_a_network_says_what_fetches_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    origin = HubOrigin(kind="hub", repo="Qwen/none-such", revision="0" * 40)
    with pytest.raises(
        InputError, match="cannot be reached.*hf download Qwen/none-such --revision"
    ):
        fetch(origin, tmp_path / "base")
    assert not list(tmp_path.iterdir())


def test_a_wheel_that_is_not_installed_says_what_installs_it(tmp_path):
    origin = WheelOrigin(kind="wheel", package="no-such", file="x.gguf", sha256="0" * 64)
    with pytest.raises(InputError, match="package no-such with x.gguf is not installed; `make set"):
        fetch(origin, tmp_path / "base")


def test_a_file_with_other_bytes_than_expected_is_refused(tmp_path, study):
    origin = study.model.origin.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(InputError, match="has SHA-256 b179c9523d.*not 0000"):
        fetch(origin, tmp_path / "base")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_safetensors_are_not_loaded(tmp_path):
    source = tmp_path / "pickled"
    source.mkdir()
    (source / "config.json").write_text("{}")
    (source / "pytorch_model.bin").write_bytes(b"\x80")
    make_tokenizer(None).save_pretrained(source)
    with pytest.raises(InputError, match="holds no safetensors"):
        fetch(FolderOrigin(kind="folder", path=str(source)), tmp_path / "base")


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere has no config.json"):
        fetch(FolderOrigin(kind="folder", path=str(tmp_path / "nowhere")), tmp_path / "base")


def test_precision_is_a_torch_type():
    assert dtype("float32") is torch.float32
    assert dtype("bfloat16") is torch.bfloat16
    assert dtype("auto") in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("slow", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_the_one_that_torch_gives_whichever_library_makes_it(bias, slow, monkeypatch):
    if slow and not torch.backends.mkldnn.is_available():
        pytest.skip("torch without oneDNN")
    monkeypatch.setattr("persona_leakage.model.kernels.mkl_is_slow", lambda: slow)
    torch.manual_seed(0)
    layer = torch.nn.Linear(96, 40, bias=bias)
    tokens = torch.randn(2, 7, 96)
    with torch.inference_mode():
        found = product(tokens, layer.weight, layer.bias)
        torch.testing.assert_close(found, layer(tokens), atol=1e-5, rtol=0)


def test_weights_that_lack_a_layer_are_refused(model_folder, tmp_path):
    path = tmp_path / "lacking"
    shutil.copytree(model_folder, path)
    weights = load_file(path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="1 missing, the first model.layers.1.mlp.up_proj.weight"):
        load_model(path, "float32")


def test_loading_leaves_linear_layers_their_parameters(model_folder):
    model = load_model(model_folder, "float32")
    kinds = {type(module) for module in model.modules() if isinstance(module, torch.nn.Linear)}
    assert kinds == {ProcessorLinear}
    assert not model.training
