"""Persona sets: who is evaluated for each source of a study."""

from collections.abc import Mapping, Sequence

import pandas as pd

from persona_leakage.data.catalog import Persona
from persona_leakage.errors import InputError
from persona_leakage.study.parameters import Neighbourhood, Study


def chosen_personas(
    study: Study, personas: Mapping[str, Persona], similarity: pd.DataFrame | None = None
) -> dict[str, list[Persona]]:
    """Resolve ``personas`` of a study to who is evaluated for each source, in catalog order.

    ``core``: the eleven and the conditions. ``full``: the whole catalog. A neighbourhood: the
    nearest to the source by raw cosine at the study's layer, and as controls the eleven, the
    conditions and the unrelated. A list: these, the conditions, the assistant and the sources.
    Only a neighbourhood differs from source to source.

    Raises
    ------
    InputError
        A source or a persona that the catalog does not hold.
    """
    for source in study.sources:
        if source not in personas:
            raise InputError(
                f"params.yaml: sources names {source!r}, which is no persona of the catalog; "
                "correct it or add a line to catalog/personas.yaml"
            )

    def of(*categories: str) -> set[str]:
        return {p.name for p in personas.values() if p.category in categories}

    wanted: dict[str, set[str]] = {}
    for source in study.sources:
        match study.personas:
            case "full":
                names = set(personas)
            case "core":
                names = of("core", "condition") | set(study.sources)
            case Neighbourhood(neighbours=count):
                assert similarity is not None, "the neighbourhood is read off the similarity table"
                others = similarity[
                    (similarity["source"] == source) & (similarity["persona"] != source)
                ]
                nearest = set(others.nlargest(count, "raw")["persona"])
                names = of("core", "condition", "unrelated") | nearest | {source}
            case listed:
                for name in listed:
                    if name not in personas:
                        raise InputError(
                            f"params.yaml: personas names {name!r}, which is no persona of the "
                            "catalog; correct it or add a line to catalog/personas.yaml"
                        )
                names = {*listed, *of("condition"), "assistant", *study.sources}
        wanted[source] = names
    return {
        source: [persona for persona in personas.values() if persona.name in names]
        for source, names in wanted.items()
    }


def evaluated_for(source: str, evaluated: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Names of who is evaluated in a cell of this source.

    A source that the study does not list can be computed all the same (``mlflow run -P source``)
    when everyone is asked for every source, itself among them.

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
