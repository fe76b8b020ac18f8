"""Validate the study before anything else: every other stage waits for this one.

DVC puts values of ``params.yaml`` into paths and removes a stage's outputs before it runs, so that
a model called ``../../catalog`` would cost the catalog. Where this stage fails, it does not come to
that; nor is a model fetched for a study that nobody described the benchmarks of. What it writes is
the same for every valid study: nothing runs again on its account.
"""

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.data.benchmarks import known
from persona_leakage.errors import command
from persona_leakage.files import write_text
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Write the mark that the study is valid, or name what is wrong with it."""
    study = load_study()
    load_behaviour(study.behaviour)
    for name in (*study.questions.train, *study.questions.evaluate):
        known(name, study.questions.snapshots)
    write_text(paths.VALID, "the parameters are valid\n")


if __name__ == "__main__":
    main()
