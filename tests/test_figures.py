"""Figures say what the outcome is, show every row, keep labels apart, and are the same bytes."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from made import ACCURACY, AGREEMENT, persona_frame
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection

from persona_leakage.analysis.boundary import fit, no_boundary
from persona_leakage.report import figures


def points(figure):
    """Every point that is drawn, over all roles."""
    collections = figure.axes[0].collections
    marks = [each.get_offsets() for each in collections if isinstance(each, PathCollection)]
    return np.concatenate([np.asarray(each) for each in marks])


def curves(figure):
    """Lines that the legend names or that follow many points: no grid, axis or lead of a label."""
    return [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]


def boundary_of(table):
    rows = table[table["role"] == "bystander"]
    return fit(rows, ACCURACY, seed=0, resamples=60)


@pytest.mark.parametrize(
    ("outcome", "change", "level"),
    [
        (ACCURACY, "change in accuracy (pp)", "accuracy after training (%)"),
        (AGREEMENT, "change in agreement (points)", "agreement after training (points)"),
    ],
)
def test_axes_are_named_after_the_outcome(outcome, change, level):
    table = persona_frame(outcome=outcome)
    gradient = figures.scatter(table, "title", outcome)
    assert gradient.axes[0].get_ylabel() == change
    assert gradient.axes[0].get_xlabel() == "cosine to the source, base model"
    centred = figures.scatter(table, "title", outcome, kind="centred")
    assert centred.axes[0].get_xlabel() == "mean-centred cosine to the source, base model"
    after = figures.after_training(
        table, no_boundary("few", 3, outcome.direction), "title", outcome
    )
    assert after.axes[0].get_ylabel() == level
    both = figures.before_after(table, "title", outcome)
    assert both.axes[0].get_xlabel() == level.replace(" after training", "")
    deltas = table.set_index("persona")[["delta"]]
    categories = table.set_index("persona")["category"]
    heat = figures.heat_map(deltas, categories, outcome)
    assert heat.axes[1].get_ylabel() == f"{change}, mean over seeds"


@pytest.mark.parametrize("outcome", [ACCURACY, AGREEMENT])
def test_the_points_are_the_rows_of_the_table(outcome):
    table = persona_frame(outcome=outcome)
    drawn = points(figures.scatter(table, "title", outcome))
    expected = table[["raw", "delta"]].to_numpy()
    assert sorted(map(tuple, drawn.round(9))) == sorted(map(tuple, expected.round(9)))
    drawn = points(
        figures.after_training(table, no_boundary("few", 3, outcome.direction), "title", outcome)
    )
    expected = np.column_stack([table["raw"], outcome.scale * table["after"]])
    assert sorted(map(tuple, drawn.round(9))) == sorted(map(tuple, expected.round(9)))


def test_a_curve_is_drawn_where_there_is_a_boundary_and_only_there():
    table = persona_frame()
    boundary = boundary_of(table)
    fitted = replace(boundary, reason=None)
    assert boundary.has_curve
    assert len(curves(figures.after_training(table, fitted, "title", ACCURACY))) == 1
    unknown = replace(boundary, reason="the middle of the fall lies beyond the nearest persona")
    figure = figures.after_training(table, unknown, "title", ACCURACY)
    assert curves(figure) == []
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert not any("curve" in label or "band" in label for label in labels)


def labels_of(table, kind="raw"):
    figure = figures.scatter(table, "title", ACCURACY)
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = figure.axes[0].texts
    return {text.get_text(): text.get_window_extent(renderer) for text in texts}, figure


def crowd(count):
    table = persona_frame(count=count)
    return table.assign(raw=0.95 + (table["raw"] - 0.95) / 10)  # all in a narrow band


@pytest.mark.parametrize("table", [persona_frame(), crowd(60)], ids=["some", "crowd"])
def test_no_label_lies_over_another(table):
    boxes, figure = labels_of(table)
    assert len(boxes) >= 8
    every = list(boxes.values())
    frame = figure.axes[0].get_window_extent()
    for number, box in enumerate(every):
        assert not any(box.overlaps(other) for other in every[number + 1 :])
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1


def test_those_that_changed_most_are_labelled_first():
    table = crowd(80)
    boxes, _ = labels_of(table)
    assert len(boxes) <= figures.MOST_LABELS
    most = table.loc[table["delta"].abs().nlargest(figures.MOST_LABELS).index, "persona"]
    assert set(boxes) <= {name.replace("_", " ") for name in most}
    assert most.iloc[0].replace("_", " ") in boxes


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_same_figure_is_the_same_bytes(ending, tmp_path):
    table = persona_frame()
    for name in ("once", "again"):
        figures.save(figures.scatter(table, "title", ACCURACY), tmp_path / name)
    assert (tmp_path / f"once.{ending}").read_bytes() == (tmp_path / f"again.{ending}").read_bytes()
    assert (tmp_path / f"once.{ending}").stat().st_size > 5_000


def test_names_that_differ_behind_a_dot_are_different_files(tmp_path):
    for rate in ("0.1", "0.2"):
        figure = figures.scatter(persona_frame(), rate, ACCURACY)
        figures.save(figure, tmp_path / f"learning_rate={rate}")
    assert len(list(tmp_path.iterdir())) == 4


def test_importing_the_figures_chooses_no_backend():
    code = (
        "import matplotlib; before = matplotlib.rcParams._get('backend');"
        "import persona_leakage.report.figures;"
        "assert matplotlib.rcParams._get('backend') is before, matplotlib.rcParams['backend']"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_an_axis_of_names_is_bounded_and_says_so():
    table = persona_frame(count=figures.MOST_ROWS + 50)
    axes = figures.before_after(table, "title", ACCURACY).axes[0]
    assert len(axes.get_yticks()) == figures.MOST_ROWS
    assert axes.get_title(loc="left").startswith("title (the 150 of 200 personas")
    shown = {text.get_text() for text in axes.get_yticklabels()}
    assert table.loc[table["delta"].abs().idxmax(), "persona"].replace("_", " ") in shown


def test_bars_of_a_sweep_are_its_rows():
    table = pd.DataFrame(
        {
            "learning_rate": [1e-5, 5e-6],
            "epochs": [3, 20],
            "source_delta": [-12.0, -30.0],
            "bystander_delta": [-1.0, -4.0],
            "spearman_raw": [float("nan"), -0.6],
        }
    )
    axes = figures.sweep_bars(table, "title", ACCURACY).axes[0]
    assert sorted(bar.get_width() for bar in axes.patches) == [-30, -12, -4, -1]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["lr 1e-05, 3 epochs\nrho –", "lr 5e-06, 20 epochs\nrho -0.60"]


def test_a_sweep_of_layers_marks_each_study_layer():
    rows = [
        {"source": source, "predictor": f"raw@{layer}", "rho": -layer / 100, "p": p}
        for source in ("villain", "comedian")
        for layer in (5, 10, 15)
        for p in ((0.01, 0.02, 0.4) if (source, layer) == ("villain", 15) else (0.04, 0.3, 0.9))
    ]
    figure = figures.layer_sweep(pd.DataFrame(rows), {"villain": 10, "comedian": 15})
    for axes, layer in zip(figure.axes, (10, 15), strict=True):
        upright = [line for line in axes.lines if list(line.get_xdata()) == [layer, layer]]
        assert len(upright) == 1
        assert axes.lines[0].get_ydata() == pytest.approx([-0.05, -0.1, -0.15])
    # the steepest of many is marked only where it is beyond chance on most seeds
    assert [axes.lines[0].get_markevery() for axes in figure.axes] == [[2], []]


def test_the_work_of_placing_labels_does_not_grow_with_the_personas(monkeypatch):
    seen = []
    monkeypatch.setattr(
        figures, "adjust_text", lambda texts, x, *_, **__: seen.append((len(texts), len(x)))
    )
    figures.scatter(crowd(1000), "made", ACCURACY)
    assert seen[0] == (figures.MOST_LABELS, figures.MOST_OBSTACLES)
    assert len(seen) <= figures.ROUNDS
    # boxes of labels that were placed are in the way of those after them: four corners each
    assert max(points for _, points in seen) <= figures.MOST_OBSTACLES + 4 * figures.MOST_LABELS


def test_a_figure_of_panels_is_bounded_and_says_so():
    table = persona_frame()
    cells = {(f"study@{run}", str(run)): table for run in range(200)}
    figure = figures.small_multiples(cells, ACCURACY)
    assert len(figure.axes) == figures.MOST_PANELS**2
    assert "12 of 200 rows, 12 of 200 seeds" in figure.get_suptitle()
    few = figures.small_multiples(dict(list(cells.items())[:2]), ACCURACY)
    assert (len(few.axes), few.get_suptitle()) == (4, "")
