"""What no statistic may be asked about: values that are not numbers."""

from collections.abc import Hashable, Sequence

import numpy as np

from persona_leakage.analysis.ranks import Floats
from persona_leakage.errors import InputError


def refuse_unknown(values: Floats, rows: Sequence[Hashable], what: str, remedy: str) -> None:
    """Refuse a table that holds what is not a finite number.

    Parameters
    ----------
    values : ndarray of shape (rows, ...)
        To be checked.
    rows : sequence
        What each row is called in the message: the persona's name.
    what : str
        What the values are.
    remedy : str
        What to run.

    Raises
    ------
    InputError
        Names the first row that is not all numbers.
    """
    fine = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not fine.all():
        faulty = rows[int(np.argmin(fine))]
        raise InputError(f"{what} of {faulty} is not a number; {remedy}")
