"""A row of the calibration table: what was simulated, what came out, what must."""

from dataclasses import dataclass


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
        Between which it must be; infinite where it need not.
    studies : int
        How many were simulated.
    """

    statistic: str
    truth: str
    counted: str
    found: float
    low: float
    high: float
    studies: int

    @property
    def error(self) -> float:
        """Standard error of a share."""
        share = min(max(self.found, 0.5 / self.studies), 1 - 0.5 / self.studies)
        return (share * (1 - share) / self.studies) ** 0.5

    @property
    def holds(self) -> bool:
        """Whether it is within the bounds, but for two standard errors of the simulation."""
        return self.low - 2 * self.error <= self.found <= self.high + 2 * self.error


OPEN = float("inf")
