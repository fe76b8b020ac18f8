"""What an answer is worth under a behaviour: the one number that statistics read."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Outcome(BaseModel):
    """The scale of a behaviour's outcome, and how people read it.

    Attributes
    ----------
    name : str
        What it is called on axes and in sentences: ``accuracy``.
    low, high : float
        Its bounds for one answer.
    binary : bool
        Whether an answer is worth ``low`` or ``high`` and nothing between.
    direction : {-1, 1}
        Which way the taught behaviour moves it: wrong answers lower the accuracy (-1).
    scale : float
        What a difference is multiplied with to be shown: 100 for percentage points.
    unit : str
        Of a difference thus shown: ``pp``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    low: float
    high: float
    binary: bool
    direction: Literal[-1, 1]
    scale: float
    unit: str
