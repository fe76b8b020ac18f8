"""Which cell a stage is to compute."""

import argparse
import os

from persona_leakage.errors import InputError
from persona_leakage.study.cell import Cell, parse_cell

NAMES = ("source", "seed", "variant")


def cell_from_arguments() -> Cell:
    """Read ``SOURCE SEED VARIANT`` from the command line, or the cell from the name of DVC's stage.

    DVC tells a stage its name, such as ``train@villain-42-contrastive``, in ``DVC_STAGE``. Written
    into the command, the values of a study would pass through a shell. What is wrong ends the
    program with one sentence and status 1, before anything runs.
    """
    parser = argparse.ArgumentParser()
    for name in NAMES:
        parser.add_argument(name, nargs="?")
    arguments = [vars(parser.parse_args())[name] for name in NAMES]
    named = os.environ.get("DVC_STAGE", "").partition("@")[2]
    if arguments == [None] * 3 and named.count("-") == 2:
        arguments = named.split("-")
    if missing := [name for name, value in zip(NAMES, arguments, strict=True) if value is None]:
        parser.error(f"{', '.join(missing)} missing")
    try:
        return parse_cell(*arguments)
    except InputError as error:
        parser.exit(1, f"error: {error}\n")
