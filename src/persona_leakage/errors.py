"""Bad input is one clear sentence and a non-zero exit, never a traceback."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

P = ParamSpec("P")


class InputError(Exception):
    """The user's input cannot be used. The message names what, where and the remedy."""


def command(main: Callable[P, None]) -> Callable[P, None]:
    """Make ``main`` a command: an ``InputError`` is printed as one sentence, exit status 1.

    Parameters
    ----------
    main : callable
        What a module does when it is run.
    """

    @wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            main(*args, **kwargs)
        except InputError as error:
            sys.exit(f"error: {error}")

    return run
