"""Validate the study before anything else: every other stage waits for this one.

DVC puts values of ``params.yaml`` into paths and removes a stage's outputs before it runs, so that
a model called ``../../catalog`` would cost the catalog. Where this stage fails, it does not come to
that. What it writes is the same for every valid study: nothing runs again on its account.
"""

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.errors import command
from persona_leakage.files import write_text
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Write the mark that the parameters are valid, or name what is wrong with them."""
    load_behaviour(load_study().behaviour)
    write_text(paths.VALID, "the parameters are valid\n")


if __name__ == "__main__":
    main()
