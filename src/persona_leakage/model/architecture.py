"""Facts of a model's architecture that decide which computations its sequences may share."""

import inspect
import math
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

CausalLM = Any  # transformers' models share no useful static type


def name(model: CausalLM) -> str:
    """Name a model in messages: its class, and where it was loaded from.

    Parameters
    ----------
    model : transformers causal language model, with or without an adapter
        With its weights.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    origin = getattr(base.config, "name_or_path", "")
    return f"{type(base).__name__} ({origin})" if origin else type(base).__name__


def sharing_limit(model: CausalLM) -> float:
    """Tokens of the longest sequences that may share what was computed of their beginning.

    Sharing needs every layer to attend to all tokens before, at positions that it is told:

    - 0, never, where a layer carries a recurrent state (Mamba, gated delta nets, convolutions), or
      where positions are distances in the row (ALiBi: BLOOM, some Falcons);
    - the window, where a layer sees no further back (Gemma 3, Mistral, Cohere2, gpt-oss);
    - infinity else.

    Parameters
    ----------
    model : transformers causal language model
        With its weights.
    """
    config = model.config.get_text_config(decoder=True)
    positioned = "position_ids" in inspect.signature(model.get_decoder().forward).parameters
    if not positioned or getattr(config, "alibi", False):
        return 0
    windows = []
    # the cache that transformers itself would keep tells the kinds of layers apart
    for layer in DynamicCache(config=config).layers:
        if type(layer) is DynamicSlidingWindowLayer:
            windows.append(layer.sliding_window)
        elif type(layer) is not DynamicLayer:
            return 0
    return min(windows, default=math.inf)


def context(config: Any) -> int | None:
    """Tokens that a model was made to read at most; ``None`` where its configuration has no limit.

    With rotary frequencies that change with the length of a batch (Phi-3's ``longrope``,
    ``dynamic``) the limit is the length up to which they do not.

    Parameters
    ----------
    config : transformers configuration
        Of the whole model; its text part is looked up.
    """
    text = config.get_text_config(decoder=True)
    longest: int | None = getattr(text, "max_position_embeddings", None)
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("longrope", "dynamic"):
        original: int | None = rope.get("original_max_position_embeddings")
        return original or longest
    return longest


def token_budget(model: CausalLM) -> int:
    """Return the padded tokens per forward pass: enough to fill the arithmetic units, no more.

    Fewer tokens are less padding; more keep a GPU busier. Measured on an H100 in bfloat16: 1.5
    billion parameters are fastest at 16,384 tokens (308 TFLOP/s, 82 at 2,048), 7.6 billion at
    4,096 (511, to 390 at 2,048 and 364 at 32,768), whence 2.5e13 / parameters, a power of two
    between 2,048 and 16,384. A processor is full with 768.

    Parameters
    ----------
    model : transformers causal language model
        With its weights.
    """
    if model.device.type == "cpu":
        return 768
    tokens = 2.5e13 / sum(parameter.numel() for parameter in model.parameters())
    return int(min(max(2 ** round(math.log2(tokens)), 2048), 16384))


def packed_budget(model: CausalLM) -> int:
    """Return the tokens per forward pass without padding: as many as there is room for.

    Measured on an H100 in bfloat16, as shares of its matrix rate: 1.5 billion parameters 62 % at
    8,192 tokens, 66 % at 32,768 and at 65,536; 7.6 billion 77 % at 4,096 and 81 % at 32,768.
    Activations get an eighth of the memory: of a token, a block's inner layer thrice (gate, up and
    their product) and its outer one eight times are alive at once.

    Parameters
    ----------
    model : transformers causal language model
        With its weights, on a GPU.
    """
    memory: int = torch.cuda.get_device_properties(model.device).total_memory
    config = model.config.get_text_config(decoder=True)
    outer = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * outer
    token = (3 * inner + 8 * outer) * model.dtype.itemsize
    return int(min(max(memory // 8 // token, 1024), 32768))
