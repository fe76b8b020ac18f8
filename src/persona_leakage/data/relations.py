"""Who belongs together: the family of a source, and the clusters that errors are robust to."""

from collections.abc import Mapping

from persona_leakage.data.catalog import Persona


def family_of(personas: Mapping[str, Persona], source: str) -> frozenset[str]:
    """Name the family of a source: itself, and every persona written around it.

    A persona was written around the source that its ``relation`` names, whatever its category:
    paraphrases, decoys and near-twins, tones, exemplars, peers, opposites and all the others that
    resemble the source by their author's design. What they have in common with the source they
    have in common with each other, so that within a family a gradient is read from personas that
    are alike, and outside it from personas that nobody chose for the source's sake. A source
    without a relation is a family by itself.

    Parameters
    ----------
    personas : mapping of str to Persona
        By name; those of one study, or the whole catalog.
    source : str
        One of them.

    Returns
    -------
    frozenset of str
        Names, the source's among them.
    """
    relation = personas[source].relation
    if relation is None:
        return frozenset({source})
    return frozenset(name for name, other in personas.items() if other.relation == relation)


def clusters_of(personas: Mapping[str, Persona]) -> dict[str, str]:
    """Say which cluster each persona is in: its relation, or itself where it has none.

    Parameters
    ----------
    personas : mapping of str to Persona
        By name.

    Returns
    -------
    dict of str to str
        The name of a cluster, by persona.
    """
    return {name: persona.relation or name for name, persona in personas.items()}
