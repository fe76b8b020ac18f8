"""What was foreseen, as tables with titles, notes and units, and in a sentence."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from persona_leakage.study.results import Column, TitledTable, titled

R2 = "%+.2f"
WORDS = {
    "source": "a source that was left out of the fit: as before any of its training",
    "family": "a family of personas, and all that was written around one source with it, that was "
    "left out of the fit: as for a persona of a new kind",
}
READING = (
    "R2 is 0 for a method no better than the mean of what was fitted, and below 0 for a worse one. "
    "Rho is Spearman's between predicted and observed, mean over the sources: at what a ranking "
    "aims. Prior: the baseline and the length of the prompt; words alone go without."
)
COUNTED = (
    "Intervals are 95 % bootstrap over sources and over groups of personas written alike, for all "
    "rows at once: that one of many excludes 0 counts. A row may be the best ranking where its rho "
    "is not told from the highest, all pairs counted."
)


@dataclass(frozen=True)
class Foreseen:
    """The tables of what was foreseen.

    Attributes
    ----------
    first, more : tuple of TitledTable
        Those that a report shows at once, and the others.
    """

    first: tuple[TitledTable, ...] = ()
    more: tuple[TitledTable, ...] = ()


def kinds_table(frame: pd.DataFrame, left_out: str, what: str, ahead: str) -> TitledTable:
    """Title how well each kind of predictors foresees, in three columns.

    Parameters
    ----------
    frame : DataFrame
        Of ``analysis.foresight.judge``.
    left_out : {"source", "family"}
        What each fit had not seen.
    what : str
        The change that was foreseen, with its unit: see ``words.change_of``.
    ahead : str
        The method that the command ``predict`` takes.
    """
    rows = [
        {
            "method": str(row["method"]) + " (make predict)" * (row["method"] == ahead),
            "r2": _with_interval(row, "r2").replace(", ", ",\u00a0"),
            "rho": _with_interval(row, "rho").replace(", ", ",\u00a0")
            + ("" if row["contender"] else ", not the best"),
        }
        for row in frame.to_dict("records")
    ]
    [row] = frame[frame["method"] == ahead].to_dict("records")
    said = trust(row, left_out)
    return titled(
        pd.DataFrame(rows),
        [
            Column(key="method", title="predicted from"),
            Column(key="r2", title="R2"),
            Column(key="rho", title="rho"),
        ],
        f"{_capital(what)}, a {left_out} left out",
        f"With make predict, {said[:1].lower()}{said[1:]}. Each persona's change is predicted for "
        f"{WORDS[left_out]}.",
    )


def trust(row: Mapping[Hashable, Any], left_out: str) -> str:
    """Say in a sentence how far a method may be relied on, by its intervals.

    Parameters
    ----------
    row : mapping
        Of ``analysis.foresight.judge``: ``method``, ``r2`` and ``rho`` with their ends.
    left_out : {"source", "family"}
        What its fit had not seen.
    """
    sizes, order = (float(row[f"{key}_low"]) > 0 for key in ("r2", "rho"))
    said = {
        (True, True): "both the sizes and the order of the changes are foreseen",
        (True, False): "the sizes of the changes are foreseen, their order is not known to be",
        (False, True): "the order of the personas is foreseen, the sizes are not known to be",
        (False, False): "neither the sizes nor the order of the changes are known to be foreseen",
    }[sizes, order]
    return f"For a {left_out} left out of the fit {said}"


def how_well(row: Mapping[Hashable, Any]) -> str:
    """Write R2 and rho with their intervals.

    Parameters
    ----------
    row : mapping
        As for ``trust``.
    """
    return f"R2 {_with_interval(row, 'r2')}, rho {_with_interval(row, 'rho')}"


def methods_table(frame: pd.DataFrame, reference: str, left_out: str, what: str) -> TitledTable:
    """Title how well each single predictor foresees.

    Parameters
    ----------
    frame : DataFrame
        Of ``analysis.foresight.judge``.
    reference : str
        The method that the gain is over.
    left_out : {"source", "family"}
        What each fit had not seen.
    what : str
        The change that was foreseen, with its unit: see ``words.change_of``.
    """
    columns = [Column(key="method", title="predicted from")]
    for key, title in (("r2", "R2"), ("gain", f"R2 over {reference}"), ("rho", "rho")):
        columns += [
            Column(key=key, title=title, form=R2),
            Column(key=f"{key}_low", title="low", form=R2),
            Column(key=f"{key}_high", title="high", form=R2),
        ]
    columns.append(Column(key="contender", title="may be the best ranking"))
    return titled(
        frame.assign(contender=["yes" if may else "no" for may in frame["contender"]]),
        columns,
        f"Every predictor alone: {what}, a {left_out} left out",
        f"Predicted for {WORDS[left_out]}. {READING} {COUNTED}",
    )


def sources_table(frame: pd.DataFrame, method: str, what: str, coverage: float) -> TitledTable:
    """Title how well one method foresees each source.

    Parameters
    ----------
    frame : DataFrame
        Of ``analysis.foresight.by_source``.
    method : str
        Its name.
    what : str
        As for ``methods_table``; the error is in its unit.
    coverage : float
        That the intervals aim at.
    """
    return titled(
        frame,
        [
            Column(key="source", title="source"),
            Column(key="personas", title="personas", form="%d"),
            Column(key="r2", title="R2", form=R2),
            Column(key="rho", title="rho", form=R2),
            Column(key="error", title="error", form="%.3g"),
            Column(key="covered", title="within the interval (%)", form="%.0f", factor=100),
        ],
        f"Source by source, left out: {what}, from {method}",
        "R2 far below 0 where a source changed hardly anyone: there is nothing to foresee, and any "
        "error is larger than that of the mean. The error is the root mean square. Within: of its "
        f"personas, inside a {100 * coverage:.0f} % interval made from the errors of the other "
        "sources.",
    )


def _with_interval(row: Mapping[Hashable, Any], key: str) -> str:
    value, low, high = (float(row[f"{key}{end}"]) for end in ("", "_low", "_high"))
    if value != value:
        return "–"
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
