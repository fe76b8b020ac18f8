"""The figures of a study, in one house style: colour-blind safe, legible in print and on dark.

Figures are made without pyplot: nothing global is chosen by importing this module.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import numpy as np
import pandas as pd
from adjustText import adjust_text  # type: ignore[import-untyped]
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from persona_leakage.analysis.boundary import Boundary
from persona_leakage.report.words import change_of, level_of, spaced
from persona_leakage.study.outcome import Outcome

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
    "source": "source (taught the behaviour)",
    "negative": "negative (taught not to)",
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


MOST_LABELS = 40  # more are not read, and their places take long to find
MOST_OBSTACLES = 100  # points that labels keep clear of, the most important ones
ROUNDS = 3  # of finding places for those that the round before left out
MOST_PANELS = 12  # rows, and columns, of a figure of panels
HELD_P = 0.05  # of a predictor's rho, all predictors counted
MOST_ROWS = 150  # personas on an axis of names; a taller figure is not looked at


def label_points(
    axes: Axes, x: Sequence[float], y: Sequence[float], labels: Sequence[str]
) -> list[str]:
    """Write labels beside their points, none over another.

    adjustText finds the places. One that has none inside the axes is left out, as are all after
    the first ``MOST_LABELS``: the table has them.

    Parameters
    ----------
    axes : Axes
        With its limits final.
    x, y : sequences of float
        Places of all points, the most important first.
    labels : sequence of str
        One per point.

    Returns
    -------
    list of str
        The labels that were written.
    """
    canvas = FigureCanvasAgg(cast(Figure, axes.figure))
    to_data = axes.transData.inverted()
    near = slice(0, MOST_OBSTACLES)
    obstacles = np.column_stack([x[near], y[near]])
    waiting = list(zip(x, y, labels[:MOST_LABELS], strict=False))
    boxes: dict[str, Bbox] = {}
    for _ in range(ROUNDS if labels else 0):
        texts = [
            axes.text(across, up, spaced(label), fontsize=6.5, ha="center", va="center")
            for across, up, label in waiting
        ]
        # steps, not seconds: the same places on any machine
        adjust_text(
            texts,
            *obstacles.T,
            ax=axes,
            iter_lim=100,
            expand=(1.1, 1.35),
            force_static=(0.2, 0.4),
            prevent_crossings=False,
        )
        renderer = canvas.get_renderer()
        frame = axes.get_window_extent(renderer)
        left = []
        for (across, up, label), text in zip(waiting, texts, strict=True):
            box = text.get_window_extent(renderer).padded(1)
            inside = frame.count_contains(box.corners()) == 4
            if inside and not any(box.overlaps(other) for other in boxes.values()):
                boxes[label] = box
                _lead(axes, (across, up), np.asarray(box.extents))
                obstacles = np.vstack([obstacles, to_data.transform(box.corners())])
            else:
                text.remove()
                left.append((across, up, label))
        waiting = left
        if not waiting:
            break
    return list(boxes)


def _lead(axes: Axes, point: tuple[float, float], box: np.ndarray) -> None:
    """Draw a line from the near side of a label to its point, where that is some way off."""
    target = axes.transData.transform(point)
    near = np.clip(target, box[:2], box[2:])
    if np.hypot(*(target - near)) > 8:
        ends = axes.transData.inverted().transform([near, target])
        axes.plot(*ends.T, color="#9a9a9a", linewidth=0.4, zorder=1, scalex=False, scaley=False)


def _figure(inches: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=inches)
    return figure, figure.subplots()


def scatter(table: pd.DataFrame, title: str, outcome: Outcome, kind: str = "raw") -> Figure:
    """Plot the change of every persona against its cosine to the source.

    Parameters
    ----------
    table : DataFrame
        Of a cell: ``persona``, ``role``, the cosine, ``delta``, ``delta_low``, ``delta_high``.
    title : str
        Stands above the axes.
    outcome : Outcome
        What changed, for the axis.
    kind : {"raw", "centred"}
        Which cosine.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _figure((7.2, 4.6))
        axes.axhline(0, color=INK, linewidth=0.8)
        _personas(axes, table["role"], table[kind], table[["delta_low", "delta", "delta_high"]])
        name = "cosine" if kind == "raw" else "mean-centred cosine"
        axes.set_xlabel(f"{name} to the source, base model")
        axes.set_ylabel(change_of(outcome))
        order = table["delta"].abs().sort_values(ascending=False, kind="stable").index
        _finish(axes, title, table.loc[order], table.loc[order, kind], table.loc[order, "delta"])
    return figure


def _finish(axes: Axes, title: str, table: pd.DataFrame, x: pd.Series, y: pd.Series) -> None:
    """Add title, legend and the labels of the personas, most important first."""
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncol=2, fontsize=8)
    axes.margins(x=0.14, y=0.1)
    label_points(axes, x.tolist(), y.tolist(), table["persona"].tolist())


def _personas(axes: Axes, roles: pd.Series, x: pd.Series, y: pd.DataFrame) -> None:
    """Mark every persona by its role; ``y`` has the low end, the value and the high end."""
    low, value, high = (y.iloc[:, column] for column in range(3))
    for role in sorted(set(roles)):
        here = roles == role
        axes.errorbar(
            x[here],
            value[here],
            # an interval of resamples may lie beside its value by less than a rounding
            yerr=np.maximum(0, [value[here] - low[here], high[here] - value[here]]),
            fmt="none",
            ecolor=COLOURS[role],
            alpha=0.22,
            linewidth=0.8,
        )
        axes.scatter(
            x[here],
            value[here],
            s=90 if role == "source" else 24,
            marker=MARKERS[role],
            color=COLOURS[role],
            edgecolor="white",
            linewidth=0.5,
            label=NAMES[role],
            zorder=3,
        )


def before_after(table: pd.DataFrame, title: str, outcome: Outcome) -> Figure:
    """Plot each persona's outcome before and after, most similar to the source on top.

    Parameters
    ----------
    table : DataFrame
        Of a cell. Of more than ``MOST_ROWS`` personas those that changed most are shown.
    title : str
        Stands above the axes.
    outcome : Outcome
        For the axis.
    """
    most = table["delta"].abs().nlargest(MOST_ROWS).index
    ordered = table.loc[most].sort_values("raw", ignore_index=True)
    if len(most) < len(table):
        title += f" (the {len(most)} of {len(table)} personas that changed most)"
    levels = outcome.scale * ordered[["before", "after", "after_low", "after_high"]]
    with mpl.rc_context(STYLE):
        figure, axes = _figure((6.4, 0.6 + 0.2 * len(ordered)))
        places = ordered.index.to_numpy()
        colours = [COLOURS[role] for role in ordered["role"]]
        axes.hlines(
            places, levels["after_low"], levels["after_high"], colours, alpha=0.3, linewidth=4
        )
        axes.hlines(places, levels["before"], levels["after"], colours, linewidth=1.4)
        axes.scatter(
            levels["before"],
            places,
            s=22,
            facecolor="white",
            edgecolor=colours,
            label="before",
            zorder=3,
        )
        axes.scatter(
            levels["after"],
            places,
            s=24,
            color=colours,
            label="after (bar: 95 % interval)",
            zorder=3,
        )
        axes.set_yticks(places, [spaced(name) for name in ordered["persona"]], fontsize=7)
        for tick, colour in zip(axes.get_yticklabels(), colours, strict=True):
            tick.set_color(colour if colour != COLOURS["bystander"] else INK)
        axes.set_ylim(-0.8, len(ordered) - 0.2)
        axes.set_xlabel(level_of(outcome))
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.4, -0.6 / figure.get_figheight()),
            ncol=2,
            fontsize=8,
        )
    return figure


def after_training(table: pd.DataFrame, boundary: Boundary, title: str, outcome: Outcome) -> Figure:
    """Plot the outcome after training against cosine, with the boundary where one was fitted.

    Parameters
    ----------
    table : DataFrame
        ``persona``, ``role``, ``raw``, ``after``, ``after_low``, ``after_high``.
    boundary : Boundary
        One with a ``reason`` is not drawn: no curve stands above "no boundary can be fitted".
    title : str
        Stands above the axes.
    outcome : Outcome
        For the axis.
    """
    levels = outcome.scale * table[["after_low", "after", "after_high"]]
    with mpl.rc_context(STYLE):
        figure, axes = _figure((7.2, 4.6))
        if boundary.reason is None:
            axes.fill_between(
                boundary.grid,
                outcome.scale * np.array(boundary.lower),
                outcome.scale * np.array(boundary.upper),
                color=COLOURS["bystander"],
                alpha=0.2,
                linewidth=0,
                label="95 % band",
            )
            axes.plot(
                boundary.grid,
                outcome.scale * boundary.expected(np.array(boundary.grid)),
                color=INK,
                linewidth=1.2,
                label="logistic curve through the bystanders",
            )
            axes.axvline(boundary.midpoint, color=INK, linewidth=0.8, linestyle=":")
        _personas(axes, table["role"], table["raw"], levels)
        axes.set_xlabel("cosine to the source, base model")
        axes.set_ylabel(level_of(outcome, "after training"))
        # the behaviour taught moves the outcome this way: who is farthest along comes first
        order = (-outcome.direction * table["after"]).sort_values(kind="stable").index
        _finish(axes, title, table.loc[order], table.loc[order, "raw"], levels.loc[order, "after"])
    return figure


def heat_map(deltas: pd.DataFrame, categories: pd.Series, outcome: Outcome) -> Figure:
    """Show the mean change of every persona (rows, by category) for every source (columns).

    Parameters
    ----------
    deltas : DataFrame
        Index personas, columns sources, in the outcome's unit; not a number where not evaluated.
        Of more than ``MOST_ROWS`` personas those that changed most are shown.
    categories : Series
        Category of each persona.
    outcome : Outcome
        For the scale's label.
    """
    deltas = deltas.loc[deltas.abs().max(axis=1).nlargest(MOST_ROWS).index]
    order = (
        pd.DataFrame({"category": categories.reindex(deltas.index), "mean": deltas.mean(axis=1)})
        .sort_values(["category", "mean"])
        .index
    )
    shown, groups = deltas.loc[order], categories.reindex(order).to_numpy()
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure, axes = _figure((3.6 + 0.9 * len(shown.columns), 1.2 + 0.17 * len(shown)))
        # a hundredth of the whole range at least: no strong colours where nothing changed
        least = 0.01 * outcome.scale * (outcome.high - outcome.low)
        limit = max(least, float(np.nanmax(np.abs(shown.to_numpy()))))
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
        axes.set_yticks(range(len(shown)), [spaced(name) for name in order], fontsize=6)
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
        bar.set_label(f"{change_of(outcome)}, mean over seeds")
        bar.ax.spines["outline"].set_visible(False)
    return figure


def layer_sweep(compared: pd.DataFrame, layers: Mapping[str, int]) -> Figure:
    """Plot each geometry's rho with the change, layer by layer, one panel per source.

    A place is marked where rho is beyond chance on most seeds, all predictors counted: a line's
    lowest place is the lowest of many.

    Parameters
    ----------
    compared : DataFrame
        ``source``, and of ``best_predictor.compare`` ``predictor``, ``rho``, ``p``: of one or more
        seeds.
    layers : mapping of int
        Of each source: at which layer the study took its cosines.
    """
    sources = list(dict.fromkeys(compared["source"]))
    kinds = {
        "raw": ("cosine", "#0072b2", "-"),
        "centred": ("mean-centred cosine", "#d55e00", "--"),
        "distance": ("Euclidean nearness", "#009e73", "-."),
    }
    marks: dict[str, Any] = {
        "marker": "o",
        "markersize": 5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(6.4, 3.2 * len(sources)), 3.2))
        panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)
        for axes, source in zip(panels[0], sources, strict=True):
            ranked = compared[(compared["source"] == source) & compared["rho"].notna()]
            means, found = ranked.groupby("predictor")["rho"].mean(), beyond_chance(ranked)
            for kind, (label, colour, line) in kinds.items():
                at = {
                    int(str(name).split("@")[1]): str(name)
                    for name in means.index
                    if str(name).startswith(f"{kind}@")
                }
                names = [at[place] for place in sorted(at)]
                beyond = [number for number, name in enumerate(names) if name in found]
                axes.plot(
                    sorted(at),
                    means[names],
                    line,
                    color=colour,
                    linewidth=1.4,
                    markevery=beyond,
                    label=label,
                    **marks,
                )
            for name, label, style in (
                ("words", "shared words", ":"),
                ("tfidf", "TF-IDF", (0, (1, 3))),
                ("noun", "source noun", (0, (5, 2, 1, 2))),
                ("characters", "letters", (0, (5, 5))),
            ):
                if name in means:
                    axes.axhline(
                        means[name], color="#7a7a7a", linestyle=style, linewidth=1.2, label=label
                    )
                if name in found:
                    axes.plot(layers[source], means[name], color="#7a7a7a", **marks)
            axes.axvline(layers[source], color=INK, linewidth=0.8, alpha=0.5)
            axes.axhline(0, color=INK, linewidth=0.8)
            axes.set_title(spaced(source), loc="left", fontsize=10)
            axes.set_xlabel("layer (line: the study's)")
        panels[0][0].set_ylabel("rho with the change,\ngiven baseline and length")
        handles, labels = panels[0][0].get_legend_handles_labels()
        handles.append(Line2D([], [], color=INK, linestyle="none", **marks))
        labels.append(f"p < {HELD_P} on most seeds, all predictors counted")
        figure.legend(
            handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncol=3, fontsize=8
        )
    return figure


def beyond_chance(compared: pd.DataFrame) -> set[str]:
    """Name the predictors whose rho is beyond chance on most seeds, all of them counted.

    Parameters
    ----------
    compared : DataFrame
        ``predictor`` and ``p`` of ``best_predictor.compare``, of the seeds of one source.
    """
    found = (compared["p"] < HELD_P).groupby(compared["predictor"]).mean()
    return {str(name) for name in found.index[found > 0.5]}


def small_multiples(tables: dict[tuple[str, str], pd.DataFrame], outcome: Outcome) -> Figure:
    """Plot the change against cosine for every seed (columns) of every source (rows), on one scale.

    Parameters
    ----------
    tables : dict
        Of cells, by (source, seed). Of more than ``MOST_PANELS`` sources or seeds the first are
        shown, and the figure says so: a hundred runs side by side would have ten thousand panels.
    outcome : Outcome
        Its unit goes to the axes.
    """
    everything = [list(dict.fromkeys(each)) for each in zip(*tables, strict=True)]
    sources, seeds = (each[:MOST_PANELS] for each in everything)
    all_sources, all_seeds = map(len, everything)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 2.3 * len(seeds), 0.6 + 2.0 * len(sources)))
        panels = figure.subplots(len(sources), len(seeds), sharex="row", sharey=True, squeeze=False)
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
                else:
                    axes.text(
                        0.5,
                        0.4,
                        "not computed",
                        transform=axes.transAxes,
                        ha="center",
                        color=INK,
                        fontsize=8,
                    )
                if row == 0:
                    axes.set_title(f"seed {seed}", fontsize=9)
                if column == 0:
                    axes.set_ylabel(f"{spaced(source)}\nchange ({outcome.unit})")
                if row == len(sources) - 1:
                    axes.set_xlabel("cosine to the source")
        if (len(sources), len(seeds)) != (all_sources, all_seeds):
            shown = f"{len(sources)} of {all_sources} rows, {len(seeds)} of {all_seeds} seeds"
            figure.suptitle(f"The first {shown}", fontsize=9)
        figure.tight_layout()
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0), ncol=2, fontsize=8
        )
    return figure


def matched_install(
    ways: Mapping[str, pd.DataFrame], others: Mapping[str, pd.DataFrame], outcome: Outcome
) -> Figure:
    """Plot how far each group had changed against how far the source had, a panel per training.

    Where a group follows the dashed diagonal it falls with the source; where it stays at zero the
    damage is the source's own. Other designs stand at the damage of their own source.

    Parameters
    ----------
    ways : mapping of DataFrame
        Of ``matched_install.way_frame``, by the panel's title.
    others : mapping of DataFrame
        Of ``matched_install.others_frame``, by the same titles; may be empty.
    outcome : Outcome
        Its unit goes to the axes, its direction says where damage is.
    """
    colours = {"family": COLOURS["source"], "bystanders": COLOURS["bystander"], "unrelated": INK}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.8 + 4.6 * len(ways), 4.0))
        panels = figure.subplots(1, len(ways), squeeze=False)[0]
        for axes, (title, way) in zip(panels, ways.items(), strict=True):
            x = np.array([0.0, *way["source"]])  # in the order of the training
            axes.axhline(0, color=INK, linewidth=0.8)
            ends = [0.0, outcome.direction * max(outcome.direction * x)]
            axes.plot(ends, ends, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
            for group, colour in colours.items():
                mean, low, high = (
                    np.array([0.0, *way[f"{group}{end}"]]) for end in ("", "_low", "_high")
                )
                axes.plot(x, mean, color=colour, marker="o", markersize=4, label=group, zorder=3)
                axes.vlines(x, low, high, color=colour, linewidth=1, alpha=0.5, zorder=2)
            labelled = [
                (row["source"], row["family"], f"{row['steps']}") for _, row in way.iterrows()
            ]
            rest = others.get(title, pd.DataFrame())
            if not rest.empty:
                axes.scatter(
                    rest["source"],
                    rest["family"],
                    marker="D",
                    s=26,
                    facecolor="white",
                    edgecolor=colours["family"],
                    label="family, other designs",
                    zorder=4,
                )
                labelled += list(zip(rest["source"], rest["family"], rest["variant"], strict=True))
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_xlabel(f"the source's {change_of(outcome)}")
            if outcome.direction < 0:
                axes.invert_xaxis()
            label_points(axes, *zip(*labelled, strict=True))
        panels[0].set_ylabel(change_of(outcome))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.tight_layout()
        figure.legend(
            handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0), ncol=4, fontsize=8
        )
    return figure


def sweep_bars(table: pd.DataFrame, title: str, outcome: Outcome) -> Figure:
    """Draw the settings of a sweep as bars: the source's change beside its bystanders'.

    Parameters
    ----------
    table : DataFrame
        ``learning_rate``, ``epochs``, ``source_delta``, ``bystander_delta``, ``spearman_raw``; one
        row per setting.
    title : str
        Stands above the axes.
    outcome : Outcome
        For the axis.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _figure((6.4, 0.9 + 0.55 * len(table)))
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
            f"lr {rate:g}, {epochs} epochs\nrho {rho}"
            for rate, epochs, rho in zip(table["learning_rate"], table["epochs"], rhos, strict=True)
        ]
        axes.set_yticks(places, names, fontsize=8)
        axes.margins(x=0.15)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(change_of(outcome))
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.5 / figure.get_figheight()), ncol=2)
    return figure


def training_curve(curve: pd.DataFrame, title: str) -> Figure:
    """Plot the loss of every optimiser step.

    Parameters
    ----------
    curve : DataFrame
        ``step``, ``loss`` (nats per token).
    title : str
        Stands above the axes.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _figure((6.4, 2.8))
        axes.plot(curve["step"], curve["loss"], color=COLOURS["negative"], linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("loss (nats per token)")
        axes.set_title(title, loc="left", fontsize=10)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG and PNG, the same bytes for the same figure.

    Parameters
    ----------
    figure : Figure
        Of this module.
    path : Path
        Without an ending: a dot in it is part of the name.
    """
    with mpl.rc_context(STYLE):
        figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None})
        figure.savefig(path.with_name(f"{path.name}.png"), dpi=160, metadata={"Software": None})
