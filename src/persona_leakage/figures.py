"""The figures of a study, in one house style: colour-blind safe, legible in print and on dark."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito 2008: told apart with every common colour-vision deficiency
INK = "#3b3b3b"
COLOURS = {
    "source": "#d55e00",
    "negative": "#0072b2",
    "condition": "#8a6d00",
    "bystander": "#56b4e9",
}
MARKERS = {"source": "*", "negative": "s", "condition": "D", "bystander": "o"}
NAMES = {
    "source": "source (trained wrong)",
    "negative": "negative (trained right)",
    "condition": "condition (not a character)",
    "bystander": "bystander (never trained)",
}
STYLE = {
    "figure.facecolor": "white",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "persona-leakage",  # the same bytes for the same figure
    "svg.fonttype": "none",
    "savefig.bbox": "tight",
}


def label_points(
    axes: Axes, x: Sequence[float], y: Sequence[float], labels: Sequence[str], size: float = 6.5
) -> list[str]:
    """Write labels beside their points so that none overlaps a point or another label.

    Each label tries places around its point, nearest first; one that fits nowhere is left out (the
    table has it).

    Returns
    -------
    list of str
        The labels that were written.
    """
    figure = axes.figure
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    points = axes.transData.transform(list(zip(x, y, strict=True)))
    radius = 4 * figure.dpi / 72
    taken = [
        matplotlib.transforms.Bbox.from_extents(px - radius, py - radius, px + radius, py + radius)
        for px, py in points
    ]
    frame = axes.get_window_extent(renderer)
    written = []
    offsets = [
        (distance * dx, distance * dy)
        for distance in (6, 11, 17, 25)
        for dx, dy in (
            (1, 0),
            (-1, 0),
            (0.7, 0.7),
            (-0.7, 0.7),
            (0.7, -0.7),
            (-0.7, -0.7),
            (0, 1),
            (0, -1),
        )
    ]
    for px, py, label in zip(x, y, labels, strict=True):
        for dx, dy in offsets:
            text = axes.annotate(
                label.replace("_", " "),
                (px, py),
                xytext=(dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right" if dx < 0 else "center",
                va="center" if abs(dy) < abs(dx) / 2 else "bottom" if dy > 0 else "top",
                fontsize=size,
                arrowprops=(
                    {"arrowstyle": "-", "lw": 0.4, "color": "#9a9a9a", "shrinkA": 0, "shrinkB": 2}
                    if max(abs(dx), abs(dy)) > 10
                    else None
                ),
            )
            # the arrow of an annotation belongs to its extent: measure the words alone
            text.update_positions(renderer)
            box = matplotlib.text.Text.get_window_extent(text, renderer)
            inside = (
                frame.x0 <= box.x0
                and box.x1 <= frame.x1 + 40
                and frame.y0 <= box.y0
                and box.y1 <= frame.y1
            )
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                written.append(label)
                break
            text.remove()
    return written


def scatter(table: pd.DataFrame, title: str, kind: str = "raw") -> Figure:
    """Plot delta (percentage points, 95 % intervals) against cosine to the source."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.2, 4.6))
        axes.axhline(0, color=INK, linewidth=0.8)
        for role, group in table.groupby("role"):
            axes.errorbar(
                group[kind],
                group["delta"],
                yerr=[group["delta"] - group["delta_low"], group["delta_high"] - group["delta"]],
                fmt="none",
                ecolor=COLOURS[str(role)],
                alpha=0.22,
                linewidth=0.8,
            )
            axes.scatter(
                group[kind],
                group["delta"],
                s=90 if role == "source" else 24,
                marker=MARKERS[str(role)],
                color=COLOURS[str(role)],
                edgecolor="white",
                linewidth=0.5,
                label=NAMES[str(role)],
                zorder=3,
            )
        name = "cosine" if kind == "raw" else "mean-centred cosine"
        axes.set_xlabel(f"{name} to the source, base model")
        axes.set_ylabel("change in accuracy (pp)")
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncol=2, fontsize=8)
        axes.margins(x=0.08, y=0.1)
        ordered = table.assign(size=table["delta"].abs()).sort_values("size", ascending=False)
        label_points(
            axes, ordered[kind].tolist(), ordered["delta"].tolist(), ordered["persona"].tolist()
        )
    return figure


def before_after(table: pd.DataFrame, title: str) -> Figure:
    """Plot each persona's accuracy before and after, most similar to the source on top."""
    ordered = table.sort_values("raw", ignore_index=True)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 0.6 + 0.2 * len(ordered)))
        places = ordered.index.to_numpy()
        colours = [COLOURS[role] for role in ordered["role"]]
        axes.hlines(
            places,
            100 * ordered["after_low"],
            100 * ordered["after_high"],
            colours,
            alpha=0.3,
            linewidth=4,
        )
        axes.hlines(places, 100 * ordered["before"], 100 * ordered["after"], colours, linewidth=1.4)
        axes.scatter(
            100 * ordered["before"],
            places,
            s=22,
            facecolor="white",
            edgecolor=colours,
            label="before",
            zorder=3,
        )
        axes.scatter(
            100 * ordered["after"],
            places,
            s=24,
            color=colours,
            label="after (bar: 95 % interval)",
            zorder=3,
        )
        axes.set_yticks(places, [name.replace("_", " ") for name in ordered["persona"]], fontsize=7)
        for tick, colour in zip(axes.get_yticklabels(), colours, strict=True):
            tick.set_color(colour if colour != COLOURS["bystander"] else INK)
        axes.set_ylim(-0.8, len(ordered) - 0.2)
        axes.set_xlabel("accuracy (%)")
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.4, -0.6 / figure.get_figheight()),
            ncol=2,
            fontsize=8,
        )
    return figure


def training_curve(curve: pd.DataFrame, title: str) -> Figure:
    """Plot the loss of every optimiser step."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 2.8))
        axes.plot(curve["step"], curve["loss"], color=COLOURS["negative"], linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("loss (nats a token)")
        axes.set_title(title, loc="left", fontsize=10)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG and PNG, the same bytes for the same figure, and close it."""
    with plt.rc_context(STYLE):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(path.with_suffix(".png"), dpi=160, metadata={"Software": None})
    plt.close(figure)
