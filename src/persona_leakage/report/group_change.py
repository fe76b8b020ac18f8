"""How far each group of personas changed in a cell: means with intervals, and how many moved."""

import math
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict
from scipy import stats

from persona_leakage.report.verdict import least_move
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import Number

CERTAIN_P = 0.05
GroupName = Literal["bystanders", "core", "family", "unrelated", "negatives"]


class GroupChange(BaseModel):
    """The change of a group of personas.

    Attributes
    ----------
    mean : float
        Of the personas' changes, in the outcome's unit; not a number where there is nobody.
    low, high : float
        95 % interval of the mean over personas (Student's t); not numbers for fewer than two.
    personas : int
        How many there are.
    moved : int
        How many of them changed as taught by ``verdict.least_move`` or more.
    certain : int
        How many of these did so beyond chance: a Holm-corrected p below ``CERTAIN_P``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: Number
    low: Number
    high: Number
    personas: int
    moved: int
    certain: int


def group_changes(personas: pd.DataFrame, outcome: Outcome) -> dict[GroupName, GroupChange]:
    """Summarise the groups of a cell.

    All but the negatives are bystanders, which were never trained: ``core`` those of the original's
    own panel, ``family`` those written around the source, ``unrelated`` those of that category.

    Parameters
    ----------
    personas : DataFrame
        Of ``analysis.persona_table``.
    outcome : Outcome
        Its direction and scale say who moved.
    """
    groups = members(personas)
    return {name: change_of_group(personas[chosen], outcome) for name, chosen in groups.items()}


def members(personas: pd.DataFrame) -> dict[GroupName, pd.Series]:
    """Say who belongs to which group: a mask over the rows for each.

    Parameters
    ----------
    personas : DataFrame
        Of ``analysis.persona_table``.
    """
    bystander = personas["role"] == "bystander"
    [relation] = personas.loc[personas["role"] == "source", "relation"]
    kin = personas["relation"] == relation  # nobody's where the source has no family
    return {
        "bystanders": bystander,
        "core": bystander & (personas["category"] == "core"),
        "family": bystander & kin,
        "unrelated": bystander & (personas["category"] == "unrelated"),
        "negatives": personas["role"] == "negative",
    }


def change_of_group(personas: pd.DataFrame, outcome: Outcome) -> GroupChange:
    """Summarise the changes of some personas.

    Parameters
    ----------
    personas : DataFrame
        Their rows of ``analysis.persona_table``.
    outcome : Outcome
        Its direction and scale say who moved.
    """
    deltas = personas["delta"]
    low, high = mean_interval(deltas)
    # a change of exactly the least counts, whatever rounding has made of it
    moved = outcome.direction * deltas >= least_move(outcome) - 1e-9
    return GroupChange(
        mean=float(deltas.mean()) if len(deltas) else math.nan,
        low=low,
        high=high,
        personas=len(deltas),
        moved=int(moved.sum()),
        certain=int((moved & (personas["p_holm"] < CERTAIN_P)).sum()),
    )


def mean_interval(values: pd.Series) -> tuple[float, float]:
    """Return the 95 % interval of a mean over personas, by Student's t.

    Parameters
    ----------
    values : Series
        One per persona; fewer than two have no interval.
    """
    if len(values) < 2:
        return math.nan, math.nan
    reach = float(stats.t.isf(0.025, len(values) - 1) * stats.sem(values))
    return float(values.mean()) - reach, float(values.mean()) + reach
