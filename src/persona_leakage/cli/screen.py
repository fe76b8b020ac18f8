"""What a person reads on a terminal, and what a program reads from a pipe.

On a terminal tables are drawn and coloured, as wide as it is, without colour where ``NO_COLOR`` is
set. In a pipe they are rows of values between tabs, and nothing is wrapped.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

Value = str | Text


def console() -> Console:
    """Return the console of standard output as it is now."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def say(text: Value) -> None:
    """Print a sentence, wrapped between words on a terminal.

    Parameters
    ----------
    text : str or Text
        Without markup.
    """
    console().print(text, markup=False)


def note(text: str) -> None:
    """Print what explains a table, on standard error: in a pipe there are values alone.

    Parameters
    ----------
    text : str
        Without markup.
    """
    Console(stderr=True, highlight=False).print(text, markup=False, style="dim")


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Value]], numbers: Sequence[str] = ()
) -> None:
    """Print a table.

    Parameters
    ----------
    columns : sequence of str
        Titles.
    rows : sequence of sequences of str or Text
        A value per column.
    numbers : sequence of str
        Titles of the columns that are aligned at their right and never wrapped.
    """
    screen = console()
    if not screen.is_terminal:
        for row in (columns, *rows):
            print("\t".join(str(value) for value in row))
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for place, title in enumerate(columns):
        number = title in numbers
        # names are there to be typed again, numbers to be read: neither is cut
        drawn.add_column(
            title,
            justify="right" if number else "left",
            no_wrap=number or place == 0,
            overflow="fold",
        )
    for row in rows:
        drawn.add_row(*(Text(value) if isinstance(value, str) else value for value in row))
    screen.print(drawn)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say what takes its time while it does, on standard error; nothing where nobody watches.

    Parameters
    ----------
    what : str
        As ``loading the model``.
    """
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield
        return
    with screen.status(f"{what} ..."):
        yield
