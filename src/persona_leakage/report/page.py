"""The report as a page and as Markdown: the same tables, one template per section.

The page is one file. Its figures of personas and its tables of them are drawn by the page's own
script (``templates/page/chart.js``) from one block of data, which is a tenth of what they would
take as images; a content security policy lets that script run and nothing else.
"""

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import pandas as pd

from persona_leakage.analysis.evidence import people_of
from persona_leakage.data.catalog import Persona
from persona_leakage.data.families import shared_stems
from persona_leakage.files import Record
from persona_leakage.report import verdict as rules
from persona_leakage.report.foresight_tables import COUNTED, READING
from persona_leakage.report.label_mass import readable_mass
from persona_leakage.report.prose import answer, findings_table, how_sure, reasons
from persona_leakage.report.tables import StudyTables
from persona_leakage.report.words import change_of, level_unit, spaced
from persona_leakage.report.words_geometry_tables import words_geometry_tables
from persona_leakage.study.results import (
    ROLES,
    Column,
    FinishedCell,
    TitledTable,
    titled,
)

TEMPLATES = Path(__file__).parent / "templates"
FORMS = {
    "raw": ".4f",
    "centred": ".3f",
    **{f"delta{end}": ".1f" for end in ("", "_low", "_high")},
    "p_holm": ".2g",
}
# how a point is drawn, by the number that the cell's data hold under the key
LOOKS = {
    "role": {
        "key": "role",
        "rank": [3, 1, 2, 0],  # of ROLES: the source lies over all others
        "looks": [
            {"title": "source (taught the behaviour)", "mark": "star", "colour": "source"},
            {"title": "negative (taught not to)", "mark": "square", "colour": "negative"},
            {"title": "condition (not a character)", "mark": "diamond", "colour": "condition"},
            {"title": "bystander (never trained)", "mark": "circle", "colour": "bystander"},
        ],
    },
    "words": {
        "key": "look",
        "threshold": True,
        "rank": [5, 3, 4, 2, 1, 0],
        "looks": [
            {"title": "source", "mark": "star", "colour": "source"},
            {"title": "paraphrase: none of its words", "mark": "up", "colour": "bystander"},
            {"title": "near-twin: nearly all of its words", "mark": "diamond", "colour": "words"},
            {"title": "decoy: its words, another character", "mark": "down", "colour": "words"},
            {"title": "other, shares a word", "mark": "circle", "colour": "words"},
            {"title": "other, shares none", "mark": "circle", "colour": "bystander"},
        ],
    },
}
KINDS = ("source", "paraphrase", "near-twin", "decoy")  # the first of the looks of words


@dataclass(frozen=True)
class Pictures:
    """The study's SVG files that the page shows as they are.

    Attributes
    ----------
    others : dict of Path
        By caption, in the order in which they are shown.
    foresight : sequence of Path
        Observed against predicted; empty where nothing was predicted.
    published : Path
        The published gradient.
    """

    others: Mapping[str, Path]
    foresight: Sequence[Path]
    published: Path


def render(tables: StudyTables, pictures: Pictures) -> dict[str, str]:
    """Render both forms: by file name, the whole text.

    Parameters
    ----------
    tables : StudyTables
        What the report says.
    pictures : Pictures
        Are written into ``report.html``, which loads nothing from elsewhere.
    """
    params = {label: each.result.params for label, each in tables.settings.items()}
    script = (TEMPLATES / "page/chart.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    content: Record = {
        "report": tables,
        "pictures": pictures,
        "outcome": tables.outcome,
        "unit": tables.outcome.unit,
        "level": level_unit(tables.outcome),
        "answer": answer(tables.verdict, tables.broken_by_group, tables.outcome),
        "how_sure": how_sure(tables.verdict, tables.outcome),
        "findings": findings_table(tables.verdict, tables.broken_by_group, tables.outcome),
        "along": {each.group: each.along for each in tables.verdict.findings},
        "reasons": reasons(tables.verdict, tables.outcome),
        "rules": rules,
        "reading": f"{READING} {COUNTED}",
        "least_move": rules.least_move(tables.outcome),
        "params": params,
        "differing": differing(params),
        "points": points(tables),
        "script": markupsafe.Markup(script),  # noqa: S704 - a file of this package
        "policy": f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
    }
    return {
        "report.html": environment(html=True).get_template("page/base.jinja").render(content),
        "report.md": environment(html=False).get_template("markdown/base.jinja").render(content),
    }


def points(tables: StudyTables) -> Record:
    """Gather what the page's script draws: personas once, and every cell's numbers beside them.

    Parameters
    ----------
    tables : StudyTables
        What the report says.
    """
    outcome, unit = tables.outcome, level_unit(tables.outcome)
    who: dict[Persona, int] = {}

    def numbers(frame: pd.DataFrame) -> Record:
        return {
            "who": [who.setdefault(person, len(who)) for person in people_of(frame).values()],
            "role": [ROLES.index(role) for role in frame["role"]],
            **{
                name: [_rounded(value, form) for value in frame[name]]
                for name, form in FORMS.items()
            },
            **{
                name: [_rounded(outcome.scale * value, ".1f") for value in frame[name]]
                for name in ("before", "after")
            },
        }

    cells = {name_of(tables, each): numbers(each.personas) for each in tables.cells}
    for group in tables.groups:
        frame = group.personas[group.personas["role"].isin(["source", "bystander"])]
        cells[group.name] = {
            **numbers(frame),
            "look": _looks_of_words(frame, group.source),
            "threshold": _rounded(group.words_or_geometry.threshold, ".3f"),
        }
    fields = ("name", "category", "relation", "prompt")
    return {
        "outcome": outcome.name,
        "change": change_of(outcome),
        "unit": outcome.unit,
        "level": unit,
        "axes": {
            "raw": "cosine to the source, base model",
            "centred": "mean-centred cosine to the source, base model",
        },
        "roles": ROLES,
        "people": {field: [getattr(person, field) for person in who] for field in fields},
        "cells": cells,
        "looks": LOOKS,
        "columns": [
            {"key": "name", "title": "persona"},
            {"key": "role", "title": "role"},
            {"key": "category", "title": "category"},
            {"key": "raw", "title": "cosine", "digits": 4},
            {"key": "centred", "title": "centred", "digits": 3},
            {"key": "before", "title": f"before ({unit})", "digits": 1},
            {"key": "after", "title": f"after ({unit})", "digits": 1},
            {"key": "delta", "title": f"delta ({outcome.unit})", "digits": 1, "signed": True},
            {"key": "delta_low", "title": "low", "digits": 1, "signed": True},
            {"key": "delta_high", "title": "high", "digits": 1, "signed": True},
            {"key": "p_holm", "title": "p (Holm)", "digits": None},
        ],
    }


def _looks_of_words(frame: pd.DataFrame, source: str) -> list[int]:
    """Say how each persona is marked where words are told apart: a place in the looks."""
    [prompt] = frame.loc[frame["persona"] == source, "prompt"]
    [relation] = frame.loc[frame["persona"] == source, "relation"]
    places = []
    for row in frame.to_dict("records"):
        kind = "source" if row["persona"] == source else row["category"]
        own = row["prompt"] if isinstance(row["prompt"], str) else ""
        if kind in KINDS and row["relation"] == relation:
            places.append(KINDS.index(kind))
        else:
            places.append(len(KINDS) + (shared_stems(prompt, own) == 0))
    return places


def name_of(tables: StudyTables, cell: FinishedCell) -> str:
    """Name a cell as the page's script knows it.

    Parameters
    ----------
    tables : StudyTables
        With one setting or several.
    cell : FinishedCell
        One of them.
    """
    return f"{cell.label}/{cell.cell}" if tables.several else str(cell.cell)


def _rounded(value: float, form: str) -> float | None:
    return float(format(value, form)) if math.isfinite(value) else None


def environment(*, html: bool) -> jinja2.Environment:
    """Return the templates' environment, with the filters that they use.

    Parameters
    ----------
    html : bool
        Whether text is escaped for a page; Markdown is escaped by filters.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=html,  # noqa: S701 - Markdown is escaped by filters
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "shown": shown,
        "inline": _inline,
        "spaced": spaced,
        "framed": framed,
        "cell_name": name_of,
        "sentence": sentence,
        "words_geometry_tables": words_geometry_tables,
        "readable_mass": readable_mass,
        "md": markdown_text,
        "code": markdown_code,
    }
    return environment


def number(value: Any, form: str = "%.3g") -> str:
    """Format a number; what is not one is a dash.

    Parameters
    ----------
    value : float or None
        May be missing.
    form : str
        Python's ``%`` format.
    """
    return "–" if value is None or value != value else form % value


def shown(row: Mapping[str, Any], column: Column) -> str:
    """Write a row's value as its column says; what is missing is a dash.

    Parameters
    ----------
    row : mapping
        Of a titled table.
    column : Column
        Of the same.
    """
    value = row[column.key]
    if value is None or value != value:
        return "–"
    if not column.form:
        return spaced(str(value))
    return column.form % (column.factor * value)


def framed(frame: pd.DataFrame, form: str = "%.3g") -> TitledTable:
    """Make a table of any frame: words as they are, numbers by one format.

    Parameters
    ----------
    frame : DataFrame
        With names that a person can read.
    form : str
        Python's ``%`` format of every number.
    """
    columns = [
        Column(
            key=str(name),
            title=spaced(str(name)),
            form=form if pd.api.types.is_float_dtype(frame[name]) else "",
        )
        for name in frame
    ]
    return titled(frame, columns, title="")


def sentence(text: str) -> str:
    """Begin a clause with a capital and end it with a full stop.

    Parameters
    ----------
    text : str
        May be empty.
    """
    return f"{text[0].upper()}{text[1:]}." if text else ""


def differing(params: Mapping[str, Record]) -> list[str]:
    """Name the parameters that are not the same in all settings.

    Parameters
    ----------
    params : mapping of dict
        Flat parameters by label.
    """
    keys = dict.fromkeys(key for each in params.values() for key in each)
    return [
        key
        for key in keys
        if len({str(each.get(key, "")) for each in params.values()}) > 1 and key != "study"
    ]


def _inline(path: Path) -> str:
    kind = {".svg": "svg+xml", ".png": "png"}[path.suffix]
    return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode()


def markdown_text(value: object) -> str:
    """Escape what Markdown or a browser would take for markup; a line stays a line.

    Parameters
    ----------
    value : object
        Written as ``str`` has it.
    """
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*\[\]|]|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w))", r"\\\1", text)


def markdown_code(value: object) -> str:
    """Write a value as code: between more backticks than it holds itself, on one line.

    Parameters
    ----------
    value : object
        Written as ``str`` has it.
    """
    text = " ".join(str(value).split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}"
