"""A model's weights as loaded: all of them there, and nothing else."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from persona_leakage.errors import InputError

SHOWN = 3  # names in a message: a missing layer is a dozen


def require_every_weight(loading: dict[str, Any], source: str | Path) -> None:
    """Refuse weights that do not fill the model: what is missing would be random numbers.

    Tied matrices are one weight, it may be there once.

    Parameters
    ----------
    loading : dict
        What ``from_pretrained(..., output_loading_info=True, ignore_mismatched_sizes=True)`` says;
        without the second it raises at a wrong shape, and names nothing.
    source : str or Path
        Where the weights lie, for the message.

    Raises
    ------
    InputError
        Weights are missing, surplus or of another shape; names them.
    """
    keys = {
        "has no": loading["missing_keys"],
        "has, and the model has not,": loading["unexpected_keys"],
        "has in another shape": {key for key, *_ in loading["mismatched_keys"]},
    }
    faults = [f"{fault} {listed(sorted(names))}" for fault, names in keys.items() if names]
    if faults:
        raise InputError(
            f"model: {source} {', and '.join(faults)}; "
            "config.json and the weights must be of one model, fetch both again"
        )


def listed(names: Iterable[str]) -> str:
    """Write the first names and how many more there are.

    Parameters
    ----------
    names : iterable of str
        In the order in which they are shown.
    """
    names = list(names)
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
