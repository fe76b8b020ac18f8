"""What was foreseen is shown whole: every persona in its source's panel, every method in a row."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from persona_leakage.report.foresight_figure import foresight
from persona_leakage.report.foresight_tables import (
    kinds_table,
    methods_table,
    sources_table,
    trust,
)

WHAT = "change in agreement (points)"
JUDGED = pd.DataFrame(
    {
        "method": ["js", "words"],
        "contender": [True, False],
        **{
            f"{key}{end}": [0.4, 0.1]
            for key in ("r2", "rho", "gain")
            for end in ("", "_low", "_high")
        },
    }
)


def rows(sources):
    random = np.random.default_rng(0)
    parts = [
        pd.DataFrame(
            {
                "source": source,
                "persona": [f"p{number}" for number in range(7)],
                "family": [source, source, *["unrelated"] * 5],
                "delta": random.normal(size=7),
            }
        )
        for source in sources
    ]
    return pd.concat(parts, ignore_index=True)


def around(prediction):
    return pd.DataFrame({"low": prediction - 1, "high": prediction + 1})


def drawn(axes):
    marks = [each.get_offsets() for each in axes.collections if isinstance(each, PathCollection)]
    return {tuple(point) for each in marks for point in np.asarray(each).round(6)}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_source_has_a_panel_with_every_persona(count):
    sources = [f"source_{number}" for number in range(count)]
    frame = rows(sources)
    prediction = pd.Series(np.linspace(-1, 1, len(frame)), index=frame.index)
    figure = foresight(frame, prediction, around(prediction), WHAT)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == [f"source {number}" for number in range(count)]
    for axes, source in zip(shown, sources, strict=True):
        mine = frame["source"] == source
        expected = zip(prediction[mine].round(6), frame.loc[mine, "delta"].round(6), strict=True)
        assert drawn(axes) == set(expected)


def test_the_axes_have_the_unit_of_the_outcome():
    frame = rows(["one", "two"])
    figure = foresight(frame, frame["delta"], around(frame["delta"]), WHAT)
    assert figure.get_supylabel() == "observed change in agreement (points)"
    assert figure.get_supxlabel() == "predicted change in agreement (points)"


@pytest.mark.parametrize("left_out", ["source", "family"])
def test_the_table_says_what_was_left_out_and_what_the_gain_is_over(left_out):
    table = methods_table(JUDGED, "words", left_out, WHAT)
    assert left_out in table.title and WHAT in table.title
    assert [row["method"] for row in table.rows] == ["js", "words"]
    assert "R2 over words" in [column.title for column in table.columns]


def test_the_first_table_is_narrow_and_says_in_a_sentence_how_far_to_trust_it():
    table = kinds_table(JUDGED, "source", WHAT, "words")
    assert [column.key for column in table.columns] == ["method", "r2", "rho"]
    assert table.rows[0] == {
        "method": "js",
        "r2": "+0.40 [+0.40,\u00a0+0.40]",
        "rho": "+0.40 [+0.40,\u00a0+0.40]",
    }
    assert table.rows[1]["method"] == "words (make predict)"
    assert table.rows[1]["rho"].endswith("not the best")
    assert "both the sizes and the order of the changes are foreseen" in table.note


@pytest.mark.parametrize(
    ("r2", "rho", "said"),
    [
        (0.1, 0.1, "both the sizes and the order"),
        (0.1, -0.1, "the sizes of the changes are foreseen, their order is not"),
        (-0.1, 0.1, "the order of the personas is foreseen, the sizes are not"),
        (-0.1, -0.1, "neither the sizes nor the order"),
        (float("nan"), float("nan"), "neither the sizes nor the order"),
    ],
)
def test_nothing_is_foreseen_whose_interval_holds_nought(r2, rho, said):
    row = {"method": "js", "r2": 0.5, "rho": 0.5, "r2_high": 0.9, "rho_high": 0.9}
    assert trust(row | {"r2_low": r2, "rho_low": rho}, "source").startswith(
        f"For a source left out of the fit {said}"
    )


def test_the_table_of_sources_says_what_was_foreseen_and_from_what():
    frame = pd.DataFrame(
        {
            "source": ["one"],
            "personas": [7],
            "r2": [0.2],
            "rho": [0.5],
            "error": [3.0],
            "covered": [0.93],
        }
    )
    table = sources_table(frame, "js", WHAT, 0.8)
    assert WHAT in table.title and "js" in table.title
    assert "inside a 80 % interval" in table.note
