"""Conversations as a training reads them: token ids with labels, and how batches are laid out."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from persona_leakage.errors import InputError
from persona_leakage.model import architecture
from persona_leakage.model.architecture import CausalLM
from persona_leakage.model.chat import (
    SystemRole,
    Tokenizer,
    refuse_control_tokens,
    render_completion,
)
from persona_leakage.model.loading import device
from persona_leakage.model.shared_prefix import IGNORED, apart, common_prefix, pack
from persona_leakage.model.tokens import split
from persona_leakage.training.example import Example

Row = dict[str, Any]  # of ``tokenised``

# Tokens of a row at which attention, dense within it, takes a processor as long as all else that it
# does for a token: measured with SmolLM2-135M; with larger models more.
AS_DEAR = 2000
LAYOUTS = 12  # tried for each batch, each of rows that hold a fifth less: milliseconds
# Lengths on a GPU are multiples of this: few shapes to record, and a twentieth of padding.
GPU_MULTIPLE = 128


def tokenised(
    examples: Sequence[Example], tokenizer: Tokenizer, max_length: int, system_role: SystemRole
) -> list[Row]:
    """Turn conversations into rows of ``input_ids``, ``labels`` and ``shared``.

    Labels are the ids of the completion and ``IGNORED`` on the prompt; ``shared`` is the number of
    tokens that all prompts of the example's persona begin with.

    Parameters
    ----------
    examples : sequence of Example
        The training set, in its order.
    tokenizer : transformers tokenizer
        The model's own.
    max_length : int
        Tokens of a conversation.
    system_role : {"template", "merge"}
        See ``chat.render``.

    Raises
    ------
    InputError
        A conversation is longer than ``max_length``, since truncation would cut off its answer; or
        its text holds control tokens.
    """
    rendered = []
    for number, example in enumerate(examples, start=1):
        where = f"contrast.jsonl, row {number}: "
        text = "\n".join([example.user, example.opening, example.answer])
        refuse_control_tokens(tokenizer, text, f"{where}question {example.question}")
        refuse_control_tokens(tokenizer, example.system or "", f"{where}persona {example.persona}")
        rendered.append(
            render_completion(
                tokenizer,
                example.system,
                example.user,
                example.opening,
                example.answer,
                system_role,
            )
        )
    parts = split(tokenizer, *zip(*rendered, strict=True))
    rows = []
    for number, (example, (prompt, completion)) in enumerate(
        zip(examples, parts, strict=True), start=1
    ):
        length = len(prompt) + len(completion)
        if length > max_length:
            raise InputError(
                f"contrast.jsonl, row {number}: question {example.question} makes {length} tokens, "
                f"more than train.max_length {max_length}; raise it or drop the question"
            )
        rows.append(
            {
                "input_ids": prompt + completion,
                "labels": [IGNORED] * len(prompt) + completion,
            }
        )
    prompts: dict[str | None, list[list[int]]] = {}
    for example, row in zip(examples, rows, strict=True):
        prompt = row["input_ids"][: row["labels"].count(IGNORED)]
        prompts.setdefault(example.system, []).append(prompt)
    shared = {system: common_prefix(group) for system, group in prompts.items()}
    return [{**row, "shared": shared[e.system]} for e, row in zip(examples, rows, strict=True)]


def collator(model: CausalLM, longest: int) -> Callable[[Sequence[Row]], dict[str, torch.Tensor]]:
    """Choose how batches are laid out: packed, or apart where the model cannot share beginnings.

    Parameters
    ----------
    model : transformers causal language model, with or without an adapter
        With its weights.
    longest : int
        Tokens of the longest conversation.
    """
    if longest > architecture.sharing_limit(model):
        return apart
    if device().type == "cpu":
        return laid_out
    return partial(pack, capacity=1 << 30, multiple=GPU_MULTIPLE)  # a GPU prefers one long row


def laid_out(examples: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Pack a batch into the rows that cost a processor least: neither much padding nor long ones.

    Parameters
    ----------
    examples : sequence of dict
        See ``shared_prefix.pack``.
    """
    tokens = sum(len(example["input_ids"]) for example in examples)
    layouts = [pack(examples, int(tokens * 0.8**number)) for number in range(LAYOUTS)]
    return min(layouts, key=cost)


def cost(batch: dict[str, torch.Tensor]) -> int:
    """Estimate what a batch costs a processor, padding included, in units of its own.

    Parameters
    ----------
    batch : dict of Tensor
        Of ``shared_prefix.pack``.
    """
    rows, length = batch["input_ids"].shape
    return rows * length * (AS_DEAR + length)
