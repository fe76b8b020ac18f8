"""Rows of tokens that share beginnings: what sequences have in common is computed once.

Sequences that begin alike are laid out as a *tree*: their trunk, then each one's branch behind it.
A token sees the trunk and its own branch before it, and keeps the position that it has in its
sequence; so every output is the one of the sequence alone. Several trees may lie in one row.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from persona_leakage.model.kernels import attention_of

IGNORED = -100  # the label that carries no loss, as torch's cross entropy has it
PADDING = -1  # the tree of the tokens that fill a row
Example = Mapping[str, Any]  # input_ids, labels (both lists of int), shared (int)


@dataclass(frozen=True)
class Row:
    """Trees beside one another; lists have one entry per token.

    Attributes
    ----------
    ids : list of int
        Token ids.
    positions : list of int
        Place of the token in its sequence.
    trees : list of int
        Number of the tree, from 0.
    branches : list of int
        Number of the branch in its tree, from 1; 0 is the trunk.
    """

    ids: list[int]
    positions: list[int]
    trees: list[int]
    branches: list[int]

    @property
    def plain(self) -> bool:
        """Whether causal attention is all that the row needs: one tree without branches."""
        return not any(self.branches) and not any(self.trees)


def tree(trunk: Sequence[int], branches: Sequence[Sequence[int]], start: int = 0) -> Row:
    """Lay out sequences that begin alike.

    Parameters
    ----------
    trunk : sequence of int
        The token ids that all begin with.
    branches : sequence of sequence of int
        How each goes on.
    start : int
        Position of the trunk's first token.
    """
    ids, positions, numbers = list(trunk), list(range(start, start + len(trunk))), [0] * len(trunk)
    for number, branch in enumerate(branches, start=1):
        ids += branch
        positions += range(start + len(trunk), start + len(trunk) + len(branch))
        numbers += [number] * len(branch)
    return Row(ids, positions, [0] * len(ids), numbers)


def beside(rows: Sequence[Row]) -> Row:
    """Lay rows out behind one another in one; none of them sees another.

    Parameters
    ----------
    rows : sequence of Row
        Each with one tree.
    """
    return Row(
        [token for row in rows for token in row.ids],
        [position for row in rows for position in row.positions],
        [number for number, row in enumerate(rows) for _ in row.ids],
        [branch for row in rows for branch in row.branches],
    )


def padded(lists: Sequence[Sequence[int]], filler: int, multiple: int = 1) -> torch.Tensor:
    """Stack lists to (lists, longest), filled on the right, where causal attention never looks.

    Parameters
    ----------
    lists : sequence of sequence of int
        Rows of different lengths.
    filler : int
        What the shorter ones end with.
    multiple : int
        The length is made one of its multiples.
    """
    longest = math.ceil(max(len(values) for values in lists) / multiple) * multiple
    return torch.tensor([[*values, *[filler] * (longest - len(values))] for values in lists])


def visible(rows: Sequence[Row], cached: int, device: torch.device) -> torch.Tensor:
    """Say which token sees which: bool, (rows, 1, length, cached + length).

    Parameters
    ----------
    rows : sequence of Row
        Rows of different lengths.
    cached : int
        Number of tokens before each row, which all of its tokens see.
    device : torch.device
        Where it is made.
    """
    trees = padded([row.trees for row in rows], PADDING).to(device, non_blocking=True)
    branches = padded([row.branches for row in rows], 0).to(device, non_blocking=True)
    seen = seen_in(trees, branches)
    before = torch.ones(*trees.shape, cached, dtype=torch.bool, device=device)
    return torch.cat([before[:, None], seen], dim=3)


def seen_in(trees: torch.Tensor, branches: torch.Tensor) -> torch.Tensor:
    """Say which token of a row sees which: bool, (rows, 1, length, length).

    Parameters
    ----------
    trees : Tensor of int, shape (rows, length)
        Number of each token's tree. ``PADDING`` is a tree of its own and sees itself: a softmax
        over nothing is not a number.
    branches : Tensor of int, shape (rows, length)
        Number of its branch there.
    """
    length = trees.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=trees.device).tril()
    trunk = branches[:, None, :] == 0
    same_branch = branches[:, :, None] == branches[:, None, :]
    seen = causal & (trees[:, :, None] == trees[:, None, :]) & (trunk | same_branch)
    return seen[:, None]


def additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Turn ``visible`` into what is added to the attention's logits.

    Parameters
    ----------
    seen : Tensor of bool
        Of ``visible``.
    dtype : torch.dtype
        Of the attention's logits.
    """
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)


def common_prefix(sequences: Sequence[list[int]]) -> int:
    """Length of what all sequences begin with, leaving at least one token of each.

    Parameters
    ----------
    sequences : sequence of list of int
        Token ids; at least one sequence.
    """
    limit = min(len(sequence) for sequence in sequences) - 1
    first, last = min(sequences), max(sequences)  # all others lie between these two
    return min(alike(first, last), limit)


def alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the tokens that two sequences begin with alike.

    Parameters
    ----------
    one, other : sequence of int
        Token ids.
    """
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def pack(examples: Sequence[Example], capacity: int, multiple: int = 1) -> dict[str, torch.Tensor]:
    """Lay the examples of a batch out in few rows, each shared beginning computed once.

    Parameters
    ----------
    examples : sequence of mapping
        ``input_ids``, ``labels`` (``IGNORED`` where no loss is) and ``shared``, the number of
        tokens that the example may share: those of one persona begin with the system turn.
    capacity : int
        Tokens per row; what shares a beginning stays together even when it is longer, and then
        all rows may be as long.
    multiple : int
        Lengths are made multiples of it, so that fewer differ from batch to batch; and the number
        of targets, with some that carry no loss.

    Returns
    -------
    dict of Tensor
        ``input_ids``, ``labels``, ``position_ids``, ``trees`` and ``branches`` (see ``seen_in``) of
        shape (packed rows, length), and what ``predicted`` adds.
    """
    families: dict[tuple[int, ...], list[Example]] = {}
    for example in examples:
        families.setdefault(tuple(example["input_ids"][: example["shared"]]), []).append(example)
    pieces = []
    for trunk, family in families.items():
        row = tree(trunk, [example["input_ids"][len(trunk) :] for example in family])
        labels = [label for example in family for label in example["labels"][len(trunk) :]]
        pieces.append((row, [IGNORED] * len(trunk) + labels))
    # every row is padded to the longest: fill it, where that is longer than the capacity
    capacity = max(capacity, *(len(row.ids) for row, _ in pieces))
    packed: list[list[tuple[Row, list[int]]]] = []
    for piece in sorted(pieces, key=lambda piece: -len(piece[0].ids)):
        size = len(piece[0].ids)
        room = (line for line in packed if sum(len(row.ids) for row, _ in line) + size <= capacity)
        if (line_with_room := next(room, None)) is None:
            packed.append([piece])
        else:
            line_with_room.append(piece)
    rows = [beside([row for row, _ in line]) for line in packed]
    marked = padded([[x for _, each in line for x in each] for line in packed], IGNORED, multiple)
    return {
        "input_ids": padded([row.ids for row in rows], 0, multiple),
        "labels": marked,
        "position_ids": padded([row.positions for row in rows], 0, multiple),
        "trees": padded([row.trees for row in rows], PADDING, multiple),
        "branches": padded([row.branches for row in rows], 0, multiple),
        **predicted(marked, multiple),
    }


def apart(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Lay the examples of a batch out in a row each: for models that cannot share a beginning.

    Without a mask, since causal models never look at the padding on the right.

    Parameters
    ----------
    examples : sequence of mapping
        See ``pack``.
    """
    labels = padded([example["labels"] for example in examples], IGNORED)
    return {
        "input_ids": padded([example["input_ids"] for example in examples], 0),
        "labels": labels,
        **predicted(labels),
    }


def predicted(labels: torch.Tensor, multiple: int = 1) -> dict[str, torch.Tensor]:
    """Say where logits are formed and what they predict.

    It is said before a batch goes to a GPU: to count there what is to be computed means to wait.

    Parameters
    ----------
    labels : Tensor of int, shape (rows, length)
        ``IGNORED`` where there is no loss.
    multiple : int
        The number of targets is filled up to a multiple of it, with ``IGNORED``.

    Returns
    -------
    dict of Tensor
        ``kept``, the columns whose logits are formed in all rows; ``places`` of the targets among
        these (row times number of columns, plus number of the column); ``targets``.
    """
    targets = labels[:, 1:]
    rows, columns = (targets != IGNORED).nonzero(as_tuple=True)
    kept, numbers = columns.unique(return_inverse=True)

    def filled(values: torch.Tensor, filler: int) -> torch.Tensor:
        return torch.nn.functional.pad(values, (0, -len(values) % multiple), value=filler)

    kept = filled(kept, 0)
    return {
        "kept": kept,
        "places": filled(rows * len(kept) + numbers, 0),
        "targets": filled(targets[rows, columns], IGNORED),
    }


def completion_logits(model: Any, batch: Mapping[str, torch.Tensor]) -> Any:
    """Run a training batch through a model; form logits where there is a loss, nowhere else.

    Parameters
    ----------
    model : transformers causal language model
        With its weights.
    batch : mapping of str to Tensor
        Of ``pack`` or ``apart``, on the model's device.

    Returns
    -------
    tuple of (Tensor, Tensor, transformers output)
        Logits (targets, vocabulary) in float32, targets (targets,), and the model's output.
    """
    inputs = {"input_ids": batch["input_ids"]}
    if "trees" in batch:
        seen = seen_in(batch["trees"], batch["branches"])
        # torch's attention takes what is seen as it is; transformers' own adds a mask
        mask = seen if attention_of(model) == "sdpa" else additive(seen, torch.float32)
        inputs |= {"position_ids": batch["position_ids"], "attention_mask": mask}
    outputs = model(**inputs, logits_to_keep=batch["kept"], use_cache=False)
    logits = outputs.logits.flatten(0, 1)[batch["places"]]
    return logits.float(), batch["targets"], outputs
