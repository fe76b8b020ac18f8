"""Progress bars with rate and time left, on standard error; silent where nobody watches."""

from typing import Any

from tqdm import tqdm


def bar(what: str, total: int, unit: str, done: int = 0) -> "tqdm[Any]":
    """Open a progress bar; it hides itself when standard error is no terminal.

    Parameters
    ----------
    what : str
        Stands before the bar.
    total : int
        Units of a full bar.
    unit : str
        In the plural: ``questions``.
    done : int
        Units that an earlier process has done: they say nothing about the rate.
    """
    return tqdm(
        desc=what, total=total, initial=done, unit=f" {unit}", disable=None, dynamic_ncols=True
    )
