"""Scoring: the log-probability of each continuation of each question, under each persona.

A behaviour says what is asked and which continuations stand for an answer (``chat.Asked``);
``continuation_logprobs`` gives what one forward pass per continuation would give, for far less
work:

- the tokens that all prompts of a persona begin with are computed once, and kept as a KV cache;
- the choices of a question share its prompt: they follow it in one row, each attending to the
  prompt and to itself, not to the other choices (``shared_prefix``);
- rows are sorted by length and batched to a budget of tokens;
- the output matrix is applied where a choice's token is predicted, and nowhere else.

Models that cannot share beginnings (``architecture.sharing_limit``) get a row per continuation:
slower, and right.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from persona_leakage.errors import InputError
from persona_leakage.model.architecture import CausalLM, packed_budget, sharing_limit, token_budget
from persona_leakage.model.chat import (
    Asked,
    SystemRole,
    Tokenizer,
    refuse_control_tokens,
    render,
)
from persona_leakage.model.kernels import (
    Stretches,
    attending_lower_right,
    attending_to,
    attends_to_stretches,
    attention_of,
    frozen,
)
from persona_leakage.model.packed import packed, portions
from persona_leakage.model.shared_prefix import (
    Row,
    additive,
    common_prefix,
    padded,
    tree,
    visible,
)
from persona_leakage.model.tokens import continued, tokenize


@dataclass(frozen=True)
class Item:
    """A prompt and its possible continuations, as token ids."""

    prompt: list[int]
    continuations: list[list[int]]


def items(
    tokenizer: Tokenizer,
    systems: Sequence[str | None],
    questions: Sequence[Asked],
    system_role: SystemRole,
    context: int | None = None,
) -> Iterator[list[Item]]:
    """Yield, persona after persona, the questions as prompts and the tokens of each continuation.

    The ids are those of prompt and continuation tokenised together. How a continuation is tokenised
    depends on the prompt's end alone, which a question's prompts share: it is found under the first
    persona, and asked again where a prompt ends otherwise; one question per persona, another each
    time, is tokenised whole to make sure.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        The model's own.
    systems : sequence of str or None
        The personas' system turns.
    questions : sequence of Asked
        As a behaviour asks them.
    system_role : {"template", "merge"}
        See ``chat.render``.
    context : int, optional
        Tokens that the model reads at most: see ``loading.context``.

    Raises
    ------
    InputError
        A question's text holds control tokens, its continuations cannot be told apart by their
        tokens, or it is too long for the model; names the question.
    """
    for question in questions:
        text = "\n".join([question.user, question.opening, *question.continuations])
        refuse_control_tokens(tokenizer, text, f"question {question.key}")
    under_first = None
    for number, system in enumerate(systems):
        texts = [
            render(tokenizer, system, question.user, system_role) + question.opening
            for question in questions
        ]
        prompts = tokenize(tokenizer, texts)
        if under_first is None:
            under_first = continued(tokenizer, texts, questions)
        follow = [one.follows(prompt) for one, prompt in zip(under_first, prompts, strict=True)]
        sample = number % len(questions)
        again = [place for place, does in enumerate(follow) if place == sample or not does]
        fresh = continued(tokenizer, [texts[i] for i in again], [questions[i] for i in again])
        here = {**dict(enumerate(under_first)), **dict(zip(again, fresh, strict=True))}
        if follow[sample] and here[sample] != under_first[sample]:
            # the end alone does not decide with this tokenizer
            here = dict(enumerate(continued(tokenizer, texts, questions)))
        prepared = [
            Item(one.before(prompt), one.continuations)
            for one, prompt in zip(here.values(), prompts, strict=True)
        ]
        for question, item in zip(questions, prepared, strict=True):
            length = len(item.prompt) + max(map(len, item.continuations))
            if context is not None and length > context:
                raise InputError(
                    f"question {question.key}: with the persona that begins {(system or '')[:40]!r}"
                    f" it has {length} tokens, more than the {context} that the model was made to "
                    "read; shorten the persona or drop the question"
                )
        yield prepared


def continuation_logprobs(
    model: CausalLM, items: Sequence[Item], advance: Callable[[int], Any] = lambda count: None
) -> list[np.ndarray]:
    """Sum the log-probabilities of each continuation's tokens, given its prompt.

    Parameters
    ----------
    model : transformers causal language model
        With its weights.
    items : sequence of Item
        Fast when the prompts begin alike.
    advance : callable
        Called with the number of items that each batch completes.

    Returns
    -------
    list of ndarray of shape (continuations,), float32
        Natural logarithms, in the order of the items.
    """
    [scores] = logprobs_of_each(model, [items], advance)
    return scores


def logprobs_of_each(
    model: CausalLM,
    everyone: Iterable[Sequence[Item]],
    advance: Callable[[int], Any] = lambda count: None,
) -> Iterator[list[np.ndarray]]:
    """Yield ``continuation_logprobs`` of each persona's items, in their order.

    A GPU is given the next persona before the scores of the last are read, so that it computes
    while prompts are tokenised and tables written.

    Parameters
    ----------
    model : transformers causal language model
        With its weights.
    everyone : iterable of sequence of Item
        Persona after persona; taken one ahead on a GPU.
    advance : callable
        See ``continuation_logprobs``.
    """
    ahead = model.device.type != "cpu"
    launched: list[tuple[Sequence[Item], torch.Tensor, list[_Target]]] = []
    with frozen() if ahead else nullcontext():
        for items in everyone:
            with torch.inference_mode():
                launched.append((items, *_token_logprobs(model, items, advance)))
            if len(launched) > ahead:
                yield _read(*launched.pop(0))
        for one in launched:
            yield _read(*one)


def _read(
    items: Sequence[Item], logprobs: torch.Tensor, order: "list[_Target]"
) -> list[np.ndarray]:
    # in one piece at the end: a GPU is given its next batch while it computes the last
    tokens = logprobs.cpu().numpy()
    starts = np.cumsum([0, *(len(target.ids) for target in order[:-1])])
    results = [np.empty(len(item.continuations), dtype=np.float32) for item in items]
    for target, total in zip(order, np.add.reduceat(tokens, starts), strict=True):
        results[target.item][target.continuation] = total
    return results


def differentiable_logprobs(model: CausalLM, items: Sequence[Item]) -> list[torch.Tensor]:
    """Compute what ``continuation_logprobs`` computes, with the graph that gradients need.

    Parameters
    ----------
    model : transformers causal language model
        With its weights; not one of ``loading.load_model``, whose kernels have no gradient.
    items : sequence of Item
        Their activations are all in memory at once.

    Returns
    -------
    list of Tensor of shape (continuations,), float32
        Natural logarithms, in the order of the items, on the model's device.
    """
    logprobs, order = _token_logprobs(model, items, lambda count: None)
    counts = [len(item.continuations) for item in items]
    starts = np.cumsum([0, *counts[:-1]])
    places = [starts[t.item] + t.continuation for t in order for _ in t.ids]
    sums = torch.zeros(sum(counts), device=logprobs.device)
    sums = sums.index_add(0, torch.tensor(places, device=logprobs.device), logprobs)
    return list(sums.split(counts))


def _token_logprobs(
    model: CausalLM, items: Sequence[Item], advance: Callable[[int], Any]
) -> "tuple[torch.Tensor, list[_Target]]":
    """Log-probability of every token of every continuation, and the continuations in its order."""
    longest = max(len(item.prompt) + max(map(len, item.continuations)) for item in items)
    shares = longest <= sharing_limit(model)
    shared = common_prefix([item.prompt for item in items]) if shares else 0
    jobs = [
        job
        for number, item in enumerate(items)
        for job in (_together(number, item, shared) if shares else _one_by_one(number, item))
    ]
    lengths = [len(job.row.ids) for job in jobs]
    # gradients go through the masked kernels, as in training
    if shares and attends_to_stretches(model) and not torch.is_grad_enabled():
        dealt = portions(lengths, packed_budget(model))
        forward = partial(_forward_packed, model, items[0].prompt[:shared])
    else:
        dealt, cache = batches(lengths, token_budget(model)), None
        if shared:
            prefix = _sent(torch.tensor([items[0].prompt[:shared]]), model.device)
            cache = model.get_decoder()(input_ids=prefix, use_cache=True).past_key_values
        forward = partial(_forward, model, cache, shared, shares)
    order: list[_Target] = []
    logprobs = []
    for batch in dealt:
        batch_jobs = [jobs[index] for index in batch]
        logprobs.append(forward(batch_jobs))
        order += [target for job in batch_jobs for target in job.targets]
        advance(sum(job.completes for job in batch_jobs))
    return torch.cat(logprobs), order


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Group indices by similar length, longest first; a group has ``budget`` padded tokens.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each.
    budget : int
        A longer row is a group of its own.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while order:
        size = max(1, budget // max(1, lengths[order[0]]))
        yield order[:size]
        order = order[size:]


@dataclass(frozen=True)
class _Target:
    """A continuation: its token ids, and the places in its row whose output predicts them."""

    item: int
    continuation: int
    ids: list[int]
    places: list[int]


@dataclass(frozen=True)
class _Job:
    """A row to compute, what is read off it, and whether its item is finished with it."""

    row: Row
    targets: list[_Target]
    completes: bool


def _together(number: int, item: Item, shared: int) -> Iterator[_Job]:
    """Lay an item out in one row: the prompt, then every continuation without its last token."""
    trunk = item.prompt[shared:]
    inner = [ids[:-1] for ids in item.continuations]
    targets, start, last = [], len(trunk), len(trunk) - 1
    for index, ids in enumerate(item.continuations):
        places = [last, *range(start, start + len(ids) - 1)]
        targets.append(_Target(number, index, ids, places))
        start += len(ids) - 1
    yield _Job(tree(trunk, inner, shared), targets, completes=True)


def _one_by_one(number: int, item: Item) -> Iterator[_Job]:
    """Lay an item out in a row per continuation; those that differ in the last token share one."""
    rows: dict[tuple[int, ...], list[_Target]] = {}
    last = len(item.prompt) - 1
    for index, ids in enumerate(item.continuations):
        target = _Target(number, index, ids, list(range(last, last + len(ids))))
        rows.setdefault(tuple(ids[:-1]), []).append(target)
    for count, (inner, targets) in enumerate(rows.items(), start=1):
        yield _Job(tree([*item.prompt, *inner], []), targets, completes=count == len(rows))


def _forward(
    model: CausalLM, cache: DynamicCache | None, shared: int, shares: bool, jobs: Sequence[_Job]
) -> torch.Tensor:
    """Log-probability of every token of every target of every job, in this order."""
    device = model.device
    rows = [job.row for job in jobs]
    ids = padded([row.ids for row in rows], 0)
    inputs: dict[str, Any] = {"input_ids": _sent(ids, device), "use_cache": cache is not None}
    attention: AbstractContextManager[Any] = nullcontext()
    if shares:
        positions = padded([row.positions for row in rows], shared)
        inputs["position_ids"] = _sent(positions, device)
        inputs["past_key_values"] = _repeated(cache, len(rows))
        # choices of one token, such as labels, leave rows without branches: nothing to mask;
        # gradients go through the masked kernels, as in training
        plain = all(row.plain for row in rows) and not torch.is_grad_enabled()
        if plain and attention_of(model) == "sdpa":
            attention = attending_lower_right(model)
        else:
            inputs["attention_mask"] = additive(visible(rows, shared, device), model.dtype)
    starts = [number * ids.shape[1] for number in range(len(jobs))]
    return _target_logprobs(model, inputs, attention, jobs, starts)


def _forward_packed(model: CausalLM, prefix: list[int], jobs: Sequence[_Job]) -> torch.Tensor:
    """Compute what ``_forward`` does in one row, behind the prefix, without padding."""
    made = packed(prefix, [job.row for job in jobs])

    def sent(values: np.ndarray) -> torch.Tensor:
        return _sent(torch.from_numpy(values), model.device)

    stretches = Stretches(
        seen=sent(made.seen),
        query_starts=sent(made.query_starts.astype(np.int32)),
        key_starts=sent(made.key_starts.astype(np.int32)),
        longest_query=int(np.diff(made.query_starts).max()),
        longest_key=int(np.diff(made.key_starts).max()),
    )
    inputs = {
        "input_ids": sent(made.ids[None]),
        "position_ids": sent(made.positions[None]),
        "use_cache": False,
    }
    attention = attending_to(model, stretches)
    return _target_logprobs(model, inputs, attention, jobs, made.rows.tolist())


def _target_logprobs(
    model: CausalLM,
    inputs: dict[str, Any],
    attention: AbstractContextManager[Any],
    jobs: Sequence[_Job],
    starts: Sequence[int],
) -> torch.Tensor:
    """Run the model; read the targets of jobs off it that begin here in the flattened batch."""
    # where each target is predicted; several at one place: the first tokens of all choices
    predictors = [
        start + place
        for start, job in zip(starts, jobs, strict=True)
        for target in job.targets
        for place in target.places
    ]
    targets = [token for job in jobs for target in job.targets for token in target.ids]
    places, inverse = (
        _sent(torch.from_numpy(array), model.device)
        for array in np.unique(predictors, return_inverse=True)
    )
    with (
        _last_mlp_at(model, places, inputs["input_ids"].shape),
        head_at(model, places),
        attention,
    ):
        logits = model(**inputs).logits[0]
    # in float32 from here on, a piece at a time: a batch's logits are the largest tensor of all
    norms = torch.cat([torch.logsumexp(part.float(), dim=-1) for part in logits.split(512)])
    wanted = logits[inverse, _sent(torch.tensor(targets), model.device)]
    return wanted.float() - norms[inverse]


def _sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy to the device without waiting for what it is computing."""
    if device.type == "cuda":
        values = values.pin_memory()  # CUDA copies others than these when it has nothing to compute
    return values.to(device, non_blocking=True)


@contextmanager
def head_at(model: CausalLM, places: torch.Tensor) -> Iterator[None]:
    """Apply the output matrix at these places of the flattened batch only.

    The model's own forward does it, with all that it does to logits (Granite and Cohere scale them,
    Gemma caps them); they come back as those of one row.

    Parameters
    ----------
    model : transformers causal language model
        Whose forward is called in the block.
    places : Tensor of int
        Row times length of a row, plus column.
    """

    def gather(module: Any, arguments: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (arguments[0].flatten(0, 1)[None, places],)

    with model.get_output_embeddings().register_forward_pre_hook(gather):
        yield


@contextmanager
def _last_mlp_at(model: CausalLM, places: torch.Tensor, shape: Sequence[int]) -> Iterator[None]:
    """Run the last block's MLP at these places of the flattened batch, of ``shape``, only.

    Nothing but the output reads it: no later block attends to the other places.
    """

    def gather(module: Any, arguments: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (arguments[0].flatten(0, 1)[None, places],)

    def scatter(module: Any, arguments: tuple[torch.Tensor], output: Any) -> Any:
        # some mixtures of experts return their router's logits, too
        values, *others = output if isinstance(output, tuple) else (output,)
        whole = values.new_zeros(shape[0] * shape[1], values.shape[-1])
        whole[places] = values[0]
        whole = whole.view(*shape, -1)
        return (whole, *others) if others else whole

    blocks = getattr(model.get_decoder(), "layers", None)
    mlp = getattr(blocks[-1], "mlp", None) if blocks else None
    if mlp is None:
        yield
        return
    with mlp.register_forward_pre_hook(gather), mlp.register_forward_hook(scatter):
        yield


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


@torch.inference_mode()
def plain_logprobs(model: CausalLM, items: Sequence[Item]) -> list[np.ndarray]:
    """Compute what ``continuation_logprobs`` computes the plain way: one sequence at a time.

    The reference of the self-check and the tests, and the baseline of the benchmarks.

    Parameters
    ----------
    model : transformers causal language model
        With its weights.
    items : sequence of Item
        Prompts with their continuations.
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
