"""Too small to matter, large enough to count, or unknown: the size of a change."""

from typing import Literal

import numpy as np

from persona_leakage.analysis.ranks import Floats
from persona_leakage.study.outcome import Outcome

Size = Literal["no leakage", "leaks", "opposite", "inconclusive"]

MARGIN = 0.05  # of the outcome's range: 5 percentage points of an accuracy
TAILS = (5.0, 95.0)  # percentiles: two one-sided tests at 5 %


def size_of(draws: Floats, outcome: Outcome) -> Size:
    """Compare a mean change with a margin of 5 % of the outcome's range.

    Two one-sided tests by the 90 % interval (Schuirmann 1987): within the margin on both sides the
    change is equivalent to none; beyond it on one side it is a minimum effect (Murphy & Myors
    1999), in the taught direction or against it. Anything else is inconclusive.

    Parameters
    ----------
    draws : ndarray of shape (resamples,)
        The mean change in each resample, in the outcome's own bounds.
    outcome : Outcome
        Its range and direction.
    """
    if not len(draws) or not np.isfinite(draws).all():
        return "inconclusive"
    low, high = np.percentile(draws, TAILS) / (outcome.high - outcome.low)
    if low > -MARGIN and high < MARGIN:
        return "no leakage"
    if low > MARGIN or high < -MARGIN:
        return "leaks" if (low > 0) == (outcome.direction > 0) else "opposite"
    return "inconclusive"
