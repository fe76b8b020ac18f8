"""What a study concluded: a verdict, its tables, and the same report as a page and for machines."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
import pandas as pd

from persona_leakage.analysis.boundary import PARAMETERS, Boundary
from persona_leakage.analysis.seeds import (
    Heterogeneity,
    MixedModel,
    heterogeneity,
    mixed_model,
    over_seeds,
)
from persona_leakage.errors import InputError
from persona_leakage.files import Record, read_json
from persona_leakage.report.published import Published
from persona_leakage.study.cell import Cell

COLUMNS = {
    "persona": "persona",
    "role": "role",
    "category": "category",
    "raw": "cosine",
    "centred": "centred cosine",
    "before": "before (%)",
    "after": "after (%)",
    "after_low": "low",
    "after_high": "high",
    "delta": "delta (pp)",
    "delta_low": "low",
    "delta_high": "high",
    "p": "p",
    "p_holm": "p (Holm)",
    "p_bh": "p (BH)",
}
FIGURES = ("gradient", "gradient_centred", "accuracy", "before_after", "training")
FELL = -10.0  # pp; a source that fell by less was hardly trained, and says little about leakage


@dataclass(frozen=True)
class Finished:
    """A finished cell of a study: what ``analyse`` wrote.

    Attributes
    ----------
    study : str
        Name of the study.
    params : dict
        Its parameters, flat.
    questions : dict
        Manifest of its questions.
    table, curve : DataFrame
        Of ``statistics.persona_table`` and of ``training.train``.
    numbers : dict
        Of ``statistics.headline``.
    findings : dict
        Boundary, outliers, predictors, categories, benchmarks, answers, as records.
    audit : dict
        Manifest of the training set.
    figures : dict
        SVG file of each of ``FIGURES``.
    """

    study: str
    params: Record
    questions: Record
    cell: Cell
    table: pd.DataFrame
    numbers: dict[str, float]
    findings: Record
    audit: Record
    curve: pd.DataFrame
    figures: dict[str, Path]

    @property
    def boundary(self) -> Boundary:
        """The fitted boundary, or the reason why there is none."""
        values: Record = {
            key: float("nan") if value is None and key != "reason" else value
            for key, value in self.findings["boundary"].items()
        }
        return Boundary(**values)


def read_finished(folder: Path) -> Finished | None:
    """Read the folder that ``analyse`` wrote for a cell; ``None`` when it has not.

    Raises
    ------
    InputError
        An earlier version of the analysis wrote the folder.
    """
    if not (folder / "metrics.json").exists():
        return None
    if not (folder / "findings.json").exists():
        raise InputError(
            f"{folder}: an earlier version made this analysis; `dvc repro analyse` renews it, "
            "nothing is trained again"
        )
    origin = read_json(folder / "cell.json")
    return Finished(
        study=origin["study"],
        params=origin["params"],
        questions=origin["questions"],
        cell=Cell(origin["source"], origin["seed"], origin["variant"]),
        table=pd.read_csv(folder / "personas.csv"),
        numbers={
            name: float("nan") if value is None else value
            for name, value in read_json(folder / "metrics.json").items()
        },
        findings=read_json(folder / "findings.json"),
        audit=read_json(folder / "manifest.json"),
        curve=pd.read_csv(folder / "curve.csv"),
        figures={name: folder / f"{name}.svg" for name in FIGURES},
    )


def headline_table(cells: Sequence[Finished]) -> pd.DataFrame:
    """One row a cell: ``study``, ``source``, ``seed``, ``variant``, ``clash``, then its numbers.

    Behind the numbers of ``statistics.headline`` stand those of the boundary, where one was fitted.
    """
    rows = []
    for finished in cells:
        row: Record = {
            "study": finished.study,
            "source": finished.cell.source,
            "seed": finished.cell.seed,
            "variant": finished.cell.variant,
            "clash": bool(finished.audit["clashes"]),
            **finished.numbers,
        }
        boundary = finished.boundary
        for name in PARAMETERS if boundary.reason is None else ():
            row[f"boundary_{name}"] = getattr(boundary, name)
            row[f"boundary_{name}_low"] = boundary.low[name]
            row[f"boundary_{name}_high"] = boundary.high[name]
        rows.append(row)
    return pd.DataFrame(rows)


def long_table(cells: Sequence[Finished], what: Literal["table", "curve"]) -> pd.DataFrame:
    """Stack the cells' ``table`` or ``curve``, with ``source``, ``seed``, ``variant`` in front."""
    frames = []
    for finished in cells:
        frame: pd.DataFrame = getattr(finished, what)
        frames.append(_with_cell(frame, finished))
    return pd.concat(frames, ignore_index=True)


def finding_table(cells: Sequence[Finished], what: str) -> pd.DataFrame:
    """Stack a table of the cells' findings (``predictors``, ``outliers``, ...) likewise."""
    frames = [
        _with_cell(pd.DataFrame(finished.findings[what]), finished)
        for finished in cells
        if finished.findings[what]
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _with_cell(frame: pd.DataFrame, finished: Finished) -> pd.DataFrame:
    keys: Record = {
        "source": finished.cell.source,
        "seed": finished.cell.seed,
        "variant": finished.cell.variant,
    }
    return frame.assign(**keys)[[*keys, *frame.columns]]


@dataclass(frozen=True)
class Across:
    """What holds over the contrastive cells without a clash.

    Attributes
    ----------
    seeds : DataFrame
        Of ``across.over_seeds``, of all variants.
    mixed : dict
        A mixed model for each source.
    widths : Heterogeneity or None
        Of the boundary's width between sources, where two or more have one.
    fitted : list of str
        Those sources.
    """

    seeds: pd.DataFrame
    mixed: dict[str, MixedModel]
    widths: Heterogeneity | None
    fitted: list[str]


def judged(cells: Sequence[Finished]) -> list[Finished]:
    """The cells that the question is answered from: contrastive, and without a clash."""
    return [f for f in cells if f.cell.variant == "contrastive" and not f.audit["clashes"]]


def across_cells(cells: Sequence[Finished]) -> Across:
    """Compute what holds over seeds and sources."""
    clear = judged(cells)
    sources = list(dict.fromkeys(finished.cell.source for finished in clear))
    mixed = {}
    for source in sources:
        rows = long_table([f for f in clear if f.cell.source == source], "table")
        mixed[source] = mixed_model(rows[rows["role"] == "bystander"])
    widths, errors, fitted = [], [], []
    for source in sources:
        bounds = [f.boundary for f in clear if f.cell.source == source]
        bounds = [boundary for boundary in bounds if boundary.reason is None]
        if bounds:
            # seeds share their personas: averaging them does not make the error smaller
            spans = [(b.high["width"] - b.low["width"]) / (2 * 1.96) for b in bounds]
            if (error := sum(spans) / len(spans)) > 0:
                widths.append(sum(b.width for b in bounds) / len(bounds))
                errors.append(error)
                fitted.append(source)
    return Across(over_seeds(headline_table(cells)), mixed, heterogeneity(widths, errors), fitted)


def beside_published(cells: Sequence[Finished], published: Published) -> dict[str, pd.DataFrame]:
    """Set contrastive cells beside the original's two tables, means over seeds.

    Only cells trained and evaluated on ARC-Challenge alone, as the original's were; of any model.

    Returns
    -------
    dict of DataFrame
        ``headline``: per study and source, accuracies (%) and deltas (pp), ``published`` and
        ``here``. ``gradient``: per study and persona around the villain, cosine and accuracy
        after (%), likewise. Empty where no cell compares.
    """
    comparable = [
        finished
        for finished in cells
        if finished.cell.variant == "contrastive"
        and finished.params["questions.train"] == ["arc_challenge"]
        and finished.params["questions.evaluate"] == ["arc_challenge"]
    ]
    studies = {finished.study: finished.params["model.name"] for finished in comparable}
    headlines, gradients = [], []
    for study, model in studies.items():
        mine = [finished for finished in comparable if finished.study == study]
        here = headline_table(mine).groupby("source").mean(numeric_only=True)
        told = published.headline.set_index("source")
        told = told.loc[told.index.intersection(here.index, sort=False)]
        here = here.loc[told.index]
        headlines.append(
            pd.DataFrame(
                {
                    "before, published": 100 * told["baseline_accuracy"],
                    "before, here": 100 * here["source_before"],
                    "after, published": 100 * told["post_accuracy"],
                    "after, here": 100 * here["source_after"],
                    "bystanders, published": told["mean_bystander_delta_pp"],
                    "bystanders, here": here["bystander_delta"],
                    "negatives, here": here["negative_delta"],
                }
            )
            .reset_index()
            .assign(study=study, model=model)
        )
        villain = [finished.table for finished in mine if finished.cell.source == "villain"]
        if villain:
            ours = pd.concat(villain).groupby("persona").mean(numeric_only=True)
            told = published.gradient.set_index("persona")
            told = told.loc[told.index.intersection(ours.index, sort=False)]
            ours = ours.loc[told.index]
            gradients.append(
                pd.DataFrame(
                    {
                        "cosine, published": told["cosine_to_source"],
                        "cosine, here": ours["raw"],
                        "after, published": 100 * told["post_accuracy"],
                        "after, here": 100 * ours["after"],
                    }
                )
                .reset_index()
                .assign(study=study, model=model)
            )
    tables = {"headline": headlines, "gradient": gradients}
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items() if parts}


@dataclass(frozen=True)
class Verdict:
    """The answer of the data to "does leakage follow the cosine gradient?".

    Attributes
    ----------
    answer : {"supported", "partly supported", "not supported", "open"}
    confidence : {"high", "moderate", "low"}
    paragraph : str
        The answer in words, source by source.
    reasons : list of str
        What the confidence rests on and what speaks against it.
    """

    answer: Literal["supported", "partly supported", "not supported", "open"]
    confidence: Literal["high", "moderate", "low"]
    paragraph: str
    reasons: list[str]


def verdict(cells: Sequence[Finished], across: Across) -> Verdict:
    """Answer from the contrastive cells without a clash, by rules that the report prints.

    A cell supports the gradient when its source fell by 10 pp or more and Spearman's rho of raw
    cosine against delta over its bystanders is at most -0.5 with p below 0.01. Supported: most
    cells of every source do; partly: of some source. Confidence is high with three seeds, every
    cell in agreement, rho below zero with p < 0.05 also for centred cosine and given baseline
    accuracy and prompt length, and the prompts' words a worse predictor beyond the bootstrap
    interval on most seeds; low with a single seed; moderate otherwise.
    """
    clear = judged(cells)
    if not clear:
        text = "No contrastive cell without a clash is finished: there is nothing to conclude yet."
        return Verdict("open", "low", text, [])
    sources = list(dict.fromkeys(finished.cell.source for finished in clear))
    sentences, reasons, shares, seeds = [], [], [], []
    robust = True
    for source in sources:
        own = [finished for finished in clear if finished.cell.source == source]
        numbers = pd.DataFrame([finished.numbers for finished in own])
        supporting = (
            (numbers["source_delta"] <= FELL)
            & (numbers["spearman_raw"] <= -0.5)
            & (numbers["spearman_raw_p"] < 0.01)
        )
        shares.append(supporting.mean())
        seeds.append(len(numbers))
        name = source.replace("_", " ")
        sentences.append(
            f"With the {name} as source, its own accuracy changed by "
            f"{numbers['source_delta'].mean():+.1f} pp and that of unrelated personas by "
            f"{numbers['unrelated_delta'].mean():+.1f} pp (mean over {_count(len(own), 'seed')}); "
            f"over its {numbers['bystanders'].iloc[0]:.0f} never-trained bystanders damage follows "
            f"the cosine with Spearman's rho {_range(numbers['spearman_raw'])}, "
            f"{'p' if len(own) == 1 else 'largest p'} {numbers['spearman_raw_p'].max():.2g}."
        )
        for kind, label in (
            ("spearman_centred", "with mean-centred cosine"),
            ("partial_raw", "given baseline accuracy and prompt length"),
        ):
            holds = (numbers[kind] < 0) & (numbers[f"{kind}_p"] < 0.05)
            robust &= bool(holds.all())
            reasons.append(
                f"{name}: {label} rho is {_range(numbers[kind])}, below zero with p < 0.05 on "
                f"{int(holds.sum())} of {_count(len(own), 'seed')}."
            )
        rivals, beaten = _rivals(own, name)
        robust &= beaten
        reasons += rivals
        reasons.append(f"{name}: {_boundaries(own)}")
        if (numbers["source_delta"] > FELL).any():
            reasons.append(
                f"{name}: the source hardly fell on {int((numbers['source_delta'] > FELL).sum())} "
                "of its seeds, which say little about leakage."
            )
        if (model := across.mixed.get(source)) and model.reason is None:
            reasons.append(
                f"{name}: over all seeds a bystander's accuracy changes by {model.slope:+.2f} pp "
                f"[{model.low:+.2f}, {model.high:+.2f}] for 0.01 of cosine (mixed model, "
                f"p {model.p:.2g})."
            )
    if all(share > 0.5 for share in shares):
        answer: Any = "supported"
    else:
        answer = "partly supported" if any(share > 0 for share in shares) else "not supported"
    unanimous = all(share in (0.0, 1.0) for share in shares)
    if min(seeds) >= 3 and unanimous and (robust or answer == "not supported"):
        confidence: Any = "high"
    else:
        confidence = "low" if min(seeds) == 1 else "moderate"
    if min(seeds) == 1:
        reasons.insert(0, "A single seed: what another one would show is not known.")
    opening = f"That leakage follows the cosine gradient is {answer} (confidence: {confidence}). "
    return Verdict(answer, confidence, opening + " ".join(sentences), reasons)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _range(values: pd.Series, form: str = "+.2f") -> str:
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"


def _rivals(own: Sequence[Finished], name: str) -> tuple[list[str], bool]:
    """Say whether the prompts' words alone predict the damage as well as the model's geometry.

    Returns the sentences, and whether the cosine is better than each on most seeds.
    """
    found, beaten = [], True
    for predictor, label in (
        ("words", "the overlap of prompts in words"),
        ("tfidf", "the TF-IDF of prompts"),
    ):
        rows = [
            row
            for finished in own
            for row in finished.findings["predictors"]
            if row["predictor"] == predictor and row["rho"] is not None
        ]
        if rows:
            worse = sum(row["difference_low"] > 0 for row in rows)
            beaten &= worse > len(rows) / 2
            found.append(
                f"{name}: {label} alone predicts with rho "
                f"{_range(pd.Series([row['rho'] for row in rows]))}; the cosine is better beyond "
                f"its bootstrap interval on {worse} of {_count(len(rows), 'seed')}"
                + ("." if worse else ", so that words and geometry cannot be told apart.")
            )
    return found, beaten


def _boundaries(own: Sequence[Finished]) -> str:
    bounds = [finished.boundary for finished in own]
    fitted = [boundary for boundary in bounds if boundary.reason is None]
    if not fitted:
        reasons = " or ".join(dict.fromkeys(boundary.reason or "" for boundary in bounds))
        return f"no boundary can be fitted: {reasons}."
    return (
        f"a boundary on {len(fitted)} of {_count(len(own), 'seed')}: accuracy is half-way down at "
        f"cosine {_range(pd.Series([b.midpoint for b in fitted]), '.4f')}."
    )


def summary(cells: Sequence[Finished]) -> Record:
    """The headline numbers by variant, source and seed, as ``dvc metrics`` compares them."""
    tree: Record = {}
    for finished in cells:
        by_seed = tree.setdefault(finished.cell.variant, {}).setdefault(finished.cell.source, {})
        by_seed[str(finished.cell.seed)] = {k: round(v, 6) for k, v in finished.numbers.items()}
    return tree


def for_machines(
    cells: Sequence[Finished], across: Across, conclusion: Verdict, provenance: Record
) -> Record:
    """Everything the page says, as data: ``summary.json``."""
    return {
        "verdict": asdict(conclusion),
        "cells": [
            {
                "study": finished.study,
                **asdict(finished.cell),
                "headline": finished.numbers,
                "clashes": finished.audit["clashes"],
                **finished.findings,
            }
            for finished in cells
        ],
        "seeds": across.seeds.to_dict("records"),
        "mixed_models": {source: asdict(model) for source, model in across.mixed.items()},
        "boundary_width": asdict(across.widths) if across.widths else None,
        "provenance": provenance,
    }


@dataclass(frozen=True)
class Report:
    """All that the page and the Markdown are rendered from.

    Attributes
    ----------
    title : str
    cells, missing
        Cells that are finished, and names of those that are not.
    provenance : dict
        Hashes of what went in.
    across, verdict
        Of ``across_cells`` and ``verdict``.
    published : Published
        The original's tables, analysed.
    beside : dict of DataFrame
        Of ``beside_published``; empty where nothing published stands to compare.
    figures : dict
        SVG files of the study's figures: title to path.
    published_figure : Path
        SVG of the published gradient.
    """

    title: str
    cells: Sequence[Finished]
    missing: Sequence[str]
    provenance: Record
    across: Across
    verdict: Verdict
    published: Published
    beside: Mapping[str, pd.DataFrame]
    figures: Mapping[str, Path]
    published_figure: Path

    @property
    def studies(self) -> dict[str, Record]:
        """Parameters of each study, flat."""
        return {finished.study: finished.params for finished in self.cells}

    @property
    def questions(self) -> dict[str, Record]:
        """Manifest of each study's questions."""
        return {finished.study: finished.questions for finished in self.cells}


def render(report: Report, template: Literal["report.html.jinja", "report.md.jinja"]) -> str:
    """Render ``report.html``, one file that loads nothing from elsewhere, or ``report.md``."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=template.endswith(".html.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["inline"] = _inline
    return environment.get_template(template).render(
        report=report,
        columns=COLUMNS,
        several=len(report.studies) > 1,
        differing=_differing(report.studies),
    )


def _number(value: Any, form: str = "%.3g") -> str:
    """Format a number; what is not one is a dash."""
    if value is None or value != value:
        return "–"
    return value.replace("_", " ") if isinstance(value, str) else form % value


def _inline(path: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()


def _differing(studies: Mapping[str, Record]) -> list[str]:
    """Parameters that are not the same in all studies."""
    keys = dict.fromkeys(key for params in studies.values() for key in params)
    return [
        key
        for key in keys
        if len({str(params.get(key, "")) for params in studies.values()}) > 1 and key != "study"
    ]
