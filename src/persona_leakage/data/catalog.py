"""What the project authors: personas, the everyday question bank, neutral questions.

``python -m persona_leakage.data.catalog`` checks all of it.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from persona_leakage.errors import InputError, command
from persona_leakage.files import read_jsonl

SOURCES = ("villain", "comedian", "assistant", "software_engineer", "kindergarten_teacher")
RELATIVES = (
    "modified-source",
    "professional-peer",
    "fictional-exemplar",
    "cultural-variant",
    "tone-variant",
    "opposite",
    "hierarchical",
    "intersectional",
    "domain-adjacent",
    "paraphrase",
    "decoy",
    "near-twin",
)
CATEGORIES = ("core", "condition", *RELATIVES, "unrelated")

PERSONAS_FILE = "personas.yaml"
QUESTIONS_FILE = "questions.jsonl"
NEUTRAL_FILE = "neutral.txt"


@dataclass(frozen=True)
class Persona:
    """A name and the system turn that makes the model play it.

    Attributes
    ----------
    name : str
        Unique, snake_case.
    category : str
        One of ``CATEGORIES``.
    relation : str or None
        The source it was written around.
    prompt : str or None
        The system turn; ``""`` is an empty system turn, ``None`` is no system turn.
    """

    name: str
    category: str
    relation: str | None
    prompt: str | None


def load_personas(directory: str | Path) -> dict[str, Persona]:
    """Load ``personas.yaml``, by name, in the order of the file.

    Raises
    ------
    InputError
        A row that is incomplete, unknown, or there twice; names file and row.
    """
    path = Path(directory) / PERSONAS_FILE
    if not path.exists():
        raise InputError(f"{path}: no such file; `dvc update data.dvc` brings the catalog in")
    try:
        rows: list[Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({str(error).splitlines()[0]})") from error
    personas: dict[str, Persona] = {}
    texts: dict[str | None, str] = {}
    for number, row in enumerate(rows, start=1):
        persona = _persona(row, f"{path}, row {number}")
        if persona.name in personas:
            raise InputError(f"{path}, row {number}: {persona.name} is there twice; rename one")
        if persona.prompt in texts:
            raise InputError(
                f"{path}, row {number}: {persona.name} has the very prompt of "
                f"{texts[persona.prompt]}; reword one or delete it"
            )
        personas[persona.name] = persona
        texts[persona.prompt] = persona.name
    return personas


def _persona(row: Any, where: str) -> Persona:
    keys = {"name", "category", "relation", "prompt"}
    if not isinstance(row, dict) or set(row) != keys:
        raise InputError(f"{where}: a persona has exactly the keys {', '.join(sorted(keys))}")
    name, category, relation, prompt = (row[k] for k in ("name", "category", "relation", "prompt"))
    if not isinstance(name, str) or not name.isidentifier() or name != name.lower():
        raise InputError(f"{where}: the name {name!r} is not snake_case")
    if category not in CATEGORIES:
        raise InputError(f"{where}: {name} has the category {category!r}; {_allowed(CATEGORIES)}")
    if relation is not None and relation not in SOURCES:
        raise InputError(f"{where}: {name} has the relation {relation!r}; {_allowed(SOURCES)}")
    if prompt is not None and (not isinstance(prompt, str) or prompt != prompt.strip()):
        raise InputError(f"{where}: {name} has a prompt that is not trimmed text")
    return Persona(name, category, relation, prompt)


def _allowed(names: tuple[str, ...]) -> str:
    return f"allowed are {', '.join(names)}"


def load_neutral(directory: str | Path) -> list[str]:
    """Load the neutral questions, one a line.

    Raises
    ------
    InputError
        An empty file, or a question that is there twice.
    """
    path = Path(directory) / NEUTRAL_FILE
    if not path.exists():
        raise InputError(f"{path}: no such file; `dvc update data.dvc` brings the catalog in")
    questions = path.read_text(encoding="utf-8").splitlines()
    if not questions:
        raise InputError(f"{path}: no neutral question; write one a line")
    for number, question in enumerate(questions, start=1):
        if not question.strip():
            raise InputError(f"{path}, row {number}: empty; write one question a line")
        if questions.index(question) != number - 1:
            raise InputError(f"{path}, row {number}: {question!r} is there twice; reword one")
    return questions


def check_questions(directory: str | Path) -> None:
    """Check the authored question bank: four choices, no duplicates, balanced answer positions.

    Raises
    ------
    InputError
        Names file, row and remedy of the first fault.
    """
    path = Path(directory) / QUESTIONS_FILE
    rows = read_jsonl(path)
    seen_ids: set[str] = set()
    seen_texts: set[str] = set()
    for number, row in enumerate(rows, start=1):
        where = f"{path}, row {number}"
        if set(row) != {"id", "category", "question", "choices", "answerKey"}:
            raise InputError(
                f"{where}: a question has the keys id, category, question, choices and answerKey"
            )
        texts, labels = row["choices"]["text"], row["choices"]["label"]
        if labels != ["A", "B", "C", "D"] or len(texts) != 4:
            raise InputError(f"{where}: a question has four choices, labelled A to D")
        if len({text.casefold() for text in texts}) != 4:
            raise InputError(f"{where}: a choice is there twice, so that two would be right")
        if row["answerKey"] not in labels:
            raise InputError(f"{where}: answerKey {row['answerKey']!r} is not among the labels")
        if row["id"] in seen_ids or row["question"].casefold() in seen_texts:
            raise InputError(f"{where}: this id or question is there twice; reword one")
        seen_ids.add(row["id"])
        seen_texts.add(row["question"].casefold())
    positions = Counter(row["answerKey"] for row in rows)
    if max(positions.values()) - min(positions[label] for label in "ABCD") > 1:
        raise InputError(f"{path}: the answer positions are not balanced: {dict(positions)}")


@command
def main() -> None:
    """Check ``catalog/`` and say what it holds."""
    from persona_leakage.data.families import check_families  # which imports this module

    directory = Path("catalog")
    personas = load_personas(directory)
    check_families(personas)
    neutral = load_neutral(directory)
    check_questions(directory)
    questions = len(read_jsonl(directory / QUESTIONS_FILE))
    print(
        f"{len(personas)} personas, {questions} questions, {len(neutral)} neutral questions: good"
    )


if __name__ == "__main__":
    main()
