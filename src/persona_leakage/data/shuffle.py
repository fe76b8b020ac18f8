"""Reproducible random draws: the same key gives the same order on any machine and version."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def shuffled(items: Sequence[Item], *key: object) -> list[Item]:
    """Return ``items`` in a random order that depends on ``key`` and nothing else.

    Each position gets the SHA-256 of the key and its index, and the items are sorted by it; unlike
    the generators of ``random`` and NumPy this is fixed by a standard, not by a library's version.

    Parameters
    ----------
    items : sequence
        In an order that is itself reproducible.
    *key : object
        What the draw is for, for instance ``"split", 42``; told apart by its ``repr``.
    """

    def digest(index: int) -> bytes:
        return hashlib.sha256(repr((*key, index)).encode()).digest()

    return [items[index] for index in sorted(range(len(items)), key=digest)]
