"""Rows of tokens that share beginnings: what sequences have in common is computed once.

Sequences that begin alike are laid out as a *tree*: their trunk, then each one's branch behind it.
A token sees the trunk and its own branch before it, and keeps the position that it has in its
sequence; so every output is the one of the sequence alone. Several trees may lie in one row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

IGNORED = -100  # the label that carries no loss, as torch's cross entropy has it
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


def padded(lists: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    """Stack lists to (lists, longest), filled on the right, where causal attention never looks.

    Parameters
    ----------
    lists : sequence of sequence of int
        Rows of different lengths.
    filler : int
        What the shorter ones end with.
    """
    longest = max(len(values) for values in lists)
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
    # padding is a tree of its own and sees itself: a softmax over nothing is not a number
    trees = padded([row.trees for row in rows], -1).to(device, non_blocking=True)
    branches = padded([row.branches for row in rows], 0).to(device, non_blocking=True)
    count, length = trees.shape
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    trunk = branches[:, None, :] == 0
    same_branch = branches[:, :, None] == branches[:, None, :]
    seen = causal & (trees[:, :, None] == trees[:, None, :]) & (trunk | same_branch)
    before = torch.ones(count, length, cached, dtype=torch.bool, device=device)
    return torch.cat([before, seen], dim=2)[:, None]


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


def pack(
    examples: Sequence[Example], capacity: int, dtype: torch.dtype | None = None
) -> dict[str, torch.Tensor]:
    """Lay the examples of a batch out in few rows, each shared beginning computed once.

    Parameters
    ----------
    examples : sequence of mapping
        ``input_ids``, ``labels`` (``IGNORED`` where no loss is) and ``shared``, the number of
        tokens that the example may share: those of one persona begin with the system turn.
    capacity : int
        Tokens per row; what shares a beginning stays together even when it is longer, and then
        all rows may be as long.
    dtype : torch.dtype, optional
        Of the mask: see ``additive``. ``None`` leaves it bool.

    Returns
    -------
    dict of Tensor
        ``input_ids``, ``labels``, ``position_ids`` of shape (packed rows, length) and
        ``attention_mask``: see ``visible`` and ``additive``.
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
    visibility = visible(rows, 0, torch.device("cpu"))
    return {
        "input_ids": padded([row.ids for row in rows], 0),
        "labels": padded([[x for _, each in line for x in each] for line in packed], IGNORED),
        "position_ids": padded([row.positions for row in rows], 0),
        "attention_mask": visibility if dtype is None else additive(visibility, dtype),
    }


def apart(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Lay the examples of a batch out in a row each: for models that cannot share a beginning.

    Without a mask, since causal models never look at the padding on the right.

    Parameters
    ----------
    examples : sequence of mapping
        See ``pack``.
    """
    return {
        "input_ids": padded([example["input_ids"] for example in examples], 0),
        "labels": padded([example["labels"] for example in examples], IGNORED),
    }


def completion_logits(model: Any, batch: Mapping[str, torch.Tensor]) -> Any:
    """Run a training batch through a model; form logits where there is a loss, nowhere else.

    Parameters
    ----------
    model : transformers causal language model
        With its weights.
    batch : mapping of str to Tensor
        Of ``pack`` or ``apart``.

    Returns
    -------
    tuple of (Tensor, Tensor, transformers output)
        Logits (targets, vocabulary) in float32, targets (targets,), and the model's output.
    """
    targets = batch["labels"][:, 1:]
    rows, columns = (targets != IGNORED).nonzero(as_tuple=True)
    kept, places = columns.unique(return_inverse=True)
    outputs = model(
        **{name: value for name, value in batch.items() if name != "labels"},
        logits_to_keep=kept,
        use_cache=False,
    )
    return outputs.logits[rows, places].float(), targets[rows, columns], outputs
