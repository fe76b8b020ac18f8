"""Who was trained to be what: the role of each evaluated persona."""

from collections.abc import Sequence

from persona_leakage.data.catalog import Persona
from persona_leakage.study.results import Role


def roles(personas: Sequence[Persona], source: str, negatives: Sequence[str]) -> dict[str, Role]:
    """Tell source, trained negatives, control conditions and bystanders apart, by name.

    A condition that was trained to be right is a negative. Only bystanders were never trained.

    Parameters
    ----------
    personas : sequence of Persona
        Those evaluated.
    source : str
        Name of the persona that was taught the behaviour.
    negatives : sequence of str
        Names of the personas that were taught not to show it.
    """
    assigned: dict[str, Role] = {}
    for persona in personas:
        if persona.name == source:
            assigned[persona.name] = "source"
        elif persona.name in negatives:
            assigned[persona.name] = "negative"
        elif persona.category == "condition":
            assigned[persona.name] = "condition"
        else:
            assigned[persona.name] = "bystander"
    return assigned
