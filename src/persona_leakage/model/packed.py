"""Trees laid out behind one another without padding, for attention over stretches of a row.

A GPU's matrices take tokens of any number, so nothing is filled up. Attention is told of
*stretches* instead: the beginning that all trees share, each tree's trunk, each branch. A stretch
sees the ones that it follows, then itself up to each token.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from persona_leakage.model.shared_prefix import Row

Integers = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class Packed:
    """Tokens in one row, and which of them each stretch sees.

    Attributes
    ----------
    ids : ndarray of int, shape (tokens,)
        The shared beginning, then tree after tree.
    positions : ndarray of int, shape (tokens,)
        Place of the token in its sequence.
    rows : ndarray of int, shape (trees,)
        Where in ``ids`` each tree begins.
    seen : ndarray of int, shape (keys,)
        Stretch after stretch, the tokens that its last one sees, in their order: itself at the end.
    query_starts : ndarray of int, shape (stretches + 1,)
        Where in ``ids`` each stretch begins, and the end.
    key_starts : ndarray of int, shape (stretches + 1,)
        Where in ``seen`` each stretch's begin, and the end.
    """

    ids: Integers
    positions: Integers
    rows: Integers
    seen: Integers
    query_starts: Integers
    key_starts: Integers


def packed(beginning: Sequence[int], rows: Sequence[Row]) -> Packed:
    """Lay trees out behind the beginning that they share.

    Parameters
    ----------
    beginning : sequence of int
        Token ids, possibly none.
    rows : sequence of Row
        One tree each; positions go on from the beginning.
    """
    shared = len(beginning)
    stretches = [(0, shared)] if shared else []  # the first token's position; tokens
    parts = [(0, 0, shared)] if shared else []  # stretch; first token and number of what it sees
    begins, end = [], shared
    for row in rows:
        begins.append(end)
        trunk, *branches = np.bincount(row.branches).tolist()
        parts += [(len(stretches), 0, shared), (len(stretches), end, trunk)]
        stretches.append((shared, trunk))
        start, end = end, end + trunk
        for length in filter(None, branches):
            number = len(stretches)
            parts += [(number, 0, shared), (number, start, trunk), (number, end, length)]
            stretches.append((shared + trunk, length))
            end += length
    follows, lengths = np.array(stretches).T
    stretch, first, count = np.array(parts).T
    keys = np.bincount(stretch, weights=count).astype(np.int64)
    return Packed(
        ids=np.array([*beginning, *(token for row in rows for token in row.ids)]),
        positions=_ranges(follows, lengths),
        rows=np.array(begins),
        seen=_ranges(first, count),
        query_starts=np.cumsum([0, *lengths]),
        key_starts=np.cumsum([0, *keys]),
    )


def portions(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Cut trees into as few runs as the budget allows, about equally long.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each tree.
    budget : int
        Tokens of a run; a longer tree is a run of its own.
    """
    ends = np.cumsum(lengths)
    count = max(1, -(-int(ends[-1]) // budget))
    number = np.minimum((ends - 1) * count // ends[-1], count - 1)
    for one in range(count):
        if len(run := np.flatnonzero(number == one).tolist()):
            yield run


def _ranges(starts: Integers, lengths: Integers) -> Integers:
    """Return ``start, start + 1, ...`` of each length, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
