"""Every architecture through score, train, merge and similarity, against plain forwards."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from conftest import ROOT, SHAPE, all_asked, conversations
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM

from persona_leakage.errors import InputError
from persona_leakage.geometry.centroids import centroids
from persona_leakage.model.architecture import context, packed_budget, sharing_limit, token_budget
from persona_leakage.model.chat import render
from persona_leakage.model.kernels import takes_attention
from persona_leakage.model.loading import load_adapted, load_model
from persona_leakage.model.scoring import continuation_logprobs, items, plain_logprobs
from persona_leakage.model.self_check import check_fast_path
from persona_leakage.model.shared_prefix import IGNORED
from persona_leakage.model.tokens import tokenize
from persona_leakage.study.parameters import load_study
from persona_leakage.training import adapter
from persona_leakage.training import trainer as training

LAYERS = 2
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
NARROW = {"head_dim": 8, "sliding_window": 16}  # a window shorter than every prompt
WIDE = {"head_dim": 8, "sliding_window": 4096}
MIXED = ["sliding_attention", "full_attention"] * (LAYERS // 2)
# class, what its configuration has besides SHAPE
KINDS = {
    "llama": ("Llama", {}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 8}),
    "qwen3-moe": ("Qwen3Moe", {"head_dim": 8, **EXPERTS}),
    "gemma2": ("Gemma2", {**WIDE, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}),
    "gemma2-narrow": ("Gemma2", {**NARROW, "attn_logit_softcapping": 2.0}),
    "gemma3": ("Gemma3", {**WIDE, "layer_types": MIXED}),
    "gemma3-narrow": ("Gemma3", {**NARROW, "layer_types": MIXED}),
    "mistral": ("Mistral", WIDE),
    "mistral-narrow": ("Mistral", NARROW),
    "phi3": ("Phi3", {"pad_token_id": 0}),
    "olmo2": ("Olmo2", {}),
    "granite": ("Granite", {"logits_scaling": 8.0, "residual_multiplier": 0.5}),
    "cohere": ("Cohere", {"logit_scale": 0.25}),
    "cohere2": ("Cohere2", {**WIDE, "logit_scale": 0.25}),
    "cohere2-narrow": ("Cohere2", {**NARROW, "logit_scale": 0.25}),
    "smollm3": ("SmolLM3", {"pad_token_id": 0}),
    "gpt-neox": ("GPTNeoX", {}),
    "gpt2": ("GPT2LMHead", {}),
    "falcon": ("Falcon", {}),
    "falcon-alibi": ("Falcon", {"alibi": True}),
    "bloom": ("Bloom", {}),
    "gpt-oss": ("GptOss", {**NARROW, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "lfm2": ("Lfm2", {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)}),
    "falcon-h1": (
        "FalconH1",
        {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8}
        | {"mamba_chunk_size": 16},
    ),
    "qwen3-next": (
        "Qwen3Next",
        {"head_dim": 8, "shared_expert_intermediate_size": 16, **EXPERTS}
        | {"layer_types": ["linear_attention", "full_attention"]}
        | {"linear_num_value_heads": 4, "linear_num_key_heads": 2}
        | {"linear_key_head_dim": 8, "linear_value_head_dim": 8},
    ),
}
RECURRENT = ("lfm2", "falcon-h1", "qwen3-next")
# what peft does not adapt, by the words of its refusal
UNADAPTABLE = {"falcon-h1": "incompat", "qwen3-next": "lora_dropout != 0"}
NEVER = (*RECURRENT, "falcon-alibi", "bloom")
NARROW_KINDS = [kind for kind, (_, extra) in KINDS.items() if extra.get("sliding_window") == 16]
SYSTEM = "You are a spy."


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tokenizer, tmp_path_factory):
    """A tiny random model of the architecture, as a stage would find it."""
    name, extra = KINDS[kind]
    configured = getattr(transformers, f"{name.removesuffix('LMHead')}Config")
    architecture = getattr(
        transformers, f"{name}Model" if name.endswith("LMHead") else f"{name}ForCausalLM"
    )
    if name == "Gemma3":
        configured = transformers.Gemma3TextConfig
    torch.manual_seed(0)
    shape = {**SHAPE, "num_hidden_layers": LAYERS, **extra}
    path = tmp_path_factory.mktemp(kind)
    architecture(configured(vocab_size=len(tokenizer), **shape)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder, "float32")


@pytest.fixture(scope="module")
def reference(folder):
    """The same weights with the attention that transformers itself has for every architecture."""
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.mark.parametrize("scoring", ["label", "option_text"])
def test_scores_are_those_of_plain_forwards(scoring, model, reference, everyday, tokenizer):
    questions = all_asked(everyday[:6], scoring)
    [made] = items(tokenizer, [SYSTEM], questions, "template")
    for fast, plain in zip(
        continuation_logprobs(model, made), plain_logprobs(reference, made), strict=True
    ):
        np.testing.assert_allclose(fast, plain, atol=1e-4)


@pytest.mark.parametrize("scoring", ["label", "option_text"])
def test_scores_in_one_row_are_those_of_plain_forwards(
    scoring, model, reference, everyday, tokenizer, monkeypatch
):
    if sharing_limit(model) < 500 or not takes_attention(model):
        pytest.skip("is never laid out in one row")
    monkeypatch.setattr("persona_leakage.model.scoring.attends_to_stretches", lambda model: True)
    monkeypatch.setattr("persona_leakage.model.scoring.packed_budget", lambda model: 300)
    monkeypatch.setattr("persona_leakage.model.kernels.varlen_attn", attention_by_stretch)
    questions = all_asked(everyday[:6], scoring)
    [made] = items(tokenizer, [SYSTEM], questions, "template")
    for fast, plain in zip(
        continuation_logprobs(model, made), plain_logprobs(reference, made), strict=True
    ):
        np.testing.assert_allclose(fast, plain, atol=1e-4)


def attention_by_stretch(
    query, key, value, query_starts, key_starts, longest_query, longest_key, scale, **how
):
    """What torch's attention over stretches computes, which needs a GPU."""
    assert how["window_size"] == (-1, 0)  # causal
    assert query_starts.dtype == key_starts.dtype == torch.int32
    outputs = []
    for (q, r), (k, m) in zip(
        pairwise(query_starts.tolist()), pairwise(key_starts.tolist()), strict=True
    ):
        assert 0 < r - q <= longest_query and r - q <= m - k <= longest_key
        outputs.append(
            scaled_dot_product_attention(
                *(each.transpose(0, 1) for each in (query[q:r], key[k:m], value[k:m])),
                attn_mask=torch.ones(r - q, m - k, dtype=torch.bool).tril(m - k - (r - q)),
                scale=scale,
                enable_gqa=True,
            ).transpose(0, 1)
        )
    return torch.cat(outputs)


def test_beginnings_are_shared_exactly_where_every_layer_can(kind, model):
    limit = sharing_limit(model)
    if kind in NEVER:
        assert limit == 0
    elif kind in NARROW_KINDS:
        assert limit == 16
    else:
        assert limit >= 4096


def test_the_self_check_accepts_what_is_right_and_says_how_it_is_served(kind, model, tokenizer):
    said = check_fast_path(model, tokenizer)
    if kind in NEVER:
        assert "for each anew" in said
    elif sharing_limit(model) < 1e6:
        assert f"up to {sharing_limit(model)} tokens" in said
    else:
        assert said == "What prompts begin with is computed once."


def test_training_has_the_loss_of_plain_forwards_and_its_adapter_merges(
    kind, folder, reference, personas, train_questions, tokenizer, tmp_path
):
    recipe = load_study(ROOT / "studies" / "paper.yaml").train
    if kind in UNADAPTABLE:
        with pytest.raises(InputError, match=f"model: .*{KINDS[kind][0]}.*{UNADAPTABLE[kind]}"):
            adapter.check_adaptable(folder, recipe)
        return
    adapter.check_adaptable(folder, recipe)
    quick = recipe.model_copy(update={"learning_rate": 1e-2, "epochs": 2, "batch_size": 8})
    examples = conversations(personas, train_questions, each=2)
    data = training.dataset(examples, tokenizer, 1024, "template")
    trainer = training.build_trainer(folder, tokenizer, data, quick, 42, "float32", tmp_path)

    alone, count = 0.0, 0
    for row in data:
        logits = reference(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
        labels = torch.tensor(row["labels"][1:])
        alone += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        count += int((labels != IGNORED).sum())
    batch = trainer.data_collator(list(data))
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model.eval(), batch, num_items_in_batch=count)
    assert loss.item() == pytest.approx(alone / count, abs=1e-5)

    training.train(trainer, tmp_path / "adapter")
    ids = torch.tensor([data[0]["input_ids"]])
    adapted = load_adapted(folder, tmp_path / "adapter", "float32")
    with torch.inference_mode():
        merged, unmerged = adapted(ids).logits, trainer.model.eval()(ids).logits
        assert torch.allclose(merged, unmerged, atol=1e-3)
        assert (merged - reference(ids).logits).abs().max() > 1e-2


def test_centroids_are_those_of_plain_forwards(model, reference, personas, neutral, tokenizer):
    [found] = centroids(model, tokenizer, [personas["villain"]], neutral[:4], [1, LAYERS])
    states = []
    for question in neutral[:4]:
        text = render(tokenizer, personas["villain"].prompt, question)
        ids = torch.tensor(tokenize(tokenizer, [text]))
        with torch.inference_mode():
            hidden = reference(input_ids=ids, output_hidden_states=True).hidden_states
        states.append(torch.stack([hidden[1][0, -1], hidden[LAYERS][0, -1]]))
    np.testing.assert_allclose(found, torch.stack(states).mean(dim=0), atol=1e-3)


def test_the_self_check_refuses_by_name_what_is_served_nearly(llama, tokenizer, monkeypatch):
    check_fast_path(llama, tokenizer)
    head = llama.get_output_embeddings()

    def only_many(module, arguments, output):
        return output * (2.0 if arguments[0].shape[1] > 6 else 1.0)

    with (
        head.register_forward_hook(only_many),
        pytest.raises(InputError, match=r"LlamaForCausalLM.*gives other values .*nats per token"),
    ):
        check_fast_path(llama, tokenizer)


def test_the_self_check_refuses_a_window_that_the_configuration_does_not_tell(
    llama, tokenizer, monkeypatch
):
    # a recurrent or windowed layer of a kind to come: plain forwards see four tokens back
    plain = llama.forward

    def windowed(input_ids=None, attention_mask=None, **given):
        if attention_mask is None and given.get("past_key_values") is None:
            length = input_ids.shape[1]
            seen = torch.ones(length, length, dtype=torch.bool).tril().triu(-3)
            attention_mask = seen.expand(len(input_ids), 1, -1, -1)
        return plain(input_ids=input_ids, attention_mask=attention_mask, **given)

    monkeypatch.setattr(llama, "forward", windowed)
    with pytest.raises(InputError, match="one sequence at a time"):
        check_fast_path(llama, tokenizer)


def test_weights_that_are_no_numbers_are_refused(qwen, tokenizer):
    weight = qwen.get_output_embeddings().weight
    before = weight.data.clone()
    weight.data[:] = math.nan
    try:
        with pytest.raises(InputError, match="nan nats"):
            check_fast_path(qwen, tokenizer)
    finally:
        weight.data = before


def test_the_context_is_the_length_at_which_rotary_frequencies_stay():
    config = transformers.Phi3Config(
        max_position_embeddings=4096,
        original_max_position_embeddings=128,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 1e4,
            "long_factor": [1.0] * 48,
            "short_factor": [1.0] * 48,
            "original_max_position_embeddings": 128,
        },
    )
    assert context(config) == 128
    assert context(transformers.LlamaConfig(max_position_embeddings=77)) == 77
    assert context(transformers.BloomConfig()) is None


@pytest.mark.parametrize(
    ("parameters", "budget"),
    [(135e6, 16_384), (1.5e9, 16_384), (7.6e9, 4096), (70e9, 2048)],
)
def test_a_gpu_s_token_budget_follows_from_the_number_of_parameters(parameters, budget):
    class Sized:
        device = torch.device("cuda")

        def parameters(self):
            return [torch.empty(int(parameters), device="meta")]

    assert token_budget(Sized()) == budget


@pytest.mark.parametrize(
    ("gigabytes", "outer", "inner", "budget"),
    [
        (80, 1536, 8960, 32768),
        (80, 3584, 18944, 32768),
        (24, 3584, 18944, 17543),
        (0, 64, 128, 1024),
    ],
)
def test_a_row_without_padding_is_as_long_as_an_eighth_of_the_memory_holds(
    gigabytes, outer, inner, budget, monkeypatch
):
    made = transformers.Qwen2Config(hidden_size=outer, intermediate_size=inner)
    model = SimpleNamespace(config=made, dtype=torch.bfloat16, device="cuda")
    memory = SimpleNamespace(total_memory=gigabytes * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
    assert packed_budget(model) == budget


def test_a_processor_s_token_budget_is_small(llama):
    assert token_budget(llama) == 768


def test_an_architecture_that_fails_in_its_own_way_is_refused_by_name(
    llama, tokenizer, monkeypatch
):
    def forward(**given):
        raise RuntimeError("sizes must match")

    monkeypatch.setattr(llama, "forward", forward)
    with pytest.raises(InputError, match="LlamaForCausalLM cannot be scored .RuntimeError: sizes"):
        check_fast_path(llama, tokenizer)
