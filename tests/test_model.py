import pytest
import torch

from persona_leakage.model.loading import dtype, product


def test_precision_is_a_torch_type():
    assert dtype("float32") is torch.float32
    assert dtype("bfloat16") is torch.bfloat16
    assert dtype("auto") in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("slow", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_the_one_that_torch_gives_whichever_library_makes_it(bias, slow, monkeypatch):
    if slow and not torch.backends.mkldnn.is_available():
        pytest.skip("torch without oneDNN")
    monkeypatch.setattr("persona_leakage.model.loading._mkl_is_slow", lambda: slow)
    torch.manual_seed(0)
    layer = torch.nn.Linear(96, 40, bias=bias)
    tokens = torch.randn(2, 7, 96)
    with torch.inference_mode():
        found = product(tokens, layer.weight, layer.bias)
        torch.testing.assert_close(found, layer(tokens), atol=1e-5, rtol=0)
