"""The command line that the stages of a cell share."""

import argparse

from persona_leakage.study.parameters import Cell


def cell_from_arguments() -> Cell:
    """Read ``SOURCE SEED VARIANT`` from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source", help="the persona trained to be wrong")
    parser.add_argument("seed", type=int)
    parser.add_argument("variant", help="contrastive, or a control")
    given = parser.parse_args()
    return Cell(given.source, given.seed, given.variant)
