"""Where the base model holds each persona: centroids of the residual stream."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from persona_leakage.data.catalog import Persona
from persona_leakage.errors import InputError
from persona_leakage.model.architecture import CausalLM, sharing_limit
from persona_leakage.model.chat import SystemRole, Tokenizer, render
from persona_leakage.model.scoring import head_at
from persona_leakage.model.shared_prefix import common_prefix
from persona_leakage.model.tokens import tokenize


def depth(model: CausalLM) -> int:
    """Count the decoder blocks.

    Parameters
    ----------
    model : CausalLM
        Of any architecture.
    """
    blocks: int = model.config.get_text_config().num_hidden_layers
    return blocks


def layer_number(layer: int | float, blocks: int) -> int:
    """Turn a layer parameter into the number of blocks that have been applied (0: embeddings).

    Parameters
    ----------
    layer : int or float
        A fraction is one of the depth: 0.7 of 28 blocks is layer 20.
    blocks : int
        The model's depth.

    Raises
    ------
    InputError
        The model has fewer blocks.
    """
    number = round(layer * blocks) if isinstance(layer, float) else layer
    if number > blocks:
        raise InputError(
            f"params.yaml: similarity names layer {layer}, and the model has {blocks} blocks; "
            f"allowed are 0 to {blocks}, or a fraction of the depth"
        )
    return number


@torch.inference_mode()
def centroids(
    model: CausalLM,
    tokenizer: Tokenizer,
    personas: Sequence[Persona],
    neutral: Sequence[str],
    layers: Sequence[int],
    system_role: SystemRole = "template",
    advance: Callable[[int], Any] = lambda count: None,
) -> np.ndarray:
    """Average the residual stream at the last prompt token over the neutral questions.

    All layers come from one pass. Layer L is the stream after L blocks; the last one is read after
    the final normalisation, as transformers reports it.

    Parameters
    ----------
    model : CausalLM
        The base model.
    tokenizer : transformers tokenizer
        The model's own.
    personas : sequence of Persona
        Whose prompts stand before the questions.
    neutral : sequence of str
        Questions that say nothing of any persona.
    layers : sequence of int
        Numbers of blocks applied, of ``layer_number``.
    system_role : {"template", "merge"}
        Where the persona's prompt goes.
    advance : callable
        Called with the number of personas done since the last call.

    Returns
    -------
    ndarray of shape (personas, layers, hidden), float32
    """
    means = []
    for persona in personas:
        texts = [render(tokenizer, persona.prompt, question, system_role) for question in neutral]
        prompts = tokenize(tokenizer, texts)
        states = last_token_states(model, prompts)[:, list(layers)]
        if not torch.isfinite(states).all():
            raise InputError(
                f"centroids: {persona.name}: the model's residual stream is not finite; its "
                "weights are damaged or model.precision is too low, fetch the model again"
            )
        means.append(states.mean(dim=0).cpu().numpy())
        advance(1)
    return np.stack(means)


def last_token_states(model: CausalLM, prompts: Sequence[list[int]]) -> torch.Tensor:
    """Read the residual stream of every layer at the last token of each prompt.

    Parameters
    ----------
    model : CausalLM
        The base model.
    prompts : sequence of list of int
        Token ids; fast when they begin alike.

    Returns
    -------
    Tensor of shape (prompts, blocks + 1, hidden), float32
        As ``centroids`` numbers the layers, on the model's device.
    """
    inputs, last = _inputs(model, prompts)
    output = model.get_decoder()(**inputs, output_hidden_states=True)
    return _read(output.hidden_states, last)


def last_token_states_and_logits(
    model: CausalLM, prompts: Sequence[list[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read, in one pass, what ``last_token_states`` reads and the logits of the next token.

    Parameters
    ----------
    model : CausalLM
        The base model.
    prompts : sequence of list of int
        Token ids; fast when they begin alike.

    Returns
    -------
    tuple of Tensor
        Of shapes (prompts, blocks + 1, hidden) and (prompts, vocabulary), float32.
    """
    inputs, last = _inputs(model, prompts)
    rows = torch.arange(len(last), device=last.device)
    with head_at(model, rows * inputs["input_ids"].shape[1] + last):
        output = model(**inputs, output_hidden_states=True)
    return _read(output.hidden_states, last), output.logits[0].float()


def _inputs(model: CausalLM, prompts: Sequence[list[int]]) -> tuple[dict[str, Any], torch.Tensor]:
    """Lay the prompts out, their common beginning in the cache; and where each one ends."""
    shared = common_prefix(prompts) if max(map(len, prompts)) <= sharing_limit(model) else 0
    device = model.device
    cache = None
    if shared:
        prefix = torch.tensor([prompts[0][:shared]], device=device)
        cache = model.get_decoder()(input_ids=prefix, use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(prompts))
    rows = [ids[shared:] for ids in prompts]
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    attended = torch.tensor(
        [[1] * (shared + len(row)) + [0] * (longest - len(row)) for row in rows], device=device
    )
    inputs = {
        "input_ids": ids,
        "attention_mask": attended,
        "position_ids": torch.arange(shared, shared + longest, device=device)[None],
        "past_key_values": cache,
        "use_cache": cache is not None,
    }
    return inputs, torch.tensor([len(row) - 1 for row in rows], device=device)


def _read(hidden_states: Sequence[torch.Tensor], last: torch.Tensor) -> torch.Tensor:
    each = torch.arange(len(last), device=last.device)
    return torch.stack([states[each, last].float() for states in hidden_states], dim=1)
