"""Multiple-choice questions: what one is, which of its choices are right, its file."""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, StrictInt, TypeAdapter, ValidationError

from persona_leakage.errors import InputError
from persona_leakage.files import Record, read_jsonl, write_jsonl


@dataclass(frozen=True)
class Question:
    """A multiple-choice question.

    Attributes
    ----------
    benchmark : str
        Key of ``benchmarks.yaml``.
    row : int
        Position in the benchmark, from 0; (benchmark, row) identifies the question.
    id : str
        The benchmark's own id.
    text : str
        The question itself.
    choices, labels : tuple of str
        Equally long, at least two.
    answer : int
        Index of the right choice.
    wrong : int or None
        Index of the wrong choice to train on; ``None`` for questions that are only evaluated.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    benchmark: str
    row: StrictInt
    id: str
    text: str
    choices: tuple[str, ...]
    labels: tuple[str, ...]
    answer: StrictInt
    wrong: StrictInt | None = None

    @property
    def key(self) -> str:
        """``benchmark:row``, unique in a study."""
        return f"{self.benchmark}:{self.row}"

    @cached_property
    def right(self) -> frozenset[int]:
        """Indices of all choices with the text of the right one: whichever is chosen is right."""
        text = _same(self.choices[self.answer])
        return frozenset(i for i, choice in enumerate(self.choices) if _same(choice) == text)


def _same(text: str) -> str:
    """Reduce a choice to what tells it from another: canonical Unicode, single spaces.

    Case and compatibility forms stay: ``Rr`` is another genotype than ``RR``, ``10²`` is not
    ``102``. ``alike_choices`` lists those that differ in nothing else.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def _similar(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def alike_choices(questions: Iterable[Question]) -> list[Record]:
    """List the choices of a question that are the same text, or the same but for case or form.

    Parameters
    ----------
    questions : iterable of Question
        Of any benchmarks.

    Returns
    -------
    list of dict
        One per group of such choices: ``question`` (key), ``labels``, ``texts``, ``right`` (whether
        the right choice is among them), ``same`` (true: one text, taken for one choice; false:
        they differ in case or in compatibility form (NFKC) alone and remain different choices).
    """
    rows: list[Record] = []
    for question in questions:
        for same, reduce in ((True, _same), (False, _similar)):
            for group in _groups(question.choices, reduce):
                texts = [question.choices[index] for index in group]
                if not same and len({_same(text) for text in texts}) == 1:
                    continue  # listed as the same already
                rows.append(
                    {
                        "question": question.key,
                        "labels": [question.labels[index] for index in group],
                        "texts": texts,
                        "right": question.answer in group,
                        "same": same,
                    }
                )
    return rows


def _groups(choices: Iterable[str], reduce: Callable[[str], str]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for index, choice in enumerate(choices):
        groups.setdefault(reduce(choice), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def check(question: Question, where: str) -> None:
    """Refuse what cannot be asked or scored.

    Parameters
    ----------
    question : Question
        As read or drawn.
    where : str
        File and row, for the message.

    Raises
    ------
    InputError
        Too few choices, labels that do not tell them apart, an answer or a wrong answer outside
        them, an empty text, or no choice that is wrong.
    """
    count, labels = len(question.choices), question.labels
    if count < 2:
        raise InputError(f"{where}: a question has at least two choices, this one has {count}")
    if len(labels) != count:
        raise InputError(f"{where}: {count} choices but {len(labels)} labels; give each one label")
    if len(set(labels)) != count or not all(map(_visible, labels)):
        raise InputError(
            f"{where}: the labels {', '.join(labels)[:80]} do not tell the choices apart; "
            "give each one of its own"
        )
    if not 0 <= question.answer < count:
        raise InputError(f"{where}: the answer {question.answer} is not among the choices")
    if not _visible(question.text) or not all(map(_visible, question.choices)):
        raise InputError(f"{where}: an empty question or choice; fill it in or delete the row")
    if len(question.right) == count:
        raise InputError(
            f"{where}: every choice is {question.choices[0][:80]!r}, so that none is wrong; "
            "correct the row or delete it"
        )
    if question.wrong is not None and (
        not 0 <= question.wrong < count or question.wrong in question.right
    ):
        raise InputError(f"{where}: the wrong answer {question.wrong} is no wrong choice")


def refuse_twins(question: Question, where: str) -> None:
    """Refuse a question that offers one text twice.

    Parameters
    ----------
    question : Question
        As read.
    where : str
        File and row, for the message.

    Raises
    ------
    InputError
        Names the labels of the two.
    """
    for group in _groups(question.choices, _same):
        labels = " and ".join(question.labels[index] for index in group)
        raise InputError(
            f"{where}: the choices {labels[:80]} are the same, "
            f"{question.choices[group[0]][:80]!r}; reword one or delete the row"
        )


def _visible(text: str) -> bool:
    return any(unicodedata.category(letter) not in _INVISIBLE for letter in text)


_INVISIBLE = {"Cc", "Cf", "Zs", "Zl", "Zp"}  # control, format, separators
_QUESTION = TypeAdapter(Question)


def read_questions(path: str | Path) -> list[Question]:
    """Read questions that ``write_questions`` wrote.

    Parameters
    ----------
    path : str or Path
        JSON lines.

    Raises
    ------
    InputError
        The file is missing, or a row is no question; names file, row and remedy.
    """
    questions = []
    for number, row in enumerate(read_jsonl(path), start=1):
        where = f"{path}, row {number}"
        try:
            question = _QUESTION.validate_python(row)
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join(str(part) for part in fault["loc"])
            raise InputError(
                f"{where}: not a question ({key}: {fault['msg']}); run `dvc repro questions` to "
                "write the file anew"
            ) from error
        check(question, where)
        questions.append(question)
    return questions


def write_questions(path: str | Path, questions: Iterable[Question]) -> None:
    """Write one question per line; ``read_questions`` gives back the same, whatever their text.

    Parameters
    ----------
    path : str or Path
        JSON lines.
    questions : iterable of Question
        In the order of the file.
    """
    write_jsonl(path, (asdict(question) for question in questions))
