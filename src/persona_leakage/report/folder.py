"""Writing a report's folder: tables, study-wide figures, the page, Markdown and data."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from persona_leakage.files import Record, whole, write_json, write_text
from persona_leakage.report import figures
from persona_leakage.report.conclusion import (
    Finished,
    Report,
    across_cells,
    beside_published,
    finding_table,
    for_machines,
    headline_table,
    judged,
    long_table,
    render,
    summary,
    verdict,
)
from persona_leakage.report.published import Published, analyse

REFERENCE = Path("reference")


def write_report(
    folder: Path,
    title: str,
    cells: Sequence[Finished],
    missing: Sequence[str],
    provenance: Record,
) -> None:
    """Write ``report.html``, ``report.md``, ``summary.json``, tables and figures into a folder.

    The arguments are those of ``report.Report``.
    """
    published = analyse(
        pd.read_csv(REFERENCE / "headline.csv"),
        pd.read_csv(REFERENCE / "villain_gradient.csv"),
        pd.read_csv(REFERENCE / "outliers.csv"),
    )
    across = across_cells(cells)
    conclusion = verdict(cells, across)
    several = len({finished.study for finished in cells}) > 1
    with whole(folder) as partial, tempfile.TemporaryDirectory() as scratch:
        partial.mkdir()
        headline_table(cells).to_csv(partial / "headline.csv", index=False, float_format="%.6g")
        for name, table in {
            "personas": long_table(cells, "table"),
            "curves": long_table(cells, "curve"),
            "predictors": finding_table(cells, "predictors"),
            "outliers": finding_table(cells, "outliers"),
        }.items():
            if not table.empty:
                table.to_csv(partial / f"{name}.csv", index=False, float_format="%.6g")
        write_json(partial / "metrics.json", summary(cells))
        write_json(partial / "summary.json", for_machines(cells, across, conclusion, provenance))
        drawn = _study_figures(cells, partial)
        figures.save(_published_figure(published), Path(scratch) / "published")
        for finished in cells:
            prefix = f"{finished.study}_" if several else ""
            for name in ("gradient", "accuracy", "before_after"):
                shutil.copyfile(
                    finished.figures[name].with_suffix(".png"),
                    partial / f"{prefix}{finished.cell}_{name}.png",
                )
        report = Report(
            title=title,
            cells=cells,
            missing=missing,
            provenance=provenance,
            across=across,
            verdict=conclusion,
            published=published,
            beside=beside_published(cells, published),
            figures=drawn,
            published_figure=Path(scratch) / "published.svg",
        )
        write_text(partial / "report.html", render(report, "report.html.jinja"))
        write_text(partial / "report.md", render(report, "report.md.jinja"))


def _study_figures(cells: Sequence[Finished], folder: Path) -> dict[str, Path]:
    """Draw what spans cells, from the contrastive ones without a clash; SVG and PNG."""
    clear = judged(cells)
    if not clear:
        return {}
    rows = long_table(clear, "table")
    bystanders = rows[rows["role"] != "negative"]
    deltas = bystanders.pivot_table(index="persona", columns="source", values="delta")
    categories = rows.drop_duplicates("persona").set_index("persona")["category"]
    drawn = {}
    several_studies = len({finished.study for finished in clear}) > 1
    if len(clear) > 1:
        tables = {
            (
                f"{f.study} {f.cell.source}" if several_studies else f.cell.source,
                str(f.cell.seed),
            ): f.table
            for f in clear
        }
        drawn["Every source and seed: change in accuracy against cosine."] = (
            "seeds",
            figures.small_multiples(tables),
        )
    compared = finding_table(clear, "predictors")
    if not compared.empty and compared["rho"].notna().any():
        drawn["Which layer's geometry the damage follows, mean over seeds."] = (
            "layers",
            figures.layer_sweep(compared, clear[0].findings["layer"]),
        )
    drawn["Mean change of every persona that was not trained to be right, by category."] = (
        "heat_map",
        figures.heat_map(deltas, categories),
    )
    kept = {}
    for title, (name, figure) in drawn.items():
        figures.save(figure, folder / name)
        kept[title] = folder / f"{name}.svg"
    return kept


def _published_figure(published: Published) -> Figure:
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
    return figures.accuracy_curve(table, published.boundary, "published: villain, one seed")
