"""The base model's geometry of personas: centroids of the residual stream, and their cosines."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from persona_leakage.data.catalog import Persona
from persona_leakage.errors import InputError
from persona_leakage.model.architecture import CausalLM, sharing_limit
from persona_leakage.model.chat import SystemRole, Tokenizer, render, tokenize
from persona_leakage.model.shared_prefix import common_prefix


def depth(model: CausalLM) -> int:
    """Number of decoder blocks."""
    blocks: int = model.config.get_text_config().num_hidden_layers
    return blocks


def layer_number(layer: int | float, blocks: int) -> int:
    """Turn a layer parameter into the number of blocks that have been applied (0: embeddings).

    A fraction is one of the depth: 0.7 of 28 blocks is layer 20.

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

    Returns
    -------
    ndarray of shape (personas, layers, hidden), float32
    """
    means = []
    for persona in personas:
        prompts = [
            tokenize(tokenizer, render(tokenizer, persona.prompt, question, system_role))
            for question in neutral
        ]
        states = _last_token_states(model, prompts)[:, list(layers)]
        means.append(states.mean(dim=0).cpu().numpy())
        advance(1)
    return np.stack(means)


def _last_token_states(model: CausalLM, prompts: Sequence[list[int]]) -> torch.Tensor:
    """Residual stream of every layer at the last token: (prompts, blocks + 1, hidden), float32."""
    shared = common_prefix(prompts) if max(map(len, prompts)) <= sharing_limit(model) else 0
    device = model.device
    decoder = model.get_decoder()
    cache = None
    if shared:
        prefix = torch.tensor([prompts[0][:shared]], device=device)
        cache = decoder(input_ids=prefix, use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(prompts))
    rows = [ids[shared:] for ids in prompts]
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    attended = torch.tensor(
        [[1] * (shared + len(row)) + [0] * (longest - len(row)) for row in rows], device=device
    )
    output = decoder(
        input_ids=ids,
        attention_mask=attended,
        position_ids=torch.arange(shared, shared + longest, device=device)[None],
        past_key_values=cache,
        use_cache=cache is not None,
        output_hidden_states=True,
    )
    last = torch.tensor([len(row) - 1 for row in rows], device=device)
    each = torch.arange(len(rows), device=device)
    return torch.stack([states[each, last].float() for states in output.hidden_states], dim=1)


Kind = Literal["raw", "centred"]
KINDS: tuple[Kind, ...] = ("raw", "centred")


def cosine_matrix(vectors: np.ndarray, kind: Kind) -> np.ndarray:
    """Cosine of each pair of centroids.

    Parameters
    ----------
    vectors : ndarray of shape (personas, hidden)
    kind : {"raw", "centred"}
        ``centred`` subtracts the mean over the personas first.

    Returns
    -------
    ndarray of shape (personas, personas)
        Not a number where a centroid is the zero vector: at layer 0 the last token is the same for
        all personas, and centring leaves nothing.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    if kind == "centred":
        vectors = vectors - vectors.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.clip(unit @ unit.T, -1.0, 1.0)


def table(vectors: np.ndarray, names: Sequence[str], layers: Sequence[int]) -> pd.DataFrame:
    """List every pair's similarity at every layer.

    Returns
    -------
    DataFrame
        ``layer``; ``source``, ``persona`` (names); ``raw``, ``centred`` (cosines); ``distance``
        (Euclidean). One row a layer and ordered pair.
    """
    frames = []
    for index, layer in enumerate(layers):
        points = vectors[:, index].astype(np.float64)
        difference = points[:, None] - points[None]
        source, persona = np.meshgrid(names, names, indexing="ij")
        frames.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "source": source.ravel(),
                    "persona": persona.ravel(),
                    "raw": cosine_matrix(points, "raw").ravel(),
                    "centred": cosine_matrix(points, "centred").ravel(),
                    "distance": np.sqrt((difference**2).sum(axis=2)).ravel(),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)
