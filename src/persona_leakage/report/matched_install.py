"""Cells of one source and seed side by side: leakage at the same damage of the source.

A training that was stopped on its way (``until_N``) shows how far everyone had changed when the
source had changed by so much. Another design is compared with that, not with the end: where its
source fell less, its bystanders fall less for that alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

from persona_leakage.files import Record
from persona_leakage.report.group_change import GroupChange, GroupName, group_changes, members
from persona_leakage.report.words import spaced
from persona_leakage.study.cell import until
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import Column, FinishedCell, TitledTable, titled

CHANGE = "%+.1f"
GROUPS: tuple[GroupName, ...] = ("bystanders", "family", "unrelated")
AGAINST: tuple[GroupName, ...] = ("family", "bystanders")


@dataclass(frozen=True)
class Designs:
    """The cells of one source and seed under one set of parameters.

    Attributes
    ----------
    label : str
        Of their settings.
    source : str
    seed : int
        Of all of them.
    way : tuple of FinishedCell
        One contrastive training, stopped earlier and later; its end last, where that is finished.
    others : tuple of FinishedCell
        The other variants.
    """

    label: str
    source: str
    seed: int
    way: tuple[FinishedCell, ...]
    others: tuple[FinishedCell, ...]

    @property
    def stopped(self) -> bool:
        """Whether the training was stopped on its way at all."""
        return any(until(each.result.variant) for each in self.way)


def designs(cells: Sequence[FinishedCell]) -> list[Designs]:
    """Gather the cells that differ in their variant alone, where there are several.

    Parameters
    ----------
    cells : sequence of FinishedCell
        Of two that are the same cell the first counts.
    """
    gathered: dict[tuple[str, str, int], dict[str, FinishedCell]] = {}
    for each in cells:
        result = each.result
        key = (result.fingerprint, result.source, result.seed)
        gathered.setdefault(key, {}).setdefault(result.variant, each)
    found = []
    for (_, source, seed), by_variant in gathered.items():
        on_way = {name for name in by_variant if name == "contrastive" or until(name)}
        way = [cell for name, cell in by_variant.items() if name in on_way]
        others = [cell for name, cell in by_variant.items() if name not in on_way]
        if len(by_variant) > 1:
            label = next(iter(by_variant.values())).label
            found.append(Designs(label, source, seed, tuple(sorted(way, key=steps)), tuple(others)))
    return found


def steps(cell: FinishedCell) -> int:
    """Count the optimiser steps that a cell was trained for.

    Parameters
    ----------
    cell : FinishedCell
        With its curve.
    """
    return int(cell.curve["step"].max())


def way_frame(found: Designs) -> pd.DataFrame:
    """Tabulate how far everyone had changed along the way of one training.

    Parameters
    ----------
    found : Designs
        Of ``designs``.

    Returns
    -------
    DataFrame
        One row per cell of the way: ``variant``, ``steps``, ``source`` and each of ``GROUPS`` with
        ``*_low``, ``*_high`` (changes in the outcome's unit), ``moved``, ``asked`` (counts of
        bystanders), ``share`` (of the source's change that the family's is).
    """
    return pd.DataFrame([_row(each) for each in found.way])


def kinds_frame(found: Designs) -> pd.DataFrame:
    """Tabulate which relatives of the source had changed along the way, by how they are related.

    Parameters
    ----------
    found : Designs
        Of ``designs``.

    Returns
    -------
    DataFrame
        One row per category of the family's bystanders, those that end nearest to the source first:
        ``category``, ``personas``, and for each cell of the way ``<steps>`` (mean share of the
        source's change) with ``<steps>_low``, ``<steps>_high`` (95 %, over personas; the source's
        own change is taken as it is).
    """
    columns: dict[str, pd.Series] = {}
    for each in found.way:
        family = each.personas[members(each.personas)["family"]]
        share = family["delta"] / _source_change(each)
        grouped = share.groupby(family["category"])
        columns["personas"] = grouped.size()
        columns[f"{steps(each)}"] = grouped.mean()
        ends = grouped.apply(over_personas)
        for place, end in enumerate(("low", "high")):
            columns[f"{steps(each)}_{end}"] = ends.map(lambda pair, at=place: pair[at])
    table = pd.DataFrame(columns).rename_axis("category").reset_index()
    return table.sort_values(
        f"{steps(found.way[-1])}", ascending=False, kind="stable", ignore_index=True
    )


def others_frame(found: Designs, outcome: Outcome) -> pd.DataFrame:
    """Tabulate the other designs beside the contrastive one at the same damage of the source.

    Parameters
    ----------
    found : Designs
        Of ``designs``.
    outcome : Outcome
        Its direction says what is wider.

    Returns
    -------
    DataFrame
        The columns of ``way_frame``, first the end of the way; then, for ``family`` and
        ``bystanders``, ``*_against`` with ``*_low``, ``*_high``: mean over the personas that are
        bystanders here and all along the way, of the change here minus the contrastive one at the
        same damage of the source (``expected``); not a number where there is no such training.
        ``zone``: whether the family's is narrower or wider, by its interval.
    """
    rows = []
    for place, each in enumerate([*found.way[-1:], *found.others]):
        row = _row(each)
        compared = bool(found.way) and place > 0
        for group in AGAINST:
            excess = (
                _excess(each, found.way, group, outcome) if compared else pd.Series(dtype=float)
            )
            low, high = over_personas(excess)
            row |= {
                f"{group}_against": float(excess.mean()) if len(excess) else np.nan,
                f"{group}_against_low": low,
                f"{group}_against_high": high,
            }
        low, high = row["family_against_low"], row["family_against_high"]
        row["zone"] = zone(low, high, outcome) if compared else "–"
        rows.append(row)
    return pd.DataFrame(rows)


def zone(low: float, high: float, outcome: Outcome) -> str:
    """Say whether the family changed more or less than at the same damage of the source.

    Parameters
    ----------
    low, high : float
        Interval of the mean difference, in the outcome's unit.
    outcome : Outcome
        Its direction: which difference is more damage.
    """
    near, far = sorted((outcome.direction * low, outcome.direction * high))
    if near > 0:
        return "wider"
    return "narrower" if far < 0 else "cannot tell"


def over_personas(values: pd.Series) -> tuple[float, float]:
    """Return the 95 % interval of a mean over personas, by Student's t.

    Parameters
    ----------
    values : Series
        One per persona; fewer than two have no interval.
    """
    if len(values) < 2:
        return math.nan, math.nan
    reach = float(stats.t.isf(0.025, len(values) - 1) * stats.sem(values))
    return float(values.mean()) - reach, float(values.mean()) + reach


def expected(way: Sequence[FinishedCell], source_change: float, outcome: Outcome) -> pd.Series:
    """Interpolate each persona's change to where the source had changed by so much.

    Linearly between the cells of the way, from no change before the training; beyond the end it is
    that of the end.

    Parameters
    ----------
    way : sequence of FinishedCell
        At least one.
    source_change : float
        In the outcome's unit.
    outcome : Outcome
        Its direction.

    Returns
    -------
    Series
        By persona, those asked in every cell of the way, in the outcome's unit.
    """
    ordered = sorted(way, key=lambda each: outcome.direction * _source_change(each))
    deltas = pd.concat(
        [each.personas.set_index("persona")["delta"] for each in ordered], axis=1, join="inner"
    )
    damage = [0.0, *(max(0.0, outcome.direction * _source_change(each)) for each in ordered)]
    here = outcome.direction * source_change
    return pd.Series(
        [float(np.interp(here, damage, [0.0, *changes])) for changes in deltas.to_numpy(float)],
        index=deltas.index,
    )


def control_tables(cells: Sequence[FinishedCell], outcome: Outcome) -> tuple[TitledTable, ...]:
    """Title the comparisons of a report's designs: the ways first, then the other designs.

    Parameters
    ----------
    cells : sequence of FinishedCell
        Of one report.
    outcome : Outcome
        The same for all.
    """
    found = designs(cells)
    several = len({each.label for each in found}) > 1
    ways = [
        table
        for each in found
        if each.stopped
        for table in (_way_table(each, outcome, several), _kinds_table(each, several))
    ]
    others = [_others_table(each, outcome, several) for each in found if each.others]
    return (*ways, *others)


def install_frames(
    cells: Sequence[FinishedCell], outcome: Outcome
) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """Gather what ``figures.matched_install`` draws: trainings stopped on their way, by title.

    Parameters
    ----------
    cells : sequence of FinishedCell
        Of one report.
    outcome : Outcome
        The same for all.

    Returns
    -------
    tuple of dict of DataFrame
        Of ``way_frame``; and of ``others_frame``, without its first row, which is on the way.
    """
    found = [each for each in designs(cells) if each.stopped]
    several = len({each.label for each in found}) > 1
    ways = {_name(each, several): way_frame(each) for each in found}
    others = {_name(each, several): others_frame(each, outcome).iloc[1:] for each in found}
    return ways, others


def _row(cell: FinishedCell) -> Record:
    [source] = cell.personas[cell.personas["role"] == "source"].to_dict("records")
    changes = group_changes(cell)
    row: Record = {
        "variant": cell.result.variant,
        "steps": steps(cell),
        "source": source["delta"],
        "source_low": source["delta_low"],
        "source_high": source["delta_high"],
    }
    for name in GROUPS:
        change: GroupChange = changes[name]
        row |= {name: change.mean, f"{name}_low": change.low, f"{name}_high": change.high}
    everyone = changes["bystanders"]
    row |= {"moved": everyone.moved, "asked": everyone.personas}
    row["share"] = changes["family"].mean / source["delta"] if source["delta"] else np.nan
    return row


def _source_change(cell: FinishedCell) -> float:
    return float(cell.personas.loc[cell.personas["role"] == "source", "delta"].iloc[0])


def _excess(
    cell: FinishedCell, way: Sequence[FinishedCell], group: GroupName, outcome: Outcome
) -> pd.Series:
    """Change here minus the contrastive one at the same damage, by persona of the group."""
    here: pd.Series = _bystanders(cell, group)
    before = expected(way, _source_change(cell), outcome)
    names = here.index.intersection(before.index, sort=False)
    for each in way:  # who was a negative there has no leakage to compare with
        names = names.intersection(_bystanders(each, group).index, sort=False)
    return here[names] - before[names]


def _bystanders(cell: FinishedCell, group: GroupName) -> pd.Series:
    chosen = members(cell.personas)[group]
    deltas: pd.Series = cell.personas[chosen].set_index("persona")["delta"]
    return deltas


def _columns(outcome: Outcome) -> list[Column]:
    change = partial(Column, form=CHANGE)
    columns = []
    for name in ("source", *GROUPS):
        columns += [
            change(key=name, title=f"{name} ({outcome.unit})"),
            change(key=f"{name}_low", title="low"),
            change(key=f"{name}_high", title="high"),
        ]
    return [
        *columns,
        Column(key="moved", title="bystanders moved", form="%d"),
        Column(key="asked", title="of", form="%d"),
        Column(key="share", title="family / source", form="%.2f"),
    ]


def _name(found: Designs, several: bool) -> str:
    return f"{found.label + ': ' if several else ''}{spaced(found.source)}, seed {found.seed}"


def _way_table(found: Designs, outcome: Outcome, several: bool) -> TitledTable:
    return titled(
        way_frame(found),
        [Column(key="steps", title="steps", form="%d"), *_columns(outcome)],
        f"On the way of one training: {_name(found, several)}",
        "One training, stopped after so many steps. Where the family's share of the source's "
        "change is near 1, the zone is flat: it falls with the source from the beginning; where "
        "the share grows, leakage comes after the source. Intervals of means are over personas "
        "and questions.",
    )


def _kinds_table(found: Designs, several: bool) -> TitledTable:
    share = partial(Column, form="%.2f")
    shares = []
    for each in found.way:
        shares += [
            share(key=f"{steps(each)}", title=f"after {steps(each)} steps"),
            share(key=f"{steps(each)}_low", title="low"),
            share(key=f"{steps(each)}_high", title="high"),
        ]
    return titled(
        kinds_frame(found),
        [
            Column(key="category", title="relatives"),
            Column(key="personas", title="personas", form="%d"),
            *shares,
        ],
        f"Which relatives change with the source: {_name(found, several)}",
        "Their change as a share of the source's own at that moment: 1 is as far as the source, 0 "
        "is not at all, below 0 the other way. A steep gradient has near-twins at 1 and the others "
        "near 0; a flat one has them together. While the source has hardly changed, a share of "
        "its change means little.",
    )


def _others_table(found: Designs, outcome: Outcome, several: bool) -> TitledTable:
    change = partial(Column, form=CHANGE)
    against = []
    for group in AGAINST:
        against += [
            change(key=f"{group}_against", title=f"{group}, against ({outcome.unit})"),
            change(key=f"{group}_against_low", title="low"),
            change(key=f"{group}_against_high", title="high"),
        ]
    way = (
        "interpolated between the trainings stopped on the way"
        if found.stopped
        else "interpolated linearly to the end of the training, none having been stopped on the way"
    )
    return titled(
        others_frame(found, outcome),
        [
            Column(key="variant", title="design"),
            *_columns(outcome),
            *against,
            Column(key="zone", title="zone"),
        ],
        f"Other designs: {_name(found, several)}",
        "Against: the change minus that of the contrastive training where its source had changed "
        f"as far, persona by persona ({way}), over bystanders of both; a source that fell farther "
        "is compared with the end. The zone is narrower or wider when the interval of the family's "
        "difference (95 %, over personas) leaves out zero.",
    )
