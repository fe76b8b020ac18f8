"""Scoring: the log-probability of each continuation of each question, under each persona.

A behaviour says what is asked and which continuations stand for an answer (``chat.Asked``);
``continuation_logprobs`` gives what one forward pass a continuation would give, for far less work:

- the tokens that all prompts of a persona begin with are computed once, and kept as a KV cache;
- the choices of a question share its prompt: they follow it in one row, each attending to the
  prompt and to itself, not to the other choices;
- rows are sorted by length and batched to a budget of tokens;
- the output matrix is applied where a choice's token is predicted, and nowhere else.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from transformers import AttentionInterface, DynamicCache

from persona_leakage.errors import InputError
from persona_leakage.model.chat import (
    Asked,
    SystemRole,
    Tokenizer,
    render,
    tokenize,
)
from persona_leakage.model.loading import CausalLM

# padded tokens a forward pass: enough to fill the arithmetic units, no more, for less padding
TOKEN_BUDGET = {"cpu": 768, "cuda": 2048}


@dataclass(frozen=True)
class Item:
    """A prompt and its possible continuations, as token ids."""

    prompt: list[int]
    continuations: list[list[int]]


def items(
    tokenizer: Tokenizer,
    systems: Sequence[str | None],
    asked: Sequence[Asked],
    system_role: SystemRole,
) -> Iterator[list[Item]]:
    """Yield, persona after persona, the questions as prompts and the tokens of each continuation.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    systems : sequence of str or None
        The personas' system turns.
    asked : sequence of Asked
    system_role : {"template", "merge"}
        See ``chat.render``.

    Raises
    ------
    InputError
        The continuations of a question cannot be told apart by their tokens; names the question.
    """
    continuations = [continuation_tokens(tokenizer, question) for question in asked]
    for system in systems:
        texts = [
            render(tokenizer, system, question.user, system_role) + question.opening
            for question in asked
        ]
        prompts = tokenizer(texts, add_special_tokens=False)["input_ids"]
        yield [Item(prompt, ids) for prompt, ids in zip(prompts, continuations, strict=True)]


def continuation_tokens(tokenizer: Tokenizer, asked: Asked) -> list[list[int]]:
    """Return the token ids of each continuation of a question."""
    tokens = [tokenize(tokenizer, text) for text in asked.continuations]
    if not asked.ending:
        return tokens
    for text, ids in zip(asked.continuations, tokens, strict=True):
        if tokenize(tokenizer, text + asked.ending)[: len(ids)] != ids:
            raise InputError(
                f"question {asked.key}: the tokenizer joins the label {text!r} with the "
                f"{asked.ending!r} after it, so its probability cannot be read; use option_text "
                "scoring"
            )
        if any(other[: len(ids)] == ids for other in tokens if other is not ids):
            raise InputError(
                f"question {asked.key}: the tokens of the label {text!r} begin those of "
                "another label; relabel its choices or use option_text scoring"
            )
    return tokens


@torch.inference_mode()
def continuation_logprobs(
    model: CausalLM, items: Sequence[Item], advance: Callable[[int], Any] = lambda count: None
) -> list[np.ndarray]:
    """Sum the log-probabilities of each continuation's tokens, given its prompt.

    Parameters
    ----------
    model : transformers causal language model
    items : sequence of Item
        Fast when the prompts begin alike.

    Returns
    -------
    list of ndarray of shape (continuations,), float32
        Natural logarithms, in the order of the items.
    """
    device = model.device
    shared = common_prefix([item.prompt for item in items])
    cache = None
    if shared:
        prefix = _sent([items[0].prompt[:shared]], device)
        cache = model.get_decoder()(input_ids=prefix, use_cache=True).past_key_values
    rows = [_Row.of(item, shared) for item in items]
    order: list[int] = []
    logprobs = []
    for batch in batches([len(row.ids) for row in rows], TOKEN_BUDGET.get(device.type, 8192)):
        logprobs.append(_forward(model, [rows[index] for index in batch], cache, shared))
        order += batch
        advance(len(batch))
    # read back at the end alone: a GPU is given its next batch while it computes the last
    tokens = torch.cat(logprobs).cpu().numpy()
    lengths = [len(ids) for index in order for ids in items[index].continuations]
    sums = np.add.reduceat(tokens, np.cumsum([0, *lengths[:-1]]))
    ends = np.cumsum([len(items[index].continuations) for index in order])
    results = dict(zip(order, np.split(sums, ends[:-1]), strict=True))
    return [results[index] for index in range(len(items))]


def common_prefix(sequences: Sequence[list[int]]) -> int:
    """Length of what all sequences begin with, leaving at least one token of each."""
    first, last = min(sequences), max(sequences)  # all others lie between these two
    limit = min(len(sequence) for sequence in sequences) - 1
    for index in range(limit):
        if first[index] != last[index]:
            return index
    return limit


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Group indices by similar length, longest first; a group has ``budget`` padded tokens."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while order:
        size = max(1, budget // max(1, lengths[order[0]]))
        yield order[:size]
        order = order[size:]


@dataclass(frozen=True)
class _Row:
    """A prompt without the shared prefix, then every continuation without its last token.

    ``segments`` holds 0 for prompt tokens and k for those of continuation k (from 1);
    ``positions`` are relative to the end of the shared prefix. ``predictors[k]`` are the places in
    the row whose output predicts ``targets[k]``, the tokens of continuation k.
    """

    ids: list[int]
    segments: list[int]
    positions: list[int]
    predictors: list[list[int]]
    targets: list[list[int]]

    @classmethod
    def of(cls, item: Item, shared: int) -> "_Row":
        ids = list(item.prompt[shared:])
        end = len(ids)
        segments, positions = [0] * end, list(range(end))
        predictors = []
        for number, continuation in enumerate(item.continuations, start=1):
            start = len(ids)
            inner = continuation[:-1]
            ids += inner
            segments += [number] * len(inner)
            positions += range(end, end + len(inner))
            predictors.append([end - 1, *range(start, start + len(inner))])
        return cls(ids, segments, positions, predictors, item.continuations)


def _forward(
    model: CausalLM, rows: Sequence[_Row], cache: DynamicCache | None, shared: int
) -> torch.Tensor:
    """Log-probability of every target of every continuation of every row, in this order."""
    device = model.device
    longest = max(len(row.ids) for row in rows)

    def padded(lists: list[list[int]], filler: int) -> torch.Tensor:
        # on the right: causal attention never looks there
        return _sent([values + [filler] * (longest - len(values)) for values in lists], device)

    # where in the flattened batch each target is predicted; several at one place: the first tokens
    # of all choices
    predictors = [
        number * longest + place
        for number, row in enumerate(rows)
        for places in row.predictors
        for place in places
    ]
    targets = [target for row in rows for ids in row.targets for target in ids]
    places, inverse = (_sent(x, device) for x in np.unique(predictors, return_inverse=True))
    segments = padded([row.segments for row in rows], -1)
    positions = padded([row.positions for row in rows], 0)
    # choices of one token, such as labels, leave rows without branches: nothing to mask
    branched = any(segment for row in rows for segment in row.segments)
    decoder = model.get_decoder()
    with (
        _last_mlp_at(decoder, places, (len(rows), longest)),
        nullcontext() if branched else _attending_lower_right(model),
    ):
        hidden = decoder(
            input_ids=padded([row.ids for row in rows], 0),
            position_ids=positions + shared,
            attention_mask=_mask(segments, shared, model.dtype) if branched else None,
            past_key_values=_repeated(cache, len(rows)),
            use_cache=cache is not None,
        ).last_hidden_state
    logits = _logits(model, hidden.flatten(0, 1)[places])
    return logits[inverse, _sent(targets, device)] - torch.logsumexp(logits, dim=-1)[inverse]


def _sent(values: Any, device: torch.device) -> torch.Tensor:
    """Copy integers to the device without waiting for what it is computing."""
    return torch.as_tensor(values).to(device, non_blocking=True)


def _lower_right(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **given: Any
) -> tuple[torch.Tensor, None]:
    """Causal attention, the last query aligned with the last key: a flash kernel, without a mask.

    Tensors are (batch, heads, tokens, width); the cached keys come first.
    """
    bias = causal_lower_right(query.shape[2], key.shape[2])
    output = scaled_dot_product_attention(
        query, key, value, attn_mask=bias, scale=given["scaling"], enable_gqa=True
    )
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register("lower_right", _lower_right)


@contextmanager
def _attending_lower_right(model: CausalLM) -> Iterator[None]:
    before = model.config._attn_implementation
    model.set_attn_implementation("lower_right")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def _last_mlp_at(decoder: Any, places: torch.Tensor, shape: tuple[int, int]) -> Iterator[None]:
    """Run the last block's MLP at these places of the flattened batch, of ``shape``, only.

    Nothing but the output reads it: no later block attends to the other places.
    """

    def gather(module: Any, arguments: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (arguments[0].flatten(0, 1)[None, places],)

    def scatter(module: Any, arguments: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        whole = output.new_zeros(shape[0] * shape[1], output.shape[-1])
        whole[places] = output[0]
        return whole.view(*shape, -1)

    mlp = getattr(decoder.layers[-1], "mlp", None)
    if mlp is None:
        yield
        return
    with mlp.register_forward_pre_hook(gather), mlp.register_forward_hook(scatter):
        yield


def _mask(segments: torch.Tensor, shared: int, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask, (batch, 1, length, shared + length): causal, choices do not see choices."""
    count, length = segments.shape
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    keys, queries = segments[:, None, :], segments[:, :, None]
    visible = causal & ((keys == 0) | (keys == queries))
    prefix = torch.ones(count, length, shared, dtype=torch.bool, device=segments.device)
    visible = torch.cat([prefix, visible], dim=2)
    mask = torch.zeros(visible.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]


def _repeated(cache: DynamicCache | None, count: int) -> DynamicCache | None:
    """View a cache of one row as one of ``count`` rows, without copying it."""
    if cache is None:
        return None
    repeated = DynamicCache()
    for number, layer in enumerate(cache.layers):
        repeated.update(
            layer.keys.expand(count, -1, -1, -1), layer.values.expand(count, -1, -1, -1), number
        )
    return repeated


def _logits(model: CausalLM, hidden: torch.Tensor) -> torch.Tensor:
    """Apply the output matrix (and Gemma's soft cap), in float32 from there on."""
    logits = model.get_output_embeddings()(hidden).float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


@torch.inference_mode()
def plain_logprobs(model: CausalLM, items: Sequence[Item]) -> list[np.ndarray]:
    """Compute what ``continuation_logprobs`` computes the plain way: one sequence at a time.

    The reference of the tests and the baseline of the benchmarks.
    """
    results = []
    for item in items:
        sums = []
        for continuation in item.continuations:
            ids = torch.tensor([[*item.prompt, *continuation]], device=model.device)
            logits = model(input_ids=ids).logits[0, len(item.prompt) - 1 : -1].float()
            target = torch.tensor(continuation, device=model.device)
            sums.append(-cross_entropy(logits, target, reduction="sum").item())
        results.append(np.array(sums, dtype=np.float32))
    return results
