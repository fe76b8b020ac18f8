"""Is there enough of the answer to read it? The probability that the labels hold together."""

from collections.abc import Mapping
from typing import Any

LEAST_MASS = 0.5  # of the probability; an answer read off less is the lesser part of what is said
WHOSE = {
    "mass_before": "before training",
    "mass_after": "after training",
    "source_mass_after": "with the source after training",
}


def readable_mass(headline: Mapping[Any, Any]) -> str | None:
    """Say why a cell's outcome is read off too little, if it is.

    Parameters
    ----------
    headline : mapping of float
        Of ``analysis.persona_table.headline``: the mean label mass before and after, of everyone
        and of the source. What is not a number, where no labels were scored, says nothing.

    Returns
    -------
    str or None
        A clause with the numbers; ``None`` where the labels hold at least ``LEAST_MASS``.
    """
    little = [
        f"{100 * headline[name]:.1f} % {when}"
        for name, when in WHOSE.items()
        if name in headline and headline[name] < LEAST_MASS
    ]
    if not little:
        return None
    return (
        f"the labels hold less than half of the probability ({', '.join(little)}), so that what is "
        "called an answer is the lesser part of what the model would say"
    )
