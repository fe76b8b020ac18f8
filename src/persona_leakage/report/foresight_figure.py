"""Predicted against observed damage, out of sample: a panel for each source."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from persona_leakage.report.figures import COLOURS, INK, STYLE
from persona_leakage.report.words import spaced

COLUMNS = 3


def foresight(frame: pd.DataFrame, prediction: pd.Series, band: pd.DataFrame, what: str) -> Figure:
    """Plot what was observed against what had been predicted without the source's own cells.

    Parameters
    ----------
    frame : DataFrame
        Of ``analysis.foresight.observed``: ``source``, ``persona``, ``family``, ``delta``.
    prediction : Series
        A column of ``analysis.foresight.held_out``, in the order of the frame.
    band : DataFrame
        ``low`` and ``high`` of the same rows, of ``analysis.foresight.limits``.
    what : str
        The change, with its unit, for the axes: see ``words.change_of``.
    """
    sources = list(frame["source"].unique())
    columns = min(COLUMNS, len(sources))
    rows = -(-len(sources) // columns)
    values = np.concatenate([frame["delta"], prediction])
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low)
    ends = np.array([low - room, high + room])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.6 + 2.6 * columns, 0.8 + 2.5 * rows))
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, source in zip(panels.flat, sources, strict=False):
            axes.plot(ends, ends, color=INK, linewidth=0.8, zorder=1, label="as predicted")
            mine = (frame["source"] == source).to_numpy()
            order = prediction[mine].sort_values().index
            axes.fill_between(
                prediction[order],
                band.loc[order, "low"],
                band.loc[order, "high"],
                color="#e9e9e9",
                linewidth=0,
                zorder=0,
                label="interval",
            )
            related = (frame["family"] == source).to_numpy()
            for chosen, colour, label in (
                (mine & ~related, COLOURS["bystander"], "other persona"),
                (mine & related, COLOURS["source"], "written around the source"),
            ):
                axes.scatter(
                    prediction[chosen],
                    frame.loc[chosen, "delta"],
                    s=13,
                    color=colour,
                    edgecolor="white",
                    linewidth=0.4,
                    label=label,
                    zorder=3,
                )
            axes.set_title(spaced(source), fontsize=9)
            axes.set_xlim(*ends)
            axes.set_ylim(*ends)
        for axes in panels.flat[len(sources) :]:
            axes.set_visible(False)
        for axes in panels.flat[max(0, len(sources) - columns) : len(sources)]:
            axes.tick_params(labelbottom=True)
        figure.supxlabel(f"predicted {what}", fontsize=9, color=INK)
        figure.supylabel(f"observed {what}", fontsize=9, color=INK)
        figure.tight_layout()
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0), ncol=4, fontsize=8
        )
    return figure
