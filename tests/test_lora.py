import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners import lora

from persona_leakage.training.processor_lora import LightLora, kept_mask, lighten

LAYERS = 2


def make(dropout, bias=True, dtype=torch.float64):
    """Two linear layers under a peft adapter whose matrices are all random."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(12, 12, bias=bias, dtype=dtype) for _ in range(LAYERS)]
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules=["0", "1"])
    model = get_peft_model(torch.nn.Sequential(*layers), config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.train()


def outcome(model, tokens):
    """Output, gradient of the input and gradients of the adapter."""
    tokens = tokens.clone().requires_grad_()
    output = model(tokens)
    output.square().sum().backward()
    trained = [p.grad for p in model.parameters() if p.requires_grad]
    assert len(trained) == 2 * LAYERS
    return [output, tokens.grad, *trained]


@pytest.mark.parametrize("bias", [True, False])
def test_without_dropout_it_is_peft_s_layer_and_its_gradients(bias):
    model, tokens = make(0.0, bias), torch.randn(2, 5, 12, dtype=torch.float64)
    expected = outcome(model, tokens)
    model.zero_grad()
    lighten(model)
    assert sum(type(module) is LightLora for module in model.modules()) == LAYERS
    torch.testing.assert_close(outcome(model, tokens), expected)


def test_in_float32_it_is_peft_s_layer_to_rounding():
    model, tokens = make(0.0, dtype=torch.float32), torch.randn(2, 5, 12)
    expected = outcome(model, tokens)
    model.zero_grad()
    lighten(model)
    torch.testing.assert_close(outcome(model, tokens), expected, atol=1e-4, rtol=1e-4)


def test_with_dropout_the_gradients_are_those_of_what_was_computed():
    model = make(0.3)
    lighten(model)
    adapter = [p for p in model.parameters() if p.requires_grad]

    def output(tokens, *_):
        torch.manual_seed(1)  # the same mask each time
        return model(tokens)

    tokens = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(output, (tokens, *adapter))


def test_dropout_acts_on_the_adapter_alone_and_keeps_its_expectation():
    torch.manual_seed(0)
    base = torch.nn.Linear(1, 1, bias=False)
    config = LoraConfig(r=1, lora_alpha=1, lora_dropout=0.25, target_modules=["0"])
    model = get_peft_model(torch.nn.Sequential(base), config).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "lora" in name else 10.0)
    lighten(model)
    values = model(torch.ones(40_000, 1)).detach().unique(return_counts=True)
    torch.testing.assert_close(values[0], torch.tensor([10.0, 10 + 1 / 0.75]))
    assert values[1][1] / 40_000 == pytest.approx(0.75, abs=0.01)
    with torch.no_grad():
        assert (model.eval()(torch.ones(100, 1)) == 11).all()


@pytest.mark.parametrize("dropout", [0.05, 0.5])
def test_a_mask_drops_its_share_anew_each_time_and_is_fixed_by_the_seed(dropout):
    shape = torch.Size((1001, 333))
    torch.manual_seed(3)
    first, second = kept_mask(shape, dropout), kept_mask(shape, dropout)
    torch.manual_seed(3)
    assert torch.equal(kept_mask(shape, dropout), first)
    alike = 1 - 2 * dropout * (1 - dropout)  # of two independent masks
    assert (first == second).float().mean().item() == pytest.approx(alike, abs=0.01)
    assert first.shape == shape
    spread = (dropout * (1 - dropout) / shape.numel()) ** 0.5
    assert (~first).float().mean().item() == pytest.approx(dropout, abs=5 * spread)


def test_masters_stay_float32_over_a_bfloat16_base():
    model, tokens = make(0.1, dtype=torch.bfloat16), torch.randn(4, 12)
    lighten(model)
    for module in model.modules():
        if isinstance(module, lora.Linear):
            module.lora_A.float()
            module.lora_B.float()
    output, _, *trained = outcome(model, tokens)
    assert output.dtype == torch.bfloat16
    assert {gradient.dtype for gradient in trained} == {torch.float32}
