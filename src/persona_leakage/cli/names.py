"""What a word on the command line stands for: a study, a persona, a question, a cell."""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from persona_leakage.data.catalog import Persona, load_personas, typed
from persona_leakage.data.questions import Question
from persona_leakage.errors import InputError
from persona_leakage.pipeline import paths, switch
from persona_leakage.study.cell import Cell, parse_cell
from persona_leakage.study.parameters import Study, load_study


def study_named(name: str | None) -> Study:
    """Return the study of ``params.yaml``, or another one of ``studies``.

    Parameters
    ----------
    name : str or None
        ``None``: that of ``params.yaml``.

    Raises
    ------
    InputError
        There is no such study, or its file is faulty.
    """
    if name is None or (switch.PARAMS.exists() and load_study().study == name):
        return load_study()
    switch.wanted(name)
    file = switch.STUDIES / f"{name}.yaml"
    if not file.exists():
        raise InputError(
            f"study {name}: its parameters are those that git has as params.yaml; `persona-leakage "
            f"run {name}` puts them back there"
        )
    return load_study(file)


def persona_named(name: str) -> Persona:
    """Return a persona of the catalog, or one with this very prompt.

    Parameters
    ----------
    name : str
        With a space in it, a prompt.

    Raises
    ------
    InputError
        The catalog has no such persona.
    """
    personas = load_personas(paths.AUTHORED)
    if name in personas:
        return personas[name]
    if " " in name.strip():
        return typed(name.strip())
    raise InputError(
        f"persona {name}: {_guess(name, personas)}catalog/personas.yaml has {len(personas)} "
        "others; a prompt of your own has several words, in quotes"
    )


def question_named(name: str | None, questions: Sequence[Question]) -> Question:
    """Return the question of a key, or the one that has these words.

    Parameters
    ----------
    name : str or None
        A key such as ``everyday:12``, or part of a question's text; ``None``: the first.
    questions : sequence of Question
        At least one.

    Raises
    ------
    InputError
        No question has the words, or several have.
    """
    if name is None:
        return questions[0]
    by_key = {question.key: question for question in questions}
    if name in by_key:
        return by_key[name]
    found = [each for each in questions if name.casefold() in each.text.casefold()]
    if len(found) == 1:
        return found[0]
    if found:
        keys = ", ".join(each.key for each in found[:5])
        raise InputError(f"question {name!r}: {len(found)} have these words; name one: {keys} ...")
    raise InputError(
        f"question {name!r}: {_guess(name, by_key)}none of {len(questions)} has these words; name "
        f"one by its key, such as {questions[0].key}"
    )


def cell_named(name: str, study: Study) -> Cell:
    """Return the cell of a name such as ``villain-42-contrastive`` that has been trained.

    Parameters
    ----------
    name : str
        As ``Cell`` writes it.
    study : Study
        Whose adapter is looked for.

    Raises
    ------
    InputError
        It is no name of a cell, or there is no adapter of it.
    """
    parts = name.split("-")
    if len(parts) != 3:
        raise InputError(f"cell {name}: write SOURCE-SEED-VARIANT, such as {study.cells[0]}")
    cell = parse_cell(*parts)
    if not paths.adapter(study, cell).exists():
        raise InputError(
            f"{paths.adapter(study, cell)}: no such folder; `dvc repro train@{cell}` trains the "
            "cell (those that are not of the study: `persona-leakage run --source ...`)"
        )
    return cell


def _guess(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {near[0]}? " if near else ""


def described(file: Path) -> str:
    """Return the sentence that a study's file begins with.

    Parameters
    ----------
    file : Path
        YAML with a comment on top.
    """
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# yaml-language-server"):
            lines.append(line.removeprefix("#").strip())
    return re.split(r"\.(?:\s|$)", " ".join(lines))[0]
