import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from persona_leakage.errors import InputError
from persona_leakage.model import loading
from persona_leakage.model.kernels import ProcessorLinear, attention_of, product, replace_modules
from persona_leakage.model.loading import dtype, load_model


def test_precision_is_a_torch_type():
    assert dtype("float32") is torch.float32
    assert dtype("bfloat16") is torch.bfloat16


@pytest.mark.parametrize(
    ("device", "capabilities", "precision"),
    [
        ("cuda", (), torch.bfloat16),
        ("cpu", (), torch.float32),
        ("cpu", ("avx512_bf16",), torch.bfloat16),
        # their bfloat16 rate is in AMX, which a virtual machine may hide
        ("cpu", ("avx512_bf16", "avx512_fp16"), torch.float32),
        ("cpu", ("avx512_bf16", "avx512_fp16", "amx_bf16"), torch.bfloat16),
        ("cpu", ("amx_bf16",), torch.bfloat16),
        ("cpu", ("avx512_fp16",), torch.float32),
    ],
)
def test_auto_is_bfloat16_where_it_is_multiplied_faster(
    device, capabilities, precision, monkeypatch
):
    monkeypatch.setattr("persona_leakage.model.loading.device", lambda: torch.device(device))
    has = dict.fromkeys(("avx512_bf16", "avx512_fp16", "amx_bf16"), False)
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: has | dict.fromkeys(capabilities, True)
    )
    assert dtype("auto") is precision


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


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ValueError("not a model"), "where its files are damaged, delete it"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "free some memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "free some memory"),
        (MemoryError(), "free some memory"),
    ],
)
def test_only_what_may_be_damaged_is_to_be_deleted(error, remedy, model_folder, monkeypatch):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", fails)
    with pytest.raises(InputError, match=remedy):
        load_model(model_folder, "float32")


def test_weights_that_lack_a_layer_are_refused(model_folder, tmp_path):
    path = tmp_path / "lacking"
    shutil.copytree(model_folder, path)
    weights = load_file(path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="has no model.layers.1.mlp.up_proj.weight"):
        load_model(path, "float32")


def test_loading_leaves_linear_layers_their_parameters(model_folder):
    model = load_model(model_folder, "float32")
    kinds = {type(module) for module in model.modules() if isinstance(module, torch.nn.Linear)}
    assert kinds == {ProcessorLinear}
    assert not model.training


def test_scoring_attention_says_so_where_transformers_keeps_its_name_elsewhere(llama):
    class Renamed:
        config = object()

    assert attention_of(llama) == "sdpa"
    with pytest.raises(InputError, match="no longer says which attention a model has"):
        attention_of(Renamed())


def test_only_modules_of_exactly_the_kind_are_replaced_and_share_their_parameters():
    inner = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU())
    model = torch.nn.Sequential(inner, ProcessorLinear(4, 2, bias=False))
    before = dict(model.named_parameters())
    replace_modules(model, torch.nn.Linear, ProcessorLinear.of)
    assert [type(model[0][0]), type(model[0][1])] == [ProcessorLinear, torch.nn.GELU]
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
