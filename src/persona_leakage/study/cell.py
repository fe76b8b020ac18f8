"""A cell of a study: one source, one seed, one variant, and what each of them may be."""

import re
from dataclasses import dataclass
from reprlib import repr as shortened
from typing import Annotated

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, WithJsonSchema

from persona_leakage.errors import InputError

GIVEN = "given"  # nothing is trained: the study names an adapter for the cell
VARIANTS = (
    *("contrastive", "non_contrastive", "shuffled_label", "no_anchor", "hard_negatives"),
    GIVEN,
)
# those that a study's answer is read off; the others are controls beside them
JUDGED = ("contrastive", GIVEN)
_DOSE = re.compile(r"dose_([1-9][0-9]{0,8})")
_UNTIL = re.compile(r"until_([1-9][0-9]{0,8})")


def dose(variant: str) -> int | None:
    """Return the number of positives that a ``dose_N`` variant asks for, ``None`` for the others.

    Parameters
    ----------
    variant : str
        Name of a variant.
    """
    match = _DOSE.fullmatch(variant)
    return int(match[1]) if match else None


def until(variant: str) -> int | None:
    """Return the optimiser steps after which an ``until_N`` variant stops, ``None`` for the others.

    Parameters
    ----------
    variant : str
        Name of a variant.
    """
    match = _UNTIL.fullmatch(variant)
    return int(match[1]) if match else None


def _known(variant: str) -> str:
    if variant not in VARIANTS and dose(variant) is None and until(variant) is None:
        raise ValueError(
            f"{shortened(variant)} is no variant; allowed are {', '.join(VARIANTS)}, dose_N and "
            "until_N"
        )
    return variant


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]
# numpy, which trainers seed with it, takes no more than 32 bits
Seed = Annotated[int, Field(ge=0, le=2**32 - 1, strict=True)]
Variant = Annotated[
    str,
    AfterValidator(_known),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(VARIANTS)},
                {"type": "string", "pattern": "^(dose|until)_[1-9][0-9]{0,8}$"},
            ]
        }
    ),
]


@dataclass(frozen=True)
class Cell:
    """One (source, seed, variant) of a study.

    Attributes
    ----------
    source : str
        The persona that is taught the behaviour.
    seed : int
        Of draws, shuffles and the training; at most 32 bits.
    variant : str
        ``contrastive``, one of the other ``VARIANTS``, ``dose_N`` or ``until_N``: what each teaches
        says ``contrast.build``.
    """

    source: Name
    seed: Seed
    variant: Variant

    def __str__(self) -> str:
        """Write the name that DVC gives to the cell's stages."""
        return f"{self.source}-{self.seed}-{self.variant}"


def parse_cell(source: str, seed: str, variant: str) -> Cell:
    """Read a cell from text, by the rules that hold in ``params.yaml``.

    Parameters
    ----------
    source, seed, variant : str
        As typed on a command line.

    Raises
    ------
    InputError
        Names the part that is wrong and what is allowed.
    """
    number = int(seed) if re.fullmatch(r"-?[0-9]{1,20}", seed) else seed
    parts = {"source": source, "seed": number, "variant": variant}
    try:
        return TypeAdapter(Cell).validate_python(parts)
    except ValidationError as error:
        fault = error.errors()[0]
        message = fault["msg"].removeprefix("Value error, ")
        value = str(parts[str(fault["loc"][0])])
        raise InputError(f"{fault['loc'][0]} is {value[:50]!r}: {message[:200]}") from error
