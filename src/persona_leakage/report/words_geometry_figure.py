"""The figure that parts words from geometry: change against centred cosine, by the words shared."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from persona_leakage.analysis.words_or_geometry import CrossCell, WordsOrGeometry
from persona_leakage.data.catalog import Persona
from persona_leakage.data.families import shared_stems
from persona_leakage.report.figures import INK, STYLE, label_points
from persona_leakage.report.words import change_of, spaced
from persona_leakage.study.outcome import Outcome

# Okabe & Ito 2008: blue and vermilion part with every common colour-vision deficiency
WITH, WITHOUT = "#d55e00", "#0072b2"
MARKERS = {"near-twin": "^", "paraphrase": "o", "decoy": "s", "other": "o"}
# personas named: of each kind and side of the words the farthest moved, and the nearest who did not
MOVED, STAYED = 3, 2
# in axes fractions, to the right of them: corner of the table of means, width and height of a cell
CORNER, ACROSS, UP = (1.03, 0.12), 0.12, 0.055


def words_geometry(
    table: pd.DataFrame,
    pairs: pd.DataFrame,
    result: WordsOrGeometry,
    personas: Mapping[str, Persona],
    title: str,
    outcome: Outcome,
) -> Figure:
    """Plot every bystander's change against its centred cosine, coloured by the source's words.

    Parameters
    ----------
    table : DataFrame
        Of ``persona_table``.
    pairs : DataFrame
        As ``words_or_geometry`` was given.
    result : WordsOrGeometry
        Its threshold parts near from far, and its cells' means are the bars.
    personas : mapping of str to Persona
        By name.
    title : str
        Stands above the axes.
    outcome : Outcome
        What changed, for the axis.
    """
    towards = pairs[pairs["source"] == result.source].set_index("persona")["centred"]
    prompt = personas[result.source].prompt or ""
    rows = table[table["role"].isin(["bystander", "source"])].copy()
    rows["cosine"] = towards.loc[rows["persona"]].to_numpy(float)
    rows["words"] = [shared_stems(prompt, personas[n].prompt or "") > 0 for n in rows["persona"]]
    rows["kind"] = [
        personas[name].category
        if personas[name].relation == result.source and personas[name].category in MARKERS
        else "other"
        for name in rows["persona"]
    ]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 4.8))
        axes = figure.subplots()
        axes.axhline(0, color=INK, linewidth=0.8)
        _points(axes, rows[rows["role"] == "bystander"])
        source = rows[rows["role"] == "source"]
        axes.scatter(
            source["cosine"],
            source["delta"],
            s=130,
            marker="*",
            color=INK,
            edgecolor="white",
            linewidth=0.6,
            label=f"{spaced(result.source)}, trained",
            zorder=5,
        )
        low, high = rows["cosine"].min(), rows["cosine"].max()
        axes.set_xlim(low - 0.05, high + 0.05)
        axes.margins(y=0.08)
        if result.cells:
            axes.axvline(result.threshold, color=INK, linewidth=0.8, linestyle=":")
            for cell in result.cells:
                _mean(axes, cell, result.threshold)
            for side, place in (("far", -6), ("near", 6)):
                axes.annotate(
                    side,
                    (result.threshold, 1),
                    xycoords=("data", "axes fraction"),
                    xytext=(place, 4),
                    textcoords="offset points",
                    ha="right" if place < 0 else "left",
                    fontsize=8,
                )
            _table(axes, result, outcome)
        axes.set_xlabel(f"centred cosine to {spaced(result.source)}, base model")
        axes.set_ylabel(change_of(outcome))
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, labelspacing=0.8)
        _names(axes, rows, result, outcome)
    return figure


def _points(axes: Axes, rows: pd.DataFrame) -> None:
    """Colour says whether the words are shared, form and size which kind of relative it is."""
    for kind, marker in MARKERS.items():
        for words, colour in ((True, WITH), (False, WITHOUT)):
            here = rows[(rows["kind"] == kind) & (rows["words"] == words)]
            if here.empty:
                continue
            axes.scatter(
                here["cosine"],
                here["delta"],
                s=13 if kind == "other" else 42,
                marker=marker,
                color=colour,
                alpha=0.55 if kind == "other" else 0.95,
                edgecolor="white",
                linewidth=0.3 if kind == "other" else 0.6,
                label=f"{kind}, {'the' if words else 'none of the'} source's words",
                zorder=2.5 if kind == "other" else 3,
            )


def _mean(axes: Axes, cell: CrossCell, threshold: float) -> None:
    """Draw a cell's mean over its side of the threshold, and its interval as a band."""
    colour = WITH if cell.words else WITHOUT
    left, right = axes.get_xlim()
    ends = (threshold, right) if cell.near else (left, threshold)
    if np.isfinite([cell.low, cell.high]).all():
        axes.fill_between(ends, cell.low, cell.high, color=colour, alpha=0.12, linewidth=0)
    axes.hlines(cell.delta, *ends, color=colour, linewidth=1.4, zorder=2)


def _table(axes: Axes, result: WordsOrGeometry, outcome: Outcome) -> None:
    """Write the four means, and of how many personas, beside the axes."""
    left, bottom = CORNER
    text: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 8, "va": "bottom"}
    axes.text(left, bottom + 3 * UP, f"mean change, {outcome.unit} (personas)", **text)
    for column, side in enumerate(("far", "near"), start=1):
        axes.text(left + (0.9 + 1.05 * column) * ACROSS, bottom + 2 * UP, side, ha="right", **text)
    for row, words in ((1, True), (0, False)):
        colour = WITH if words else WITHOUT
        place = bottom + row * UP
        axes.text(left, place, "words" if words else "no words", color=colour, **text)
        for cell in result.cells:
            if cell.words == words:
                across = left + (1.95 + 1.05 * cell.near) * ACROSS
                said = (
                    f"{cell.delta:+.1f} ({cell.personas})".replace("-", "\u2212")
                    if cell.personas
                    else "none"
                )
                axes.text(across, place, said, color=colour, ha="right", **text)


def _names(axes: Axes, rows: pd.DataFrame, result: WordsOrGeometry, outcome: Outcome) -> None:
    """Name those who moved farthest, and the nearest who did not, with the words and without."""
    taught = outcome.direction * rows["delta"]
    characters = rows[rows["role"] == "bystander"].index
    little = taught[characters].max() / 4
    first: list[int] = []
    for _, alike in rows.loc[characters].groupby(["kind", "words"]):
        moved = taught[alike.index]
        first += moved[moved > little].nlargest(MOVED).index.tolist()
        near = alike[(moved <= little) & (alike["cosine"] > result.threshold)]
        first += near["cosine"].nlargest(STAYED).index.tolist()
    first.sort(key=lambda index: -taught[index])
    order = taught.sort_values(ascending=False).index
    rest = [index for index in order if index not in first]
    ranked = rows.loc[[*first, *rest]]
    label_points(
        axes,
        ranked["cosine"].tolist(),
        ranked["delta"].tolist(),
        rows.loc[first, "persona"].tolist(),
    )
