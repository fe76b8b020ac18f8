"""A whole study in this process: the stages in their order, without DVC."""

from persona_leakage.pipeline import (
    analyse,
    base,
    baseline,
    centroids,
    contrast,
    evaluate,
    evaluated,
    geometry,
    personas,
    questions,
    report,
    train,
)


def run(*cells):
    """Run the stages of the study in the current folder, and its report."""
    prepare()
    for cell in cells:
        score(cell)
        analyse.main(cell)
    report.main()


def prepare():
    """Run what all cells share."""
    for stage in (base, questions, personas, centroids, geometry, evaluated, baseline):
        stage.main()


def score(cell):
    """Train a cell and score it."""
    for stage in (contrast, train, evaluate):
        stage.main(cell)
