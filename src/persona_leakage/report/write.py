"""The folder of a report: tables, figures, the page, Markdown and data."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from persona_leakage.analysis.correlation import correlation
from persona_leakage.analysis.evidence import people_of
from persona_leakage.files import Record, read_json, scratch, whole, write_json, write_text
from persona_leakage.report.foresight_tables import Foreseen
from persona_leakage.report.group_change import group_changes
from persona_leakage.report.matched_install import install_frames
from persona_leakage.report.page import Pictures, render
from persona_leakage.report.prose import answer, findings_table, how_sure, reasons
from persona_leakage.report.published import Published, analyse
from persona_leakage.report.summary import SourceChange
from persona_leakage.report.tables import StudyTables, study_tables
from persona_leakage.report.words import spaced
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import FinishedCell, TitledTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCE = Path("reference")
PICTURES = ("gradient",)  # of the cell of a report that has one; the page draws those of all
ACCURACY = Outcome(
    name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp"
)  # what the original measured


def write_report(
    folder: Path,
    title: str,
    cells: Sequence[FinishedCell],
    missing: Sequence[str],
    provenance: Record,
    foresight: Path | None = None,
) -> None:
    """Write ``report.html``, ``report.md``, ``summary.json``, tables and figures into a folder.

    Parameters
    ----------
    folder : Path
        Is replaced as a whole.
    title : str
        As for ``tables.study_tables``.
    cells : sequence of FinishedCell
        Likewise.
    missing : sequence of str
        Likewise.
    provenance : dict
        Likewise.
    foresight : Path or None
        What the stage of that name wrote, where it is one study's report.
    """
    published = analyse(
        *(
            pd.read_csv(REFERENCE / f"{name}.csv")
            for name in ("headline", "villain_gradient", "outliers")
        )
    )
    tables = study_tables(
        title, cells, missing, provenance, published, _foresight_tables(foresight)
    )
    with whole(folder) as partial, scratch() as aside:
        partial.mkdir()
        for name in ("headline", "personas", "curves", "predictors", "outliers"):
            table: pd.DataFrame = getattr(tables, name)
            if not table.empty:
                table.to_csv(
                    partial / f"{name}.csv",
                    index=False,
                    float_format="%.6g",
                    lineterminator="\n",
                )
        write_json(partial / "metrics.json", metrics(tables))
        write_json(partial / "summary.json", summary(tables))
        if len(tables.cells) == 1:
            [each] = tables.cells
            for name in PICTURES:
                shutil.copyfile(each.folder / f"{name}.png", partial / f"{each.cell}_{name}.png")
        for file in sorted(foresight.glob("*.png")) if foresight else ():
            shutil.copyfile(file, partial / f"foresight_{file.name}")
        pictures = _draw(tables, partial, aside)
        for name, text in render(tables, pictures).items():
            write_text(partial / name, text)


COMPARED = (
    "source_delta",
    "bystander_delta",
    "unrelated_delta",
    "spearman_raw",
    "spearman_centred",
)


def _of_untrained_sources(folder: Path) -> list[Path]:
    """Name the figures of what was foreseen: of sources left out, or families of one source."""
    found = {left: sorted(folder.glob(f"foresight_*_{left}.png")) for left in ("source", "family")}
    return found["source"] or found["family"]


def _foresight_tables(folder: Path | None) -> Foreseen:
    if folder is None:
        return Foreseen()
    parts: dict[str, dict[str, Record]] = read_json(folder / "tables.json")
    tables = {
        part: tuple(TitledTable.model_validate(table) for table in named.values())
        for part, named in parts.items()
    }
    return Foreseen(**tables)


def metrics(tables: StudyTables) -> Record:
    """Return the few numbers that `dvc metrics` and `dvc exp show` compare studies and settings by.

    Their names are the same whatever the cells are called. Every cell's own are in
    ``headline.csv``.

    Parameters
    ----------
    tables : StudyTables
        What the report says.

    Returns
    -------
    dict
        Means over the cells that are judged (``COMPARED``; over all where none is), how many these
        ``cells`` are, and how many personas that were never trained ``broke``.
    """
    cells = tables.judged or tables.cells
    means = pd.DataFrame([each.result.headline for each in cells])[list(COMPARED)].mean()
    return {
        "cells": len(cells),
        "broke": len(tables.broken),
        **{name: round(float(means[name]), 3) for name in COMPARED},
    }


def summary(tables: StudyTables) -> Record:
    """Return everything the page says, as data.

    Parameters
    ----------
    tables : StudyTables
        What the report says.
    """
    outcome = tables.outcome
    return {
        "verdict": {
            **asdict(tables.verdict),
            "in_words": answer(tables.verdict, tables.broken_by_group, outcome),
            "how_sure": how_sure(tables.verdict, outcome),
            "findings_table": findings_table(
                tables.verdict, tables.broken_by_group, outcome
            ).model_dump()["rows"],
            "reasons": reasons(tables.verdict, outcome),
        },
        "outcome": outcome.model_dump(),
        "params": {label: each.result.params for label, each in tables.settings.items()},
        "cells": [{"label": each.label, **_cell(each, tables.published)} for each in tables.cells],
        "controls": [table.model_dump() for table in tables.controls],
        "foresight": {
            part: [table.model_dump() for table in shown]
            for part, shown in (
                ("first", tables.foresight.first),
                ("more", tables.foresight.more),
            )
        },
        "missing": tables.missing,
        "broken": tables.broken.to_dict("records"),
        "seeds": tables.over_seeds.to_dict("records"),
        "mixed_models": [
            {"study": group.study, "source": group.source, **asdict(group.mixed)}
            for group in tables.groups
        ],
        "boundary_log_width": asdict(tables.widths) if tables.widths else None,
        "provenance": tables.provenance,
    }


def _cell(each: FinishedCell, published: Published) -> Record:
    """Return a cell's result without what the report says once for all cells, and its groups."""
    source = each.personas[each.personas["role"] == "source"].iloc[0]
    changes = group_changes(each)
    panel = None
    if each.result.source == published.source:
        among = each.personas["persona"].isin(published.gradient["persona"])
        same = each.personas[among & (each.personas["role"] == "bystander")]
        panel = asdict(correlation(same["raw"], same["delta"], "spearman", seed=each.result.seed))
    return each.result.model_dump(exclude={"params", "questions", "outcome"}) | {
        "source_change": {name: float(source[name]) for name in SourceChange.model_fields},
        "changes": {name: change.model_dump() for name, change in changes.items()},
        "published_panel": panel,
    }


def _draw(tables: StudyTables, folder: Path, aside: Path) -> Pictures:
    """Draw what spans cells, SVG and PNG; the page shows what its script does not draw."""
    # here, since nothing but drawing needs matplotlib
    from persona_leakage.report import figures
    from persona_leakage.report.words_geometry_figure import words_geometry

    judged, outcome = tables.judged, tables.outcome
    published = aside / "published"
    figures.save(_published_figure(tables.published), published)
    if not judged:
        return Pictures({}, (), published.with_suffix(".svg"))
    panels = {
        (group.name, str(each.result.seed)): each.personas
        for group in tables.groups
        for each in group.cells
    }
    figures.save(figures.small_multiples(panels, outcome), folder / "seeds")
    for group in tables.groups[: figures.MOST_PANELS]:  # of more, nobody looks at each
        figure = words_geometry(
            group.personas,
            group.cells[0].pairs,
            group.words_or_geometry,
            people_of(group.personas),
            spaced(group.name),
            outcome,
        )
        figures.save(figure, folder / f"words_geometry_{group.name.replace(' ', '_')}")
    pictures_by_name: dict[str, tuple[str, Figure]] = {}
    predictors, rows = (
        pd.concat(
            [
                frame(each).assign(source=group.name)
                for group in tables.groups
                for each in group.cells
            ],
            ignore_index=True,
        )
        for frame in (lambda each: each.result.predictors.frame(), lambda each: each.personas)
    )
    if predictors["rho"].notna().any():
        layers = {group.name: group.cells[0].result.layer for group in tables.groups}
        beyond = [
            name
            for name, ranked in predictors.groupby("source", sort=False)
            if figures.beyond_chance(ranked)
        ]
        pictures_by_name["layers"] = (
            "How the change follows the geometry of each layer, mean over seeds, given the "
            "baseline and the length of the prompt. The steepest layer of many is steep by "
            "selection: with all layers and words counted "
            + (
                f"rho is beyond chance where it is marked, for {spaced(', '.join(beyond))}."
                if beyond
                else "none has a rho beyond chance."
            ),
            figures.layer_sweep(predictors, layers),
        )
    deltas = rows[rows["role"] != "negative"].pivot_table(
        index="persona", columns="source", values="delta"
    )
    categories = rows.drop_duplicates("persona").set_index("persona")["category"]
    pictures_by_name["heat_map"] = (
        "Mean change of every persona that was not taught as a negative, by category.",
        figures.heat_map(deltas, categories, outcome),
    )
    ways, designs = install_frames(tables.cells, outcome)
    if ways:
        pictures_by_name["matched_install"] = (
            "Along one training: how far each group had changed when the source had changed by so "
            "much, with 95 % intervals; numbers are optimiser steps. On the dashed "
            "line a group changes with the source. Diamonds: other designs.",
            figures.matched_install(ways, designs, outcome),
        )
    others = {}
    for name, (what, figure) in pictures_by_name.items():
        figures.save(figure, folder / name)
        others[what] = folder / f"{name}.svg"
    return Pictures(others, _of_untrained_sources(folder), published.with_suffix(".svg"))


def _published_figure(published: Published) -> "Figure":
    from persona_leakage.report import figures

    gradient = published.gradient
    table = pd.DataFrame(
        {
            "persona": gradient["persona"],
            "role": [
                "source" if name == "villain" else "bystander" for name in gradient["persona"]
            ],
            "raw": gradient["cosine_to_source"],
            "after": gradient["post_accuracy"],
            "after_low": gradient["low"],
            "after_high": gradient["high"],
        }
    )
    title = "published: villain, one seed"
    return figures.after_training(table, published.boundary, title, ACCURACY)
