"""A row of the calibration table: what was simulated, what came out, what must."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from statsmodels.stats.proportion import proportion_confint

OPEN = float("inf")


@dataclass(frozen=True)
class Row:
    """What a statistic does in studies whose truth is known.

    Attributes
    ----------
    statistic, truth, counted : str
        Which, in what kind of studies, and what was counted in them.
    found : float
        A share of the studies, or a mean.
    low, high : float
        Between which it must be; ``low`` infinite below where nothing is claimed.
    studies : int
        How many were simulated.
    error : float or None
        Standard error of a mean; none of a share.
    """

    statistic: str
    truth: str
    counted: str
    found: float
    low: float
    high: float
    studies: int
    error: float | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval; exact for a share (Clopper & Pearson 1934)."""
        if self.error is not None:
            return self.found - 1.96 * self.error, self.found + 1.96 * self.error
        count = round(self.found * self.studies)
        low, high = proportion_confint(count, self.studies, 0.05, method="beta")
        return float(low), float(high)

    @property
    def holds(self) -> bool:
        """Whether the interval reaches what must be: the simulation does not contradict it."""
        low, high = self.interval
        return low <= self.high and high >= self.low

    @property
    def cells(self) -> tuple[str, ...]:
        """Of the table; in bold what does not hold."""
        low, high = self.interval
        found = f"{self.found:.3f} [{low:.3f}, {high:.3f}]"
        if self.low == -OPEN:
            bounds = ""
        elif self.high == OPEN:
            bounds = f"at least {self.low:.2f}"
        else:
            bounds = f"{self.low:.3g} to {self.high:.3g}"
        return (
            self.statistic,
            self.truth,
            self.counted,
            found if self.holds else f"**{found}**",
            bounds,
            str(self.studies),
        )


def share(
    statistic: str,
    truth: str,
    counted: str,
    hits: Sequence[bool] | np.ndarray,
    low: float = -OPEN,
    high: float = OPEN,
) -> Row:
    """Count in how many studies something happened.

    Parameters
    ----------
    statistic, truth, counted : str
        As of ``Row``.
    hits : sequence of bool
        One per study.
    low, high : float
        As of ``Row``; nothing is claimed without ``low``.
    """
    return Row(statistic, truth, counted, float(np.mean(hits)), low, high, len(hits))
