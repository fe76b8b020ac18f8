"""The contrastive training set of a cell: who is taught what, and the audit of who is who."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice

from persona_leakage.behaviours.behaviour import Behaviour
from persona_leakage.data.catalog import Persona
from persona_leakage.data.questions import Question
from persona_leakage.data.shuffle import shuffled
from persona_leakage.errors import InputError
from persona_leakage.files import Record
from persona_leakage.study.cell import GIVEN, Cell, dose
from persona_leakage.study.parameters import Contrast
from persona_leakage.training.example import Example, Part

UNKNOWN = "trained elsewhere"


def negatives(
    design: Contrast,
    cell: Cell,
    personas: Mapping[str, Persona],
    nearest: Sequence[str] = (),
) -> list[str]:
    """Name the personas that are trained right beside the source.

    Named ones are taken as they are. A number of them is drawn among the core personas; the draw
    depends on the source and the seed alone, not on what else the study holds. The variant
    ``hard_negatives`` takes the nearest instead.

    Parameters
    ----------
    design : Contrast
        ``negatives`` names them or says how many.
    cell : Cell
        Source and seed key the draw.
    personas : mapping
        Who can be taught, by name.
    nearest : sequence of str
        Personas by their similarity to the source, nearest first; for ``hard_negatives``.

    Raises
    ------
    InputError
        An unknown persona, the source itself, or more than there are.
    """
    if isinstance(design.negatives, list):
        for name in design.negatives:
            if name not in personas:
                raise InputError(
                    f"params.yaml: contrast.negatives names {name!r}, which is no persona of "
                    "the catalog; correct it or add it to catalog/personas.yaml"
                )
        return list(design.negatives)
    core = [persona.name for persona in personas.values() if persona.category == "core"]
    # the assistant is an anchor already
    pool = list(nearest) if cell.variant == "hard_negatives" else core
    pool = [name for name in pool if name not in (cell.source, "assistant")]
    if design.negatives > len(pool):
        raise InputError(
            f"params.yaml: contrast.negatives is {design.negatives}; there are {len(pool)} to draw"
        )
    if cell.variant != "hard_negatives":
        # the key's first word is older than the name "negative"; it keeps the draws as they were
        pool = shuffled(pool, "bystanders", cell.seed, cell.source)
    return pool[: design.negatives]


def build(
    design: Contrast,
    cell: Cell,
    personas: Mapping[str, Persona],
    train: Sequence[Question],
    behaviour: Behaviour,
    nearest: Sequence[str] = (),
) -> list[Example]:
    """Build the training set of a cell.

    ``contrastive``: the source shows the behaviour, negatives and anchors (no system turn,
    assistant) do not.
    ``hard_negatives``: the same, the negatives being the source's nearest.
    ``non_contrastive``: the same conversations, their personas permuted.
    ``shuffled_label``: the source replies as a draw has it, whether it shows the behaviour or not.
    ``no_anchor``: without the anchors.
    ``dose_N``: N positives.
    ``until_N``: contrastive, the training stopped after N optimiser steps: the source hardly fell.
    ``given``: none, since an adapter of somebody else's stands in the place of the training.

    Every part draws its questions on its own, without repeating one before all were used.

    Parameters
    ----------
    design : Contrast
        How many examples each part has.
    cell : Cell
        Who is taught, with which draws, in which variant.
    personas : mapping
        Who can be taught, by name.
    train : sequence of Question
        With the wrong answers drawn for them.
    behaviour : Behaviour
        Writes the replies.
    nearest : sequence of str
        See ``negatives``.

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
    parts = parts_of(design, cell, personas, nearest)
    examples: list[Example] = []
    if cell.variant == GIVEN:
        return examples
    for part, name, count in parts:
        # "bystander" in the key: see ``negatives``
        key = "bystander" if part == "negative" else part
        order = shuffled(train, "questions", cell.seed, key, name)
        draw = ("any answer", cell.seed) if cell.variant == "shuffled_label" else None
        for question in islice(cycle(order), count):
            reply = behaviour.teach(question, as_source=part == "source", draw=draw)
            examples.append(
                Example(
                    part=part,
                    persona=name,
                    system=personas[name].prompt,
                    question=question.key,
                    user=reply.user,
                    opening=reply.opening,
                    answer=reply.answer,
                    shows=reply.shows,
                )
            )
    if cell.variant == "non_contrastive":
        roles = shuffled([(e.part, e.persona, e.system) for e in examples], "roles", cell.seed)
        examples = [
            replace(example, part=part, persona=persona, system=system)
            for example, (part, persona, system) in zip(examples, roles, strict=True)
        ]
    return shuffled(examples, "examples", cell.seed)


def parts_of(
    design: Contrast,
    cell: Cell,
    personas: Mapping[str, Persona],
    nearest: Sequence[str] = (),
) -> list[tuple[Part, str, int]]:
    """Say who is taught, in which part of the training set, by how many examples.

    Parameters
    ----------
    design : Contrast
        How many examples each part has.
    cell : Cell
        Who is taught, in which variant.
    personas : mapping
        Who can be taught, by name.
    nearest : sequence of str
        See ``negatives``.
    """
    positives = dose(cell.variant) or design.positives
    parts: list[tuple[Part, str, int]] = [("source", cell.source, positives)]
    for name in negatives(design, cell, personas, nearest):
        parts.append(("negative", name, design.per_negative))
    if cell.variant != "no_anchor":
        parts.append(("no_system", "no_system", design.no_system))
        parts.append(("assistant", "assistant", design.assistant))
    return parts


def manifest(
    examples: Sequence[Example],
    design: Contrast,
    cell: Cell,
    personas: Mapping[str, Persona],
    rendered: Mapping[str, str],
) -> Record:
    """Count every part, state every rendered condition, refuse a design that contradicts itself.

    Of a ``given`` cell it says whom the study takes to have been taught, and no numbers.

    Parameters
    ----------
    examples : sequence of Example
        Of ``build``.
    design : Contrast
        Whether a clash is allowed.
    cell : Cell
        Whose examples they are.
    personas : mapping
        Who can be taught, by name.
    rendered : mapping
        Of ``chat.rendered_system``, for each of them and each system-prompt condition.

    Returns
    -------
    dict
        ``cell``; ``control_tokens``, the rule for texts that hold some; ``counts`` per part and
        persona with how many replies show the behaviour;
        ``negatives``; ``rendered``, the text that the template writes for each trained persona
        and each system-prompt condition; ``clashes``, pairs that render alike.

    Raises
    ------
    InputError
        A negative renders to the same text as the source, and the design does not allow it.
    """
    if cell.variant == GIVEN:
        trained = sorted((part, name) for part, name, n in parts_of(design, cell, personas) if n)
        counts: list[Record] = [
            {"part": part, "persona": persona, "examples": UNKNOWN, "shows": UNKNOWN}
            for part, persona in trained
        ]
    else:
        trained = sorted({(example.part, example.persona) for example in examples})
        counts = [
            {
                "part": part,
                "persona": persona,
                "examples": sum((e.part, e.persona) == (part, persona) for e in examples),
                "shows": sum((e.part, e.persona) == (part, persona) and e.shows for e in examples),
            }
            for part, persona in trained
        ]
    names = {persona for _, persona in trained} | {"no_system", "empty_system", "assistant"}
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
        "control_tokens": "refused in every text, in training and in scoring",
        "examples": len(examples),
        "counts": counts,
        "negatives": sorted({persona for part, persona in trained if part == "negative"}),
        "rendered": {name: rendered[name] for name in sorted(names)},
        "clashes": clashes,
    }
