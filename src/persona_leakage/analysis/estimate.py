"""A number with its interval."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number and the ends of its 95 % interval.

    Attributes
    ----------
    value : float
        The estimate; not a number where it cannot be had.
    low, high : float
        Ends of its interval.
    """

    value: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Say whether the interval lies on one side of a value; an unknown one does not.

        Parameters
        ----------
        value : float
            To compare with.
        """
        return self.low > value or self.high < value


UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"))
