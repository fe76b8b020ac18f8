"""What it would take to tell: personas, questions and seeds for a power of .9."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Needed:
    """Numbers of each, the others as they are, at which the effect observed would be found.

    Attributes
    ----------
    personas, questions, seeds : float
        Infinite where no number of them alone suffices; not a number without an effect.
    """

    personas: float
    questions: float
    seeds: float
