"""Bad input is one clear sentence and a non-zero exit, never a traceback."""

import errno
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

P = ParamSpec("P")

LONGEST = 300  # characters of a message
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "make the folder writable",
    errno.EACCES: "allow the file to be read and its folder to be written",
    errno.EPERM: "allow the file to be read and its folder to be written",
    errno.ENAMETOOLONG: "give it a shorter name",
}


class InputError(Exception):
    """The user's input cannot be used. The message names what, where and the remedy.

    It is one line of at most ``LONGEST`` characters, whatever was put into it.
    """

    def __init__(self, message: str):
        super().__init__(brief(message))


def brief(text: str) -> str:
    """Write a text in one line that fits; what is too long loses its middle, not its end.

    Control characters, which a terminal would obey, are written as escapes.

    Parameters
    ----------
    text : str
        Of any length.
    """
    if len(text) > 2 * LONGEST:  # escapes lengthen a text, nothing below shortens it
        text = f"{text[:LONGEST]}{text[-LONGEST:]}"
        cut = True
    else:
        cut = False
    line = "".join(
        each if each.isprintable() else each.encode("unicode_escape", "surrogatepass").decode()
        for each in " ".join(text.split())
    )
    if len(line) <= LONGEST and not cut:
        return line
    head = LONGEST // 2
    return f"{line[:head]} ... {line[head + 5 - LONGEST :]}"


def command(main: Callable[P, None]) -> Callable[P, None]:
    """Make ``main`` a command: what the user can mend is printed as one sentence.

    An ``InputError``, and what the machine refuses (no space, no permission, no memory), ends the
    program with status 1, Ctrl-C with 130. Anything else is a fault of the program.

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
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0, "see to it")
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            sys.exit(f"error: {brief(f'{what}; {remedy} and run again, what is finished is kept')}")
        except (MemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            what = f"not enough memory ({error})"
            remedy = "end what else uses it, or take a smaller model"
            sys.exit(
                f"error: {brief(f'{what}; {remedy}, and run again, what is finished is kept')}"
            )
        except KeyboardInterrupt:
            print("stopped; run again to go on, what is finished is kept", file=sys.stderr)
            sys.exit(130)

    return run


def lacks_memory(error: Exception) -> bool:
    """Tell whether the machine, or its GPU, had too little memory.

    Parameters
    ----------
    error : Exception
        As it was raised.
    """
    torch = sys.modules.get("torch")  # not imported here: most commands do without
    return isinstance(error, MemoryError) or (
        torch is not None and isinstance(error, torch.OutOfMemoryError)
    )
