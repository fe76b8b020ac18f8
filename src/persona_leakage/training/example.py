"""A training conversation, as a cell's training set holds it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from persona_leakage.errors import InputError
from persona_leakage.files import MADE_AGAIN, Record, read_jsonl

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


_EXAMPLE = TypeAdapter(Example)


def read_examples(path: str | Path) -> list[Example]:
    """Read a training set.

    Parameters
    ----------
    path : str or Path
        JSON lines of records.

    Raises
    ------
    InputError
        The file is missing or empty, or a row is no example; names the row and the key.
    """
    examples = []
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            examples.append(_EXAMPLE.validate_python(row))
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join(map(str, fault["loc"]))
            raise InputError(
                f"{path}, row {number}: damaged ({key}: {fault['msg']}); {MADE_AGAIN}"
            ) from error
    if not examples:
        raise InputError(f"{path}: damaged (no example); {MADE_AGAIN}")
    return examples
