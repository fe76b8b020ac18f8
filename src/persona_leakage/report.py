"""What a study concluded: its tables, its figures, and one self-contained page."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from persona_leakage.files import Record
from persona_leakage.params import Cell

COLUMNS = {
    "persona": "persona",
    "role": "role",
    "category": "category",
    "raw": "cosine",
    "centred": "centred cosine",
    "before": "before (%)",
    "after": "after (%)",
    "delta": "delta (pp)",
    "delta_low": "low",
    "delta_high": "high",
    "p": "p",
    "p_holm": "p (Holm)",
}


@dataclass(frozen=True)
class Finished:
    """A finished cell: its table of personas, headline numbers, audit, curve and figures."""

    cell: Cell
    table: pd.DataFrame
    numbers: dict[str, float]
    audit: Record
    curve: pd.DataFrame
    figures: dict[str, Path]


def headline_table(cells: Sequence[Finished]) -> pd.DataFrame:
    """One row a cell: ``source``, ``seed``, ``variant``, ``clash``, then its headline numbers."""
    return pd.DataFrame(
        [
            {
                "source": finished.cell.source,
                "seed": finished.cell.seed,
                "variant": finished.cell.variant,
                "clash": bool(finished.audit["clashes"]),
                **finished.numbers,
            }
            for finished in cells
        ]
    )


def long_table(cells: Sequence[Finished], what: str) -> pd.DataFrame:
    """Stack the cells' ``table`` or ``curve``, with ``source``, ``seed``, ``variant`` in front."""
    frames = []
    for finished in cells:
        frame: pd.DataFrame = getattr(finished, what)
        keys: Record = {
            "source": finished.cell.source,
            "seed": finished.cell.seed,
            "variant": finished.cell.variant,
        }
        frames.append(frame.assign(**keys)[[*keys, *frame.columns]])
    return pd.concat(frames, ignore_index=True)


def beside_published(
    cells: Sequence[Finished], headline: pd.DataFrame, gradient: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Set contrastive cells beside the original's two tables, means over seeds.

    Parameters
    ----------
    headline, gradient : DataFrame
        ``reference/headline.csv`` and ``reference/villain_gradient.csv``.

    Returns
    -------
    dict of DataFrame
        ``headline``: per source, accuracies (%) and deltas (pp), ``published`` and ``here``.
        ``gradient``: per persona around the villain, cosine and accuracy after (%), likewise.
    """
    contrastive = [finished for finished in cells if finished.cell.variant == "contrastive"]
    numbers = headline_table(contrastive).groupby("source").mean(numeric_only=True)
    rows = []
    for row in headline.itertuples():
        if row.source in numbers.index:
            here = numbers.loc[row.source]
            rows.append(
                {
                    "source": row.source,
                    "before, published": 100 * row.baseline_accuracy,
                    "before, here": 100 * here["source_before"],
                    "after, published": 100 * row.post_accuracy,
                    "after, here": 100 * here["source_after"],
                    "bystanders, published": row.mean_bystander_delta_pp,
                    "bystanders, here": here["bystander_delta"],
                    "negatives, here": here["negative_delta"],
                }
            )
    villain = [finished.table for finished in contrastive if finished.cell.source == "villain"]
    tables = {"headline": pd.DataFrame(rows)}
    if villain:
        ours = pd.concat(villain).groupby("persona").mean(numeric_only=True)
        kept = gradient[gradient["persona"].isin(ours.index)].set_index("persona")
        tables["gradient"] = pd.DataFrame(
            {
                "cosine, published": kept["cosine_to_source"],
                "cosine, here": ours["raw"].reindex(kept.index),
                "after, published": 100 * kept["post_accuracy"],
                "after, here": 100 * ours["after"].reindex(kept.index),
            }
        ).reset_index()
    return tables


def verdict(cells: Sequence[Finished]) -> str:
    """Say in one paragraph what the contrastive cells show, and how sure that is."""
    judged = [f for f in cells if f.cell.variant == "contrastive" and not f.audit["clashes"]]
    if not judged:
        return "No contrastive cell without a clash is finished: there is nothing to conclude yet."
    sentences = []
    for source in dict.fromkeys(finished.cell.source for finished in judged):
        numbers = pd.DataFrame([f.numbers for f in judged if f.cell.source == source])
        seeds = len(numbers)
        supported = int(
            ((numbers["spearman_raw"] <= -0.5) & (numbers["spearman_raw_p"] < 0.01)).sum()
        )
        sentences.append(
            f"With {source.replace('_', ' ')} as the source, its accuracy changed by "
            f"{numbers['source_delta'].mean():+.1f} pp (mean over {seeds} "
            f"seed{'s' * (seeds > 1)}), that of unrelated personas by "
            f"{numbers['unrelated_delta'].mean():+.1f} pp; over "
            f"{numbers['bystanders'].iloc[0]:.0f} never-trained bystanders the damage follows "
            f"the cosine with Spearman's rho {numbers['spearman_raw'].mean():+.2f} "
            f"(weakest p {numbers['spearman_raw_p'].max():.2g}), a gradient of rho at most -0.5 "
            f"with p below 0.01 on {supported} of {seeds}."
        )
    if any((f.numbers["source_delta"] > -10) for f in judged):
        sentences.append(
            "A source that hardly fell says little about leakage: read its row with care."
        )
    return " ".join(sentences)


def page(
    *,
    study: Record,
    cells: Sequence[Finished],
    missing: Sequence[Cell],
    questions: Record,
    provenance: Record,
    published: Mapping[str, pd.DataFrame],
) -> str:
    """Render ``report.html``: one file, nothing loaded from elsewhere.

    Parameters
    ----------
    study : dict
        The parameters, flat.
    cells, missing
        Cells that are finished, and those that are not.
    questions : dict
        The manifest of the questions.
    provenance : dict
        Hashes of what went in.
    published : mapping of DataFrame
        Tables of ``beside_published``; empty for a study that has nothing published to stand by.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        study=study,
        cells=[_view(finished) for finished in cells],
        missing=missing,
        questions=questions,
        provenance=provenance,
        verdict=verdict(cells),
        columns=COLUMNS,
        published=published,
    )


def _view(finished: Finished) -> Record:
    table = finished.table.assign(
        before=100 * finished.table["before"], after=100 * finished.table["after"]
    )
    return {
        "name": str(finished.cell),
        "cell": finished.cell,
        "numbers": finished.numbers,
        "audit": finished.audit,
        "rows": table[list(COLUMNS)].to_dict("records"),
        "figures": {name: _inline(path) for name, path in finished.figures.items()},
    }


def _inline(path: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()


def summary(cells: Sequence[Finished]) -> dict[str, Any]:
    """The same numbers for machines: by source, seed and variant."""
    tree: dict[str, Any] = {}
    for finished in cells:
        by_seed = tree.setdefault(finished.cell.variant, {}).setdefault(finished.cell.source, {})
        by_seed[str(finished.cell.seed)] = json.loads(
            json.dumps({k: None if v != v else round(v, 6) for k, v in finished.numbers.items()})
        )
    return tree
