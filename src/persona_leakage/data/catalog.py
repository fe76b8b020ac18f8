"""What the project authors: personas, the everyday question bank, neutral questions.

``python -m persona_leakage.data.catalog`` checks all of it.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import yaml

from persona_leakage.data.benchmarks import load_benchmark
from persona_leakage.data.questions import alike_choices
from persona_leakage.errors import InputError, command
from persona_leakage.files import parse_yaml, read_jsonl, read_lines

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
TYPED = "(typed in)"  # the name of a prompt that is in no catalog
IMBALANCE = 0.05  # of the question bank


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
        The persona it was written around, most often one of ``SOURCES``.
    prompt : str or None
        The system turn; ``""`` is an empty system turn, ``None`` is no system turn.
    """

    name: str
    category: str
    relation: str | None
    prompt: str | None


def typed(prompt: str, name: str = TYPED) -> Persona:
    """Take a system turn that somebody typed in for a persona, related to nobody.

    Parameters
    ----------
    prompt : str
        The system turn.
    name : str
        What it is called.
    """
    return Persona(name, "unrelated", None, prompt)


def load_personas(directory: str | Path) -> dict[str, Persona]:
    """Load ``personas.yaml``, by name, in the order of the file.

    Parameters
    ----------
    directory : str or Path
        The catalog's folder.

    Raises
    ------
    InputError
        A row that is incomplete, unknown, or there twice; names file and line.
    """
    path = Path(directory) / PERSONAS_FILE
    if not path.exists():
        raise InputError(f"{path}: no such file; `dvc update data.dvc` brings the catalog in")
    personas: dict[str, Persona] = {}
    texts: dict[str | None, str] = {}
    lines: dict[str, int] = {}
    for line, row in _rows(path):
        where = f"{path}, line {line}"
        persona = _persona(row, where)
        if persona.name in personas:
            raise InputError(f"{where}: {persona.name} is there twice; rename one")
        if persona.prompt in texts:
            raise InputError(
                f"{where}: {persona.name} has the very prompt of "
                f"{texts[persona.prompt]}; reword one or delete it"
            )
        personas[persona.name] = persona
        texts[persona.prompt] = persona.name
        lines[persona.name] = line
    for persona in personas.values():
        if persona.relation is not None and persona.relation not in personas:
            raise InputError(
                f"{path}, line {lines[persona.name]}: {persona.name} has the relation "
                f"{shortened(persona.relation)}, which is no persona of the catalog; name the one "
                "it was written around, or null"
            )
    return personas


def _rows(path: Path) -> list[tuple[int, Any]]:
    """Items of a YAML list, each with the number of its first line."""
    text = "\n".join(read_lines(path))
    if broken := next((letter for letter in text if letter in "\x85\u2028\u2029"), None):
        line = text[: text.index(broken)].count("\n") + 1
        escape = broken.encode("unicode_escape").decode()
        raise InputError(
            f"{path}, line {line}: U+{ord(broken):04X} ends a line in YAML; "
            f"write {escape} in a text in double quotes"
        )
    rows, root = parse_yaml(text, path)
    if not isinstance(root, yaml.SequenceNode):
        raise InputError(f"{path}: not a list of personas; write one per line, after a dash")
    return [(node.start_mark.line + 1, row) for node, row in zip(root.value, rows, strict=True)]


def _persona(row: Any, where: str) -> Persona:
    keys = {"name", "category", "relation", "prompt"}
    if not isinstance(row, dict) or set(row) != keys:
        raise InputError(f"{where}: a persona has exactly the keys {', '.join(sorted(keys))}")
    name, category, relation, prompt = (row[k] for k in ("name", "category", "relation", "prompt"))
    if not isinstance(name, str) or not name.isidentifier() or name != name.lower():
        raise InputError(f"{where}: the name {shortened(name)} is not snake_case")
    if category not in CATEGORIES:
        allowed = ", ".join(CATEGORIES)
        raise InputError(
            f"{where}: {name} has the category {shortened(category)}; allowed are {allowed}"
        )
    if relation is not None and not isinstance(relation, str):
        raise InputError(f"{where}: {name} has a relation that is no name; write one, or null")
    if prompt is not None and (not isinstance(prompt, str) or prompt != prompt.strip()):
        raise InputError(f"{where}: {name} has a prompt that is not trimmed text")
    return Persona(name, category, relation, prompt)


def load_neutral(directory: str | Path) -> list[str]:
    """Load the neutral questions, one per line.

    Parameters
    ----------
    directory : str or Path
        The catalog's folder.

    Raises
    ------
    InputError
        An empty file, or a question that is there twice.
    """
    path = Path(directory) / NEUTRAL_FILE
    if not path.exists():
        raise InputError(f"{path}: no such file; `dvc update data.dvc` brings the catalog in")
    questions = read_lines(path)
    if not questions:
        raise InputError(f"{path}: no neutral question; write one per line")
    for number, question in enumerate(questions, start=1):
        if not question.strip():
            raise InputError(f"{path}, row {number}: empty; write one question per line")
        if questions.index(question) != number - 1:
            raise InputError(f"{path}, row {number}: {question!r} is there twice; reword one")
    return questions


def check_questions(directory: str | Path) -> None:
    """Check the authored question bank: four choices, no duplicates, balanced answer positions.

    A model that prefers a position must not look able or damaged for it. A few questions more of
    one letter do no harm: the most and the least frequent may differ by ``IMBALANCE`` of all.

    Parameters
    ----------
    directory : str or Path
        Holds ``questions.jsonl``.

    Raises
    ------
    InputError
        Names file, row and remedy of the first fault.
    """
    path = Path(directory) / QUESTIONS_FILE
    keys = {"id", "category", "question", "choices", "answerKey"}
    for number, row in enumerate(read_jsonl(path), start=1):
        if set(row) != keys:
            raise InputError(
                f"{path}, row {number}: a question has exactly the keys {', '.join(sorted(keys))}"
            )
    questions = load_benchmark("everyday", {"everyday": str(path)})
    alike = {record["question"] for record in alike_choices(questions)}  # but for case or form
    seen_ids: set[str] = set()
    seen_texts: set[str] = set()
    for number, question in enumerate(questions, start=1):
        where = f"{path}, row {number}"
        if question.labels != ("A", "B", "C", "D"):
            raise InputError(f"{where}: a question has four choices, labelled A to D")
        if question.key in alike:
            raise InputError(f"{where}: two choices differ in case or form alone; reword one")
        if question.id in seen_ids or question.text.casefold() in seen_texts:
            raise InputError(f"{where}: this id or question is there twice; reword one")
        seen_ids.add(question.id)
        seen_texts.add(question.text.casefold())
    counts = Counter(question.labels[question.answer] for question in questions)
    most, least = max("ABCD", key=lambda x: counts[x]), min("ABCD", key=lambda x: counts[x])
    spare = max(1, int(IMBALANCE * len(questions)))
    if counts[most] - counts[least] > spare:
        raise InputError(
            f"{path}: the right answer stands at {most} in {counts[most]} questions, at {least} in "
            f"{counts[least]}; reorder the choices of a question so that {least} is right instead "
            f"of {most}, until they differ by {spare} at most"
        )


def check_catalog(directory: str | Path) -> str:
    """Check all of a catalog, and say what it holds.

    Parameters
    ----------
    directory : str or Path
        The catalog's folder.

    Raises
    ------
    InputError
        Names file, row and remedy of the first fault.
    """
    from persona_leakage.data.families import check_families  # which imports this module

    personas = load_personas(directory)
    check_families(personas)
    neutral = load_neutral(directory)
    check_questions(directory)
    questions = len(read_jsonl(Path(directory) / QUESTIONS_FILE))
    return f"{len(personas)} personas, {questions} questions, {len(neutral)} neutral questions"


@command
def main() -> None:
    """Check ``catalog/`` and say what it holds."""
    print(f"{check_catalog('catalog')}: good")


if __name__ == "__main__":
    main()
