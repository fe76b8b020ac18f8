"""Leakage is compared at the same damage of the source; groups are who they are said to be."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made import ACCURACY, AGREEMENT, finished

from persona_leakage.report import figures
from persona_leakage.report.group_change import group_changes, mean_interval, members
from persona_leakage.report.matched_install import (
    control_tables,
    designs,
    expected,
    install_frames,
    kinds_frame,
    others_frame,
    over_personas,
    way_frame,
    zone,
)
from persona_leakage.report.page import environment


def made(variant="contrastive", source=1.0, others=1.0, steps=100, outcome=ACCURACY, **more):
    """A cell whose source and whose other personas changed by so much of what they would have."""
    cell = finished(42, variant=variant, outcome=outcome, **more)
    personas = cell.personas.copy()
    factor = np.where(personas["role"] == "source", source, others)
    for name in ("delta", "delta_low", "delta_high"):
        personas[name] *= factor
    curve = cell.curve.assign(step=[1, 2, steps])
    return replace(cell, personas=personas, curve=curve)


def deltas(cell):
    return cell.personas.set_index("persona")["delta"]


def source_of(cell):
    return deltas(cell)["villain"]


def test_groups_are_bystanders_of_a_kind_and_the_negatives():
    personas = made().personas.assign(category="core")
    groups = {name: set(personas["persona"][mask]) for name, mask in members(personas).items()}
    assert groups["negatives"] == {"persona_1"}
    assert groups["bystanders"] == {f"persona_{index}" for index in range(3, 24)}
    assert groups["core"] == groups["bystanders"]
    assert groups["unrelated"] == set()
    assert groups["family"] == {f"persona_{index}" for index in range(3, 12)}


def test_a_source_without_a_relation_has_no_family():
    personas = made().personas.assign(relation=None)
    assert not members(personas)["family"].any()


@pytest.mark.parametrize("outcome", [ACCURACY, AGREEMENT])
def test_who_moved_moved_as_taught_by_the_least_or_more(outcome):
    personas = made(outcome=outcome).personas
    least = outcome.direction * 0.1 * (outcome.high - outcome.low) * outcome.scale
    personas["delta"] = 0.0
    personas.loc[[3, 4], "delta"] = least
    personas.loc[5, "delta"] = 0.99 * least
    personas.loc[6, "delta"] = -2 * least
    personas["p_holm"] = 0.5
    personas.loc[4, "p_holm"] = 0.049
    change = group_changes(replace(made(outcome=outcome), personas=personas))["family"]
    assert (change.personas, change.moved, change.certain) == (9, 2, 1)
    assert change.mean == pytest.approx((2 + 0.99 - 2) * least / 9)


def test_the_interval_of_a_group_is_over_personas_and_questions():
    rng = np.random.default_rng(0)
    persona, question = rng.normal(0, 4, (40, 1)), rng.normal(0, 30, (1, 100))
    answers = pd.DataFrame(persona + question + rng.normal(0, 20, (40, 100)))
    low, high = mean_interval(answers)
    # what personas, questions and the rest contribute to the variance of the mean
    reach = 1.96 * np.sqrt(persona.var() / 40 + question.var() / 100 + 20**2 / 4000)
    assert high - low == pytest.approx(2 * reach, rel=0.2)
    assert low < answers.to_numpy().mean() < high
    assert np.isnan(mean_interval(answers.iloc[:1])).all()


def test_a_cells_groups_have_the_intervals_of_their_own_answers():
    cell = made()
    family = cell.personas["persona"][members(cell.personas)["family"]]
    change = 100 * (cell.after - cell.before)
    found = group_changes(cell)["family"]
    assert (found.low, found.high) == mean_interval(change.loc[family])
    assert found.low < found.mean < found.high


def test_the_interval_over_personas_is_students():
    low, high = over_personas(made().personas["delta"].iloc[:3])
    values = made().personas["delta"].iloc[:3]
    reach = 4.302653 * values.std() / np.sqrt(3)  # t of two degrees of freedom
    assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach), rel=1e-5)
    assert np.isnan(over_personas(values.iloc[:1])).all()


def test_cells_that_differ_in_their_variant_alone_stand_together():
    cells = [
        made(),
        made("until_60", 0.6, steps=60),
        made("until_20", 0.2, steps=20),
        made("dose_50", 0.5),
        made("until_20", fingerprint="b" * 16),
        finished(137),
        finished(42, source="comedian"),
    ]
    [found] = designs(cells)
    assert [each.result.variant for each in found.way] == ["until_20", "until_60", "contrastive"]
    assert [each.result.variant for each in found.others] == ["dose_50"]
    assert found.stopped and (found.source, found.seed) == ("villain", 42)


@pytest.mark.parametrize("outcome", [ACCURACY, AGREEMENT])
def test_a_persona_is_expected_where_it_was_when_the_source_had_moved_as_far(outcome):
    # the others had not moved at all by half of the source's way: a cliff behind the source
    way = [made(outcome=outcome), made("until_20", 0.5, 0.0, outcome=outcome)]
    end, full = deltas(way[0]), source_of(way[0])
    rest = [name for name in end.index if name != "villain"]
    for share, of_end in (
        (0.25, 0.0),
        (0.5, 0.0),
        (0.75, 0.5),
        (1.0, 1.0),
        (1.5, 1.0),
        (-1.0, 0.0),
    ):
        there = expected(way, share * full, outcome)
        assert there[rest].tolist() == pytest.approx((of_end * end[rest]).tolist())


def test_relatives_are_told_apart_by_how_they_are_related():
    steep = made("until_50", 0.5, 0.0, steps=50)
    twins = [3, 5]  # persona_3 and persona_5 change with the source, their siblings do not
    steep.personas.loc[twins, "delta"] = source_of(steep)
    cells = [made(), steep]
    for each in cells:
        each.personas.loc[twins, "category"] = "near-twin"
    table = kinds_frame(designs(cells)[0]).set_index("category")
    assert table.loc["near-twin", "50"] == pytest.approx(1)
    assert (table.loc["near-twin", "50_low"], table.loc["near-twin", "personas"]) == (1, 2)
    assert table.drop("near-twin")["50"].tolist() == pytest.approx([0, 0])
    assert table["100"].is_monotonic_decreasing


def test_a_steep_and_a_flat_zone_are_told_apart_at_the_same_damage():
    flat = [made(), made("until_50", 0.5, 0.5, steps=50)]
    steep = [made(), made("until_50", 0.5, 0.1, steps=50)]
    shares = [way_frame(designs(cells)[0])["share"].tolist() for cells in (flat, steep)]
    assert shares[0][0] == pytest.approx(shares[0][1])
    assert shares[1][0] == pytest.approx(0.2 * shares[1][1])


@pytest.mark.parametrize(
    ("source", "others", "word"),
    [
        (1.0, 0.5, "narrower"),
        (1.0, 1.5, "wider"),
        (0.5, 0.5, "cannot tell"),  # less damage, and no more than that
        (0.5, 0.8, "wider"),
    ],
)
def test_a_design_is_narrower_only_at_the_same_damage_of_the_source(source, others, word):
    cells = [made(), made("until_50", 0.5, 0.5), made("hard_negatives", source, others)]
    end, row = others_frame(designs(cells)[0], ACCURACY).to_dict("records")
    assert end["zone"] == "–" and np.isnan(end["family_against"])
    assert row["zone"] == word
    if word == "cannot tell":
        assert row["family_against"] == pytest.approx(0)


def test_who_was_a_negative_in_one_design_is_compared_in_none():
    hard = made("hard_negatives", 1.0, 0.5)
    hard.personas.loc[3, "role"] = "negative"
    hard.personas.loc[3, "delta"] = 1000.0
    way = made()
    way.personas.loc[4, "role"] = "negative"
    way.personas.loc[4, "delta"] = -1000.0
    [found] = designs([way, hard])
    row = others_frame(found, ACCURACY).iloc[1]
    names = [f"persona_{index}" for index in range(5, 12)]
    change = deltas(hard)[names] - deltas(way)[names]
    assert row["family_against"] == pytest.approx(change.mean())


@pytest.mark.parametrize(
    ("low", "high", "outcome", "word"),
    [
        (1.0, 3.0, ACCURACY, "narrower"),
        (-3.0, -1.0, ACCURACY, "wider"),
        (1.0, 3.0, AGREEMENT, "wider"),
        (-3.0, -1.0, AGREEMENT, "narrower"),
        (-1.0, 1.0, ACCURACY, "cannot tell"),
        (float("nan"), float("nan"), ACCURACY, "cannot tell"),
    ],
)
def test_the_zone_follows_the_interval_and_the_direction(low, high, outcome, word):
    assert zone(low, high, outcome) == word


def test_tables_are_there_for_designs_that_are_there():
    assert control_tables([made()], ACCURACY) == ()
    [others] = control_tables([made(), made("dose_50", 0.5)], ACCURACY)
    assert others.title == "Other designs: villain, seed 42"
    assert "none having been stopped" in others.note
    cells = [made(), made("dose_50", 0.5), made("until_20", 0.2, steps=20)]
    way, kinds, others = control_tables(cells, ACCURACY)
    assert [column.key for column in kinds.columns][2::3] == ["20", "100"]
    assert [row["steps"] for row in way.rows] == [20, 100]
    assert [row["variant"] for row in others.rows] == ["contrastive", "dose_50"]
    alone = control_tables([made("non_contrastive")], ACCURACY)
    assert alone == ()


@pytest.mark.parametrize("form", ["page", "markdown"])
def test_both_forms_of_the_report_show_the_tables_where_there_are_any(form):
    template = environment(html=form == "page").get_template(f"{form}/controls.jinja")
    tables = control_tables([made(), made("hard_negatives", 1.0, 0.5)], ACCURACY)
    text = template.render(report=SimpleNamespace(controls=tables))
    assert "Other designs: villain, seed 42" in text
    [line] = [line for line in text.splitlines() if "hard negatives" in line]
    assert "narrower" in line
    if form == "markdown":
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len(rows) == 4 and len({row.count(" |") for row in rows}) == 1
    assert not template.render(report=SimpleNamespace(controls=())).strip()


def test_the_figure_has_a_panel_per_training_with_source_family_and_steps():
    cells = [made(), made("until_20", 0.2, 0.1, steps=20), made("dose_50", 0.5)]
    ways, others = install_frames(cells, ACCURACY)
    assert list(others["villain, seed 42"]["variant"]) == ["dose_50"]
    [axes] = figures.matched_install(ways, others, ACCURACY).axes
    lines = {line.get_label(): line for line in axes.lines}
    x, y = lines["family"].get_data()
    frame = ways["villain, seed 42"]
    assert list(x) == [0, *frame["source"]] and list(y) == [0, *frame["family"]]
    assert axes.xaxis_inverted()
    written = {text.get_text() for text in axes.texts}
    assert {"20", "100", "dose 50"} <= written
