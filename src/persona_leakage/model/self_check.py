"""Does the fast way give what the model's own forward gives? Asked of each model once, at load.

Sharing beginnings, packing and reading the output matrix in few places rest on how an architecture
is built; new ones come with every release of transformers. A model for which they do not hold is
refused by name before any work is done.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from persona_leakage.errors import InputError
from persona_leakage.model.architecture import CausalLM, context, name, sharing_limit
from persona_leakage.model.chat import Tokenizer
from persona_leakage.model.scoring import Item, continuation_logprobs, plain_logprobs
from persona_leakage.model.shared_prefix import IGNORED, apart, completion_logits, pack
from persona_leakage.model.tokens import tokenize

# Nats per token, root mean square over all tokens of a case. A wrong mask, scale or position is off
# by tenths of a nat at least. In bfloat16 logits around 16 are 0.125 apart, and two orders of the
# same sums differ by about as much.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25}

TEXT = (
    "A lighthouse keeper counts the ships that pass at night and writes each name into a book. In "
    "the morning he reads the names aloud, drinks his tea, and asks the gulls what they have seen. "
    "Nobody answers, but the wind turns a page. "
)
# a window longer than this is not exercised on a processor, where it would take minutes
LONGEST_ON_CPU = 1024


def check_fast_path(model: CausalLM, tokenizer: Tokenizer) -> str:
    """Compare scores and training losses with plain forwards, one sequence at a time.

    Cases: labels and texts as continuations, a prompt longer than the model's shortest window, and
    a training batch with shared beginnings. One or two seconds at 135 million parameters on two
    cores.

    Parameters
    ----------
    model : transformers causal language model
        As ``loading.load_model`` returns it.
    tokenizer : transformers tokenizer
        The model's own.

    Returns
    -------
    str
        A sentence for the manifest: which beginnings the model shares.

    Raises
    ------
    InputError
        Names the model, the case and the difference, in nats per token.
    """
    [words] = tokenize(tokenizer, [TEXT])
    tolerance = TOLERANCE.get(model.dtype, TOLERANCE[torch.bfloat16])
    try:
        differences = {**dict(_scoring(model, words)), "a training batch": _packing(model, words)}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        # an architecture that is built otherwise fails in its own ways
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:150]
        raise InputError(
            f"model: {name(model)} cannot be scored ({reason}); this architecture is not "
            "supported, choose another model"
        ) from error
    for case, difference in differences.items():
        if not difference <= tolerance:  # so that what is no number is refused as well
            raise InputError(
                f"model: {name(model)} gives other values the fast way than one sequence at a time "
                f"({case}: {difference:.3g} nats per token, allowed {tolerance:g}); this "
                "architecture is not supported, choose another model"
            )
    limit = sharing_limit(model)
    if limit == math.inf:
        return "What prompts begin with is computed once."
    if limit:
        return (
            f"What prompts begin with is computed once up to {limit} tokens, the model's window; "
            "longer ones are computed each for itself, which is slower."
        )
    return (
        "What prompts begin with is computed for each anew, which is slower: this architecture "
        "cannot share it."
    )


def _scoring(model: CausalLM, words: list[int]) -> Iterator[tuple[str, float]]:
    third = len(words) // 3
    opening, rest = words[:third], words[third:]
    prompts = [[*opening, *rest[:6]], [*opening, *rest[6:7]]]
    # one token, as labels have: rows without branches
    yield "labels", _difference(model, [Item(prompt, [rest[8:9]]) for prompt in prompts])
    texts = [rest[8:12], rest[12:14]]
    branched = [Item(prompt, texts) for prompt in prompts]
    yield "texts", _difference(model, branched)
    window, longest = sharing_limit(model), context(model.config) or math.inf
    feasible = LONGEST_ON_CPU if model.device.type == "cpu" else math.inf
    if 0 < window < longest - 16 and window <= feasible:
        prompt = (words * (int(window) // len(words) + 2))[: int(window) + 8]
        yield "a long prompt", _difference(model, [Item(prompt, texts[:1]), *branched[:1]])


def _difference(model: CausalLM, items: list[Item]) -> float:
    """Root mean square, over the continuations, of the difference per token."""
    pairs = zip(
        items, continuation_logprobs(model, items), plain_logprobs(model, items), strict=True
    )
    return _root_mean_square(
        [
            (fast - plain) / len(ids)
            for item, *scores in pairs
            for ids, fast, plain in zip(item.continuations, *scores, strict=True)
        ]
    )


@torch.no_grad()
def _packing(model: CausalLM, words: list[int]) -> float:
    """Root mean square, over the targets, of the difference of the losses of a training batch."""
    examples: list[dict[str, Any]] = []
    for start, shared in ((0, 12), (5, 12)):
        for end in (4, 9):
            tokens = [*words[start : start + shared], *words[30 : 30 + end]]
            marked = [IGNORED] * (len(tokens) - 3) + tokens[-3:]
            examples.append({"input_ids": tokens, "labels": marked, "shared": shared})
    plain = []
    for example in examples:
        ids = torch.tensor([example["input_ids"]], device=model.device)
        logits = model(input_ids=ids).logits[0, :-1].float()
        labels = torch.tensor(example["labels"][1:], device=model.device)
        losses = cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED)
        plain += losses[labels != IGNORED].tolist()
    longest = max(len(example["input_ids"]) for example in examples)
    batch = apart(examples) if longest > sharing_limit(model) else pack(examples, 10_000)
    batch = {key: values.to(model.device) for key, values in batch.items()}
    logits, targets, _ = completion_logits(model, batch)
    fast = cross_entropy(logits, targets, reduction="none").tolist()
    # packing keeps each example's own targets together, not the order of the examples
    return _root_mean_square(
        [one - other for one, other in zip(sorted(fast), sorted(plain), strict=True)]
    )


def _root_mean_square(values: list[float]) -> float:
    return math.sqrt(sum(float(value) ** 2 for value in values) / len(values))
