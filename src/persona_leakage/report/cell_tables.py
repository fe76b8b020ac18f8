"""The findings of a cell as tables with titles, notes and units, ready for any page."""

from functools import partial

import pandas as pd

from persona_leakage.analysis.boundary import Boundary
from persona_leakage.report.words import level_unit
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import Column, TitledTable, titled

P = "%.2g"
RHO = "%+.2f"
CHANGE = "%+.1f"


def outliers_table(frame: pd.DataFrame, boundary: Boundary, outcome: Outcome) -> TitledTable:
    """Title the personas that the curve does not explain.

    Parameters
    ----------
    frame : DataFrame
        Of ``analysis.boundary.outliers``.
    boundary : Boundary
        Decides the note: whether there was a curve to lie off.
    outcome : Outcome
        For units and scale.
    """
    if not boundary.has_curve:
        note = "Without a curve there is nothing to lie off."
    else:
        note = (
            f"{'No bystander lies' if frame.empty else 'Bystanders'} more than "
            f"{boundary.cutoff:.1f} robust standard deviations off the curve; one in twenty cells "
            "without outliers has one."
        )
    if boundary.has_curve and boundary.reason is not None:
        note += (
            " It is the curve that fits best; where its middle lies is not known, and so it is "
            "not drawn as a boundary."
        )
    level = partial(Column, form="%.1f", factor=outcome.scale)
    return titled(
        frame,
        [
            Column(key="persona", title="persona"),
            Column(key="category", title="category"),
            Column(key="raw", title="cosine", form="%.3f"),
            level(key="after", title=f"after ({level_unit(outcome)})"),
            level(key="expected", title=f"curve ({level_unit(outcome)})"),
            Column(key="residual", title=f"residual ({outcome.unit})", form=CHANGE),
            Column(key="z", title="robust z", form=CHANGE),
            Column(key="sharing", title="outliers of its category", form="%d"),
        ],
        "Outliers",
        note,
    )


def predictors_table(frame: pd.DataFrame, primary: str) -> TitledTable:
    """Title the ranking of predictors.

    Parameters
    ----------
    frame : DataFrame
        Of ``best_predictor.compare``.
    primary : str
        The study's own, which was fixed beforehand.
    """
    may = ["yes" if contender else "no" for contender in frame["contender"]]
    return titled(
        frame.assign(contender=may),
        [
            Column(key="predictor", title="predictor"),
            Column(key="rho", title="rho, given baseline and length", form=RHO),
            Column(key="low", title="low", form=RHO),
            Column(key="high", title="high", form=RHO),
            Column(key="p", title="p, all counted", form=P),
            Column(key="contender", title="may be the steepest"),
            Column(key="plain", title="rho alone", form=RHO),
        ],
        "Which words or geometry the change follows",
        "The same bystanders throughout. Rho is the partial rank correlation with the change, "
        "given the baseline and the length of the prompt. The steepest of many is steep by "
        "selection, so all are counted: p is against the largest rho of smooth damage that has "
        "nothing to do with any of them, intervals hold all at once in 95 of 100 studies, and "
        "where several may be the steepest none is known to be. The study's own is "
        f"{primary}, fixed beforehand.",
    )


def categories_table(frame: pd.DataFrame, outcome: Outcome) -> TitledTable:
    """Title the gradient within each category.

    Parameters
    ----------
    frame : DataFrame
        Of ``by_category`` in the analysis.
    outcome : Outcome
        For the unit.
    """
    return titled(
        frame,
        [
            Column(key="category", title="category"),
            Column(key="personas", title="personas", form="%d"),
            Column(key="raw", title="mean cosine", form="%.3f"),
            Column(key="delta", title=f"mean delta ({outcome.unit})", form=CHANGE),
            Column(key="rho", title="rho within", form=RHO),
        ],
        "By category of bystanders",
    )


def benchmarks_table(frame: pd.DataFrame, trained: list[str], outcome: Outcome) -> TitledTable:
    """Title the headline numbers of each benchmark.

    Parameters
    ----------
    frame : DataFrame
        Of ``by_benchmark`` in the analysis.
    trained : list of str
        Benchmarks whose questions were trained on.
    outcome : Outcome
        For the unit.
    """
    return titled(
        frame.assign(trained=["yes" if name in trained else "no" for name in frame["benchmark"]]),
        [
            Column(key="benchmark", title="benchmark"),
            Column(key="trained", title="trained on"),
            Column(key="questions", title="questions", form="%d"),
            *(
                Column(key=f"{who}_delta", title=f"{title} ({outcome.unit})", form=CHANGE)
                for who, title in (
                    ("source", "source"),
                    ("bystander", "bystanders"),
                    ("unrelated", "unrelated"),
                    ("negative", "negatives"),
                )
            ),
            Column(key="rho", title="rho, raw", form=RHO),
        ],
        "By benchmark",
    )
