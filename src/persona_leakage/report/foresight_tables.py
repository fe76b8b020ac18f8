"""What was foreseen, as tables with titles, notes and units."""

import pandas as pd

from persona_leakage.study.results import Column, TitledTable, titled

R2 = "%+.2f"
WORDS = {
    "source": "a source that was left out of the fit: as before any of its training",
    "family": "a family of personas, and all that was written around one source with it, that was "
    "left out of the fit: as for a persona of a new kind",
}


def methods_table(frame: pd.DataFrame, reference: str, left_out: str, what: str) -> TitledTable:
    """Title how well each method foresees.

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
        f"Prediction before training: {what}, a {left_out} left out",
        f"Each persona's change is predicted for {WORDS[left_out]}. R2 is 0 for a method no better "
        "than the mean of what was fitted, and below 0 for a worse one. rho is Spearman's between "
        "predicted and observed, mean over the sources: at what a ranking aims. Intervals are 95 % "
        "bootstrap over sources and over groups of personas written alike. A method may be the "
        "best ranking where its rho is not told from the highest one, all methods counted.",
    )


def sources_table(frame: pd.DataFrame, method: str, what: str) -> TitledTable:
    """Title how well one method foresees each source.

    Parameters
    ----------
    frame : DataFrame
        Of ``analysis.foresight.by_source``.
    method : str
        Its name.
    what : str
        As for ``methods_table``; the error is in its unit.
    """
    return titled(
        frame,
        [
            Column(key="source", title="source"),
            Column(key="personas", title="personas", form="%d"),
            Column(key="r2", title="R2", form=R2),
            Column(key="rho", title="rho", form=R2),
            Column(key="error", title="error", form="%.3g"),
        ],
        f"Prediction before training: {what}, source by source, from {method}",
        "R2 far below 0 where a source changed hardly anyone: there is nothing to foresee, and any "
        "error is larger than that of the mean. The error is the root mean square.",
    )
