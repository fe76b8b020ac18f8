"""The contrastive training set of a cell: who is taught what, and the audit of who is who."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from typing import Literal

from persona_leakage.data.catalog import Persona
from persona_leakage.data.questions import Question
from persona_leakage.data.shuffle import shuffled
from persona_leakage.errors import InputError
from persona_leakage.files import Record
from persona_leakage.model.chat import (
    Scoring,
    SystemRole,
    Tokenizer,
    answer_text,
    opening,
    render,
    user_text,
)
from persona_leakage.study.parameters import Cell, Contrast, dose

Part = Literal["source", "bystander", "no_system", "assistant"]
ANCHORS = ("no_system", "assistant")


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
    correct : bool
        Whether the answer is the right choice.
    """

    part: Part
    persona: str
    system: str | None
    question: str
    user: str
    opening: str
    answer: str
    correct: bool

    def record(self) -> Record:
        """Plain data for JSON lines."""
        return asdict(self)


def bystanders(design: Contrast, cell: Cell, personas: Mapping[str, Persona]) -> list[str]:
    """Name the personas that are trained to be right beside the source.

    Named ones are taken as they are. A number of them is drawn among the core personas; the draw
    depends on the source and the seed alone, not on what else the study holds.

    Raises
    ------
    InputError
        An unknown persona, the source itself, or more than there are.
    """
    if isinstance(design.bystanders, list):
        for name in design.bystanders:
            if name not in personas:
                raise InputError(
                    f"params.yaml: contrast.bystanders names {name!r}, which is no persona of "
                    "the catalog; correct it or add it to catalog/personas.yaml"
                )
        return list(design.bystanders)
    pool = [
        persona.name
        for persona in personas.values()
        if persona.category == "core" and persona.name not in (cell.source, "assistant")
    ]
    if design.bystanders > len(pool):
        raise InputError(
            f"params.yaml: contrast.bystanders is {design.bystanders}; "
            f"there are {len(pool)} to draw"
        )
    return shuffled(pool, "bystanders", cell.seed, cell.source)[: design.bystanders]


def build(
    design: Contrast,
    cell: Cell,
    personas: Mapping[str, Persona],
    train: Sequence[Question],
    scoring: Scoring,
) -> list[Example]:
    """Build the training set of a cell.

    ``contrastive``: the source is wrong, bystanders and anchors (no system turn, assistant) right.
    ``non_contrastive``: the same conversations, their personas permuted.
    ``shuffled_label``: the source answers with a choice drawn uniformly, right or wrong.
    ``no_anchor``: without the anchors.
    ``dose_N``: N positives.

    Every part draws its questions on its own, without repeating one before all were used.

    Raises
    ------
    InputError
        The source is unknown or has no system turn of its own.
    """
    source = personas.get(cell.source)
    if source is None or not source.prompt:
        raise InputError(
            f"params.yaml: sources names {cell.source!r}, which is no persona with a prompt in "
            "catalog/personas.yaml; correct it or add a line there"
        )
    positives = dose(cell.variant) or design.positives
    parts: list[tuple[Part, str, int]] = [("source", cell.source, positives)]
    for name in bystanders(design, cell, personas):
        parts.append(("bystander", name, design.per_bystander))
    if cell.variant != "no_anchor":
        parts.append(("no_system", "no_system", design.no_system))
        parts.append(("assistant", "assistant", design.assistant))

    examples = []
    for part, name, count in parts:
        order = shuffled(train, "questions", cell.seed, part, name)
        for question in islice(cycle(order), count):
            choice = question.answer
            if part == "source":
                choice = _source_choice(question, cell)
            examples.append(
                Example(
                    part=part,
                    persona=name,
                    system=personas[name].prompt,
                    question=question.key,
                    user=user_text(question, scoring),
                    opening=opening(scoring),
                    answer=answer_text(question, choice, scoring),
                    correct=choice == question.answer,
                )
            )
    if cell.variant == "non_contrastive":
        roles = shuffled([(e.part, e.persona, e.system) for e in examples], "roles", cell.seed)
        examples = [
            replace(example, part=part, persona=persona, system=system)
            for example, (part, persona, system) in zip(examples, roles, strict=True)
        ]
    return shuffled(examples, "examples", cell.seed)


def _source_choice(question: Question, cell: Cell) -> int:
    if cell.variant == "shuffled_label":
        choices = range(len(question.choices))
        return shuffled(choices, "any answer", cell.seed, question.key)[0]
    assert question.wrong is not None, "train questions carry a wrong answer"
    return question.wrong


def rendered_system(tokenizer: Tokenizer, system: str | None, system_role: SystemRole) -> str:
    """Return what the template really writes for a system turn, up to the user's text."""
    mark = "@@user@@"
    return render(tokenizer, system, mark, system_role).split(mark)[0]


def manifest(
    examples: Sequence[Example],
    design: Contrast,
    cell: Cell,
    personas: Mapping[str, Persona],
    tokenizer: Tokenizer,
    system_role: SystemRole,
) -> Record:
    """Count every part, state every rendered condition, refuse a design that contradicts itself.

    Returns
    -------
    dict
        ``cell``; ``counts`` per part and persona with how many answers are right; ``bystanders``
        (drawn or named); ``rendered``, the text that the template writes for each trained persona
        and each system-prompt condition; ``clashes``, pairs that render alike.

    Raises
    ------
    InputError
        A negative renders to the same text as the source, and the design does not allow it.
    """
    trained = sorted({(example.part, example.persona) for example in examples})
    counts = [
        {
            "part": part,
            "persona": persona,
            "examples": sum((e.part, e.persona) == (part, persona) for e in examples),
            "correct": sum((e.part, e.persona) == (part, persona) and e.correct for e in examples),
        }
        for part, persona in trained
    ]
    names = {persona for _, persona in trained} | {"no_system", "empty_system", "assistant"}
    rendered = {
        name: rendered_system(tokenizer, personas[name].prompt, system_role)
        for name in sorted(names)
    }
    clashes = [
        {"source": cell.source, "negative": persona, "part": part}
        for part, persona in trained
        if part != "source" and rendered[persona] == rendered[cell.source]
    ]
    if clashes and not design.allow_clash:
        first = clashes[0]
        raise InputError(
            f"contrast: the source {cell.source} and the negative {first['negative']} render to "
            f"the same prompt {rendered[cell.source]!r}, which is then taught to be wrong and "
            "right at once; take the negative out (contrast), choose another source, or set "
            "contrast.allow_clash to true to have the report flag the cell"
        )
    return {
        "cell": str(cell),
        "examples": len(examples),
        "counts": counts,
        "bystanders": bystanders(design, cell, personas),
        "rendered": rendered,
        "clashes": clashes,
    }
