"""What things are called on axes, in tables and in sentences."""

from persona_leakage.study.outcome import Outcome


def spaced(name: str) -> str:
    """Write a name of the code as people read it.

    Parameters
    ----------
    name : str
        Of a persona, a variant, a column.
    """
    return name.replace("_", " ")


def group_name(study: str, source: str) -> str:
    """Name a source behind the label of its settings, which may be empty.

    Parameters
    ----------
    study : str
        The label.
    source : str
        Its name.
    """
    return f"{study} {source}".strip()


def level_unit(outcome: Outcome) -> str:
    """Name the unit of a level: percentage points are differences of percentages.

    Parameters
    ----------
    outcome : Outcome
        Its name and unit.
    """
    return "%" if outcome.unit == "pp" else outcome.unit


def level_of(outcome: Outcome, when: str = "") -> str:
    """Name a level of the outcome with its unit: ``accuracy after training (%)``.

    Parameters
    ----------
    outcome : Outcome
        Its name and unit.
    when : str
        Stands between the two; may be empty.
    """
    return f"{outcome.name} {when}".strip() + f" ({level_unit(outcome)})"


def change_of(outcome: Outcome) -> str:
    """Name a change of the outcome with its unit: ``change in accuracy (pp)``.

    Parameters
    ----------
    outcome : Outcome
        Its name and unit.
    """
    return f"change in {outcome.name} ({outcome.unit})"
