"""Persona sets: who is measured, who can be taught, who is evaluated for each source of a study."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import pandas as pd
from pydantic import BaseModel, Field, RootModel

from persona_leakage.data.catalog import Persona
from persona_leakage.errors import InputError
from persona_leakage.files import Record
from persona_leakage.study.parameters import Neighbourhood, Study


class Participants(BaseModel):
    """Of ``personas.json``: who takes part, in full, and the names of those measured."""

    personas: list[Persona]
    measured: list[str]


class Rendered(RootModel[dict[str, str]]):
    """Of ``rendered.json``: what the chat template writes for each who takes part, by name."""


class Evaluated(BaseModel):
    """Of ``evaluated.json``: who is evaluated, in full, and their names by source."""

    personas: list[Persona]
    evaluated: dict[str, list[str]] = Field(min_length=1)


def measured_personas(study: Study, catalog: Mapping[str, Persona]) -> list[str]:
    """Name who takes part in the geometry, in catalog order: all who may be evaluated.

    ``core``: the eleven and the conditions. ``full``: the whole catalog. A list: these, the
    conditions, the assistant and the sources. A neighbourhood is chosen among the whole catalog.

    Parameters
    ----------
    study : Study
        Its sources and its ``personas`` decide.
    catalog : mapping
        Every persona, by name.

    Raises
    ------
    InputError
        A source or a persona that the catalog does not hold.
    """
    _check_known("sources", study.sources, catalog)
    match study.personas:
        case "full" | Neighbourhood():
            names = set(catalog)
        case "core":
            names = {*_of(catalog, "core", "condition"), *study.sources}
        case listed:
            _check_known("personas", listed, catalog)
            names = {*listed, *_of(catalog, "condition"), "assistant", *study.sources}
    return [name for name in catalog if name in names]


def taught_personas(study: Study, catalog: Mapping[str, Persona]) -> list[str]:
    """Name who can be taught in a cell, in catalog order.

    Those measured, since each can be a source, and the core personas, among which negatives are
    drawn, with the negatives that the study names.

    Parameters
    ----------
    study : Study
        Its personas and its negatives decide.
    catalog : mapping
        Every persona, by name.

    Raises
    ------
    InputError
        A named negative that the catalog does not hold.
    """
    named = study.contrast.negatives if isinstance(study.contrast.negatives, list) else []
    _check_known("contrast.negatives", named, catalog)
    names = {*measured_personas(study, catalog), *_of(catalog, "core", "condition"), *named}
    return [name for name in catalog if name in names]


def evaluated_personas(
    study: Study, measured: Mapping[str, Persona], pairs: pd.DataFrame, layer: int
) -> dict[str, list[str]]:
    """Name who is evaluated for each source, in catalog order.

    Everyone measured; with a neighbourhood the nearest to the source by raw cosine and, as
    controls, the eleven, the conditions and the unrelated. Only a neighbourhood differs from
    source to source.

    Parameters
    ----------
    study : Study
        Its sources and its ``personas`` decide.
    measured : mapping
        Personas by name.
    pairs : DataFrame
        Of ``cosines.table``.
    layer : int
        At which the study compares: blocks applied.
    """
    if not isinstance(study.personas, Neighbourhood):
        return {source: list(measured) for source in study.sources}
    controls = _of(measured, "core", "condition", "unrelated")
    names = {
        source: {*controls, source, *nearest(pairs, source, layer)[: study.personas.neighbours]}
        for source in study.sources
    }
    return {
        source: [name for name in measured if name in chosen] for source, chosen in names.items()
    }


def nearest(pairs: pd.DataFrame, source: str, layer: int) -> list[str]:
    """Order the other personas by raw cosine to the source, nearest first.

    Parameters
    ----------
    pairs : DataFrame
        Of ``cosines.table``.
    source : str
        The persona to be near to.
    layer : int
        Blocks applied.
    """
    others = pairs[
        (pairs["layer"] == layer) & (pairs["source"] == source) & (pairs["persona"] != source)
    ]
    ordered: list[str] = others.sort_values("raw", ascending=False, kind="stable")[
        "persona"
    ].tolist()
    return ordered


def evaluated_for(source: str, evaluated: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Name who is evaluated in a cell of this source.

    A source that the study does not list can be computed all the same (``mlflow run -P source``)
    when everyone is asked for every source, itself among them.

    Parameters
    ----------
    source : str
        Of the cell.
    evaluated : mapping
        Of ``evaluated_personas``.

    Raises
    ------
    InputError
        The baseline has not asked what this source needs.
    """
    if source in evaluated:
        return evaluated[source]
    first, *others = evaluated.values()
    if source in first and all(other == first for other in others):
        return first
    raise InputError(
        f"params.yaml: the baseline lacks the personas that {source} is compared with; add "
        f"{source} to sources, and to personas where these are listed by name"
    )


def records(personas: Iterable[Persona]) -> list[Record]:
    """Write personas out in full, as JSON keeps them.

    Parameters
    ----------
    personas : iterable of Persona
        In the order to keep.
    """
    return [asdict(persona) for persona in personas]


def by_name(personas: Iterable[Persona]) -> dict[str, Persona]:
    """Map personas by their names, in their order.

    Parameters
    ----------
    personas : iterable of Persona
        Of ``Participants`` or ``Evaluated``.
    """
    return {persona.name: persona for persona in personas}


def _of(personas: Mapping[str, Persona], *categories: str) -> set[str]:
    return {persona.name for persona in personas.values() if persona.category in categories}


def _check_known(key: str, names: Iterable[str], catalog: Mapping[str, Persona]) -> None:
    for name in names:
        if name not in catalog:
            raise InputError(
                f"params.yaml: {key} names {name!r}, which is no persona of the catalog; correct "
                "it or add a line to catalog/personas.yaml"
            )
