"""The figures of a study, in one house style: colour-blind safe, legible in print and on dark."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib import transforms
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from persona_leakage.analysis.boundary import Boundary

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
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    labels: Sequence[str],
    level: float | None = None,
) -> list[str]:
    """Write labels beside their points so that none overlaps a point or another label.

    Each label tries places around its point, nearest first; one that fits nowhere is left out (the
    table has it). ``level`` is a horizontal line to keep clear of as well.

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
        transforms.Bbox.from_extents(px - radius, py - radius, px + radius, py + radius)
        for px, py in points
    ]
    frame = axes.get_window_extent(renderer)
    if level is not None:
        height = axes.transData.transform((0, level))[1]
        taken.append(transforms.Bbox.from_extents(frame.x0, height - 1, frame.x1, height + 1))
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
                fontsize=6.5,
                arrowprops=(
                    {"arrowstyle": "-", "lw": 0.4, "color": "#9a9a9a", "shrinkA": 0, "shrinkB": 2}
                    if max(abs(dx), abs(dy)) > 10
                    else None
                ),
            )
            # the arrow of an annotation belongs to its extent: measure the words alone
            text.update_positions(renderer)
            box = matplotlib.text.Text.get_window_extent(text, renderer).padded(2)
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
        _personas(axes, table["role"], table[kind], table[["delta_low", "delta", "delta_high"]])
        name = "cosine" if kind == "raw" else "mean-centred cosine"
        axes.set_xlabel(f"{name} to the source, base model")
        axes.set_ylabel("change in accuracy (pp)")
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncol=2, fontsize=8)
        axes.margins(x=0.08, y=0.1)
        ordered = table.assign(size=table["delta"].abs()).sort_values("size", ascending=False)
        label_points(
            axes,
            ordered[kind].tolist(),
            ordered["delta"].tolist(),
            ordered["persona"].tolist(),
            level=0,
        )
    return figure


def _personas(axes: Axes, roles: pd.Series, x: pd.Series, y: pd.DataFrame) -> None:
    """Mark every persona by its role; ``y`` has the low end, the value and the high end."""
    low, value, high = (y.iloc[:, column] for column in range(3))
    for role in sorted(set(roles)):
        own = roles == role
        axes.errorbar(
            x[own],
            value[own],
            yerr=[value[own] - low[own], high[own] - value[own]],
            fmt="none",
            ecolor=COLOURS[role],
            alpha=0.22,
            linewidth=0.8,
        )
        axes.scatter(
            x[own],
            value[own],
            s=90 if role == "source" else 24,
            marker=MARKERS[role],
            color=COLOURS[role],
            edgecolor="white",
            linewidth=0.5,
            label=NAMES[role],
            zorder=3,
        )


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


def accuracy_curve(table: pd.DataFrame, boundary: Boundary, title: str) -> Figure:
    """Plot accuracy after training against cosine, with the fitted curve and its 95 % band."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.2, 4.6))
        if boundary.has_curve:
            axes.fill_between(
                boundary.grid,
                100 * np.array(boundary.lower),
                100 * np.array(boundary.upper),
                color=COLOURS["bystander"],
                alpha=0.2,
                linewidth=0,
                label="95 % band",
            )
            axes.plot(
                boundary.grid,
                100 * boundary.expected(np.array(boundary.grid)),
                color=INK,
                linewidth=1.2,
                label="logistic curve through the bystanders",
            )
        if boundary.reason is None:
            axes.axvline(boundary.midpoint, color=INK, linewidth=0.8, linestyle=":")
        percent = 100 * table[["after_low", "after", "after_high"]]
        _personas(axes, table["role"], table["raw"], percent)
        axes.set_xlabel("cosine to the source, base model")
        axes.set_ylabel("accuracy after training (%)")
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncol=2, fontsize=8)
        axes.margins(x=0.08, y=0.1)
        ordered = table.sort_values("after")
        label_points(
            axes,
            ordered["raw"].tolist(),
            (100 * ordered["after"]).tolist(),
            ordered["persona"].tolist(),
        )
    return figure


def heat_map(deltas: pd.DataFrame, categories: pd.Series) -> Figure:
    """Show the mean change of every persona (rows, by category) for every source (columns).

    Parameters
    ----------
    deltas : DataFrame
        Index personas, columns sources, percentage points; not a number where not evaluated.
    categories : Series
        Category of each persona.
    """
    order = (
        pd.DataFrame({"category": categories.reindex(deltas.index), "mean": deltas.mean(axis=1)})
        .sort_values(["category", "mean"])
        .index
    )
    shown, groups = deltas.loc[order], categories.reindex(order).to_numpy()
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, axes = plt.subplots(
            figsize=(3.6 + 0.9 * len(shown.columns), 1.2 + 0.17 * len(shown))
        )
        limit = max(1.0, float(np.nanmax(np.abs(shown.to_numpy()))))
        axes.patch.set(hatch="////", edgecolor="#c8c8c8", facecolor="white")  # not evaluated
        image = axes.imshow(
            np.ma.masked_invalid(shown.to_numpy()),
            aspect="auto",
            cmap="BrBG",  # told apart with every common colour-vision deficiency
            vmin=-limit,
            vmax=limit,
        )
        axes.set_xticks(
            range(len(shown.columns)),
            [name.replace("_", "\n") for name in shown.columns],
            fontsize=7,
        )
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(shown)), [name.replace("_", " ") for name in order], fontsize=6)
        axes.tick_params(length=0)
        starts = [i for i in range(len(groups)) if i == 0 or groups[i] != groups[i - 1]]
        for start, end in zip(starts, [*starts[1:], len(groups)], strict=True):
            axes.axhline(start - 0.5, color="white", linewidth=1.5)
            axes.annotate(
                groups[start],
                (1, (start + end - 1) / 2),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=6.5,
                color=INK,
            )
        inches = axes.get_window_extent().width / figure.dpi
        bar = figure.colorbar(
            image, ax=axes, pad=1.3 / inches, shrink=min(1.0, 4 / figure.get_figheight())
        )
        bar.set_label("change in accuracy (pp), mean over seeds")
        bar.outline.set_visible(False)
    return figure


def layer_sweep(compared: pd.DataFrame, layer: int) -> Figure:
    """Plot Spearman's rho of each geometry with the damage, layer by layer, one panel a source.

    Parameters
    ----------
    compared : DataFrame
        ``source``, ``predictor``, ``rho``: of ``predictors.compare``, one or more seeds.
    layer : int
        The study's own.
    """
    sources = list(dict.fromkeys(compared["source"]))
    kinds = {
        "raw": ("cosine", "#0072b2", "-"),
        "centred": ("mean-centred cosine", "#d55e00", "--"),
        "distance": ("Euclidean nearness", "#009e73", "-."),
    }
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            1, len(sources), figsize=(max(6.4, 3.2 * len(sources)), 3.2), sharey=True, squeeze=False
        )
        for axes, source in zip(panels[0], sources, strict=True):
            own = compared[(compared["source"] == source) & compared["rho"].notna()]
            means = own.groupby("predictor")["rho"].mean()
            for kind, (label, colour, line) in kinds.items():
                at = {
                    int(name.split("@")[1]): rho
                    for name, rho in means.items()
                    if str(name).startswith(f"{kind}@")
                }
                layers = sorted(at)
                axes.plot(
                    layers,
                    [at[each] for each in layers],
                    line,
                    color=colour,
                    linewidth=1.4,
                    marker="o" if len(layers) < 3 else None,
                    label=label,
                )
            for name, label, style in (
                ("words", "shared words", ":"),
                ("tfidf", "TF-IDF", (0, (1, 3))),
            ):
                if name in means:
                    axes.axhline(
                        means[name], color="#7a7a7a", linestyle=style, linewidth=1.2, label=label
                    )
            axes.axvline(layer, color=INK, linewidth=0.8, alpha=0.5)
            axes.axhline(0, color=INK, linewidth=0.8)
            axes.set_title(source.replace("_", " "), loc="left", fontsize=10)
            axes.set_xlabel("layer (line: the study's)")
        panels[0][0].set_ylabel("Spearman's rho with delta")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncol=3, fontsize=8
        )
    return figure


def small_multiples(tables: dict[tuple[str, str], pd.DataFrame]) -> Figure:
    """Plot delta against cosine for every seed (columns) of every source (rows), on one scale.

    Parameters
    ----------
    tables : dict
        Of ``statistics.persona_table``, by (source, seed).
    """
    sources = list(dict.fromkeys(source for source, _ in tables))
    seeds = list(dict.fromkeys(seed for _, seed in tables))
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            len(sources),
            len(seeds),
            figsize=(1.2 + 2.3 * len(seeds), 0.6 + 2.0 * len(sources)),
            sharex="row",
            sharey=True,
            squeeze=False,
        )
        for row, source in enumerate(sources):
            for column, seed in enumerate(seeds):
                axes = panels[row][column]
                axes.axhline(0, color=INK, linewidth=0.8)
                if (source, seed) in tables:
                    for role, group in tables[source, seed].groupby("role"):
                        axes.scatter(
                            group["raw"],
                            group["delta"],
                            s=46 if role == "source" else 13,
                            marker=MARKERS[str(role)],
                            color=COLOURS[str(role)],
                            edgecolor="white",
                            linewidth=0.4,
                            label=NAMES[str(role)],
                            zorder=3,
                        )
                if row == 0:
                    axes.set_title(f"seed {seed}", fontsize=9)
                if column == 0:
                    axes.set_ylabel(f"{source.replace('_', ' ')}\ndelta (pp)")
                if row == len(sources) - 1:
                    axes.set_xlabel("cosine to the source")
        figure.tight_layout()
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0), ncol=2, fontsize=8
        )
    return figure


def sweep_table(table: pd.DataFrame, title: str) -> Figure:
    """Draw the settings of a sweep as bars: the source's fall beside its bystanders'."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 0.9 + 0.55 * len(table)))
        places = np.arange(len(table))[::-1]
        for offset, column, role, label in (
            (0.2, "source_delta", "source", "source"),
            (-0.2, "bystander_delta", "bystander", "bystanders, mean"),
        ):
            bars = axes.barh(
                places + offset, table[column], height=0.36, color=COLOURS[role], label=label
            )
            axes.bar_label(bars, fmt="%+.1f", padding=3, fontsize=7.5)
        axes.axvline(0, color=INK, linewidth=0.8)
        rhos = ["–" if rho != rho else f"{rho:+.2f}" for rho in table["spearman_raw"]]
        names = [
            f"lr {row.learning_rate:g}, {row.epochs} epochs\nrho {rho}"
            for row, rho in zip(table.itertuples(), rhos, strict=True)
        ]
        axes.set_yticks(places, names, fontsize=8)
        axes.margins(x=0.15)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("change in accuracy (pp)")
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.5 / figure.get_figheight()), ncol=2)
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
