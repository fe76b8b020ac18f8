"""A training conversation, as a cell's training set holds it."""

from dataclasses import asdict, dataclass
from typing import Literal

from persona_leakage.files import Record

Part = Literal["source", "negative", "no_system", "assistant"]


@dataclass(frozen=True)
class Example:
    """One training conversation.

    Attributes
    ----------
    part : str
        Which part of the design it fills.
    persona : str
        Whose system turn it has.
    system : str or None
        The text of that turn.
    question : str
        Key of the question.
    user, opening, answer : str
        The user's turn, and the assistant's in two parts; only ``answer`` carries loss.
    shows : bool
        Whether the answer shows the behaviour.
    """

    part: Part
    persona: str
    system: str | None
    question: str
    user: str
    opening: str
    answer: str
    shows: bool

    def record(self) -> Record:
        """Plain data for JSON lines."""
        return asdict(self)
