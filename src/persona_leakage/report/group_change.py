"""How far each group of personas changed in a cell: means with intervals, and how many moved."""

import math
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from persona_leakage.analysis import two_way
from persona_leakage.report.verdict import least_move
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import FinishedCell, Number

CERTAIN_P = 0.05
SEED = 0  # of the bootstrap: the same interval for the same answers
GroupName = Literal["bystanders", "core", "family", "unrelated", "negatives"]


class GroupChange(BaseModel):
    """The change of a group of personas.

    Attributes
    ----------
    mean : float
        Of the personas' changes, in the outcome's unit; not a number where there is nobody.
    low, high : float
        95 % interval of the mean over personas and questions (``analysis.two_way``); not numbers
        for fewer than two personas.
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


def group_changes(cell: FinishedCell) -> dict[GroupName, GroupChange]:
    """Summarise the groups of a cell.

    All but the negatives are bystanders, which were never trained: ``core`` those of the original's
    own panel, ``family`` those written around the source, ``unrelated`` those of that category.

    Parameters
    ----------
    cell : FinishedCell
        Its persona table says who is in which group, its answers how sure a mean is.
    """
    outcome = cell.result.outcome
    answers = outcome.scale * (cell.after.loc[cell.before.index] - cell.before)
    return {
        name: change_of_group(cell.personas[chosen], answers, outcome)
        for name, chosen in members(cell.personas).items()
    }


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


def change_of_group(personas: pd.DataFrame, answers: pd.DataFrame, outcome: Outcome) -> GroupChange:
    """Summarise the changes of some personas.

    Parameters
    ----------
    personas : DataFrame
        Their rows of ``analysis.persona_table``.
    answers : DataFrame
        Change of each answer, in the outcome's unit: a row per persona, these among them.
    outcome : Outcome
        Its direction and scale say who moved.
    """
    deltas = personas["delta"]
    mean = float(deltas.mean()) if len(deltas) else math.nan
    low, high = mean_interval(answers.loc[personas["persona"]])
    # a change of exactly the least counts, whatever rounding has made of it
    moved = outcome.direction * deltas >= least_move(outcome) - 1e-9
    return GroupChange(
        mean=mean,
        low=low,
        high=high,
        personas=len(deltas),
        moved=int(moved.sum()),
        certain=int((moved & (personas["p_holm"] < CERTAIN_P)).sum()),
    )


def mean_interval(answers: pd.DataFrame) -> tuple[float, float]:
    """Return the 95 % interval of a mean over personas and questions.

    Parameters
    ----------
    answers : DataFrame
        Changes: a row per persona, fewer than two have no interval; a column per question.
    """
    if len(answers) < 2:
        return math.nan, math.nan
    everyone = np.arange(len(answers))
    drawn = two_way.resample(answers.to_numpy(float), [everyone], np.random.default_rng(SEED))
    found = two_way.percentile(*two_way.mean_draws(drawn, [0]))
    return found.low, found.high
