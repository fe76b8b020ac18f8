"""Who is close to a persona: in the words of its prompt, and in the base model's geometry."""

from collections.abc import Mapping

import pandas as pd

from persona_leakage.data.catalog import Persona
from persona_leakage.data.families import content_stems
from persona_leakage.geometry.lexical import lexical


def neighbours(
    persona: Persona, personas: Mapping[str, Persona], pairs: pd.DataFrame | None, count: int
) -> pd.DataFrame:
    """List who is among the nearest by words or by geometry.

    Parameters
    ----------
    persona : Persona
        With a prompt; of the catalog or not.
    personas : mapping
        The catalog.
    pairs : DataFrame or None
        Of ``cosines.table``, at one layer; ``None`` before it is there.
    count : int
        How many of each kind.

    Returns
    -------
    DataFrame
        Index: names, nearest first, by geometry where there is one. ``category``; ``raw`` and
        ``centred`` (cosines; not a number where nobody measured); ``tfidf`` (of
        ``geometry.lexical``); ``shared``, the stems in both prompts.
    """
    prompts = {name: other.prompt for name, other in personas.items() if other.prompt}
    prompts[persona.name] = persona.prompt or ""
    others = [name for name in prompts if name != persona.name]
    table = pd.DataFrame(index=pd.Index(others, name="persona"))
    table["category"] = [personas[name].category for name in others]
    near = None if pairs is None else pairs[pairs["source"] == persona.name]
    for kind in ("raw", "centred"):
        measured = {} if near is None else dict(zip(near["persona"], near[kind], strict=True))
        table[kind] = pd.Series(measured, dtype=float).reindex(others)
    table["tfidf"] = lexical(prompts, persona.name, others)["tfidf"]
    stems = content_stems(prompts[persona.name])
    table["shared"] = [" ".join(sorted(stems & content_stems(prompts[name]))) for name in others]
    table = table.sort_values(["raw", "tfidf"], ascending=False, kind="stable")
    by_geometry = table["raw"].dropna().index[:count]
    akin = table["tfidf"][table["tfidf"] > 0]
    by_words = akin.sort_values(ascending=False, kind="stable").index[:count]
    return table[table.index.isin(by_geometry.union(by_words))]
