"""The command line that the stages of a cell share."""

import argparse

from persona_leakage.errors import InputError
from persona_leakage.study.cell import Cell, parse_cell

NAMES = ("source", "seed", "variant")


def cell_from_arguments() -> Cell:
    """Read ``SOURCE SEED VARIANT``, or ``--source S --seed N --variant V``, from the command line.

    The second form is how DVC writes a whole item of a matrix, each value quoted for the shell.
    What is wrong ends the program with one sentence and status 1, before anything runs.
    """
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    for name in NAMES:
        parser.add_argument(name, nargs="?")
        parser.add_argument(f"--{name}")
    arguments = vars(parser.parse_args())
    if missing := [name for name in NAMES if name not in arguments]:
        parser.error(f"{', '.join(missing)} missing")
    try:
        return parse_cell(**arguments)
    except InputError as error:
        parser.exit(1, f"error: {error}\n")
