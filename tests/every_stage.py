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
    for stage in (base, questions, personas, centroids, geometry, evaluated, baseline):
        stage.main()
    for cell in cells:
        for stage in (contrast, train, evaluate, analyse):
            stage.main(cell)
    report.main()
