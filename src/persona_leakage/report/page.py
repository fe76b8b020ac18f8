"""The report as a page and as Markdown: the same tables, one template per section."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from persona_leakage.files import Record
from persona_leakage.report import verdict as rules
from persona_leakage.report.label_mass import readable_mass
from persona_leakage.report.prose import paragraph, reasons
from persona_leakage.report.tables import StudyTables
from persona_leakage.report.words import level_unit, spaced
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import Column, TitledTable, titled

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Pictures:
    """The study's SVG files; those of a cell lie in its folder.

    Attributes
    ----------
    key : tuple of (str, Path), or None
        Caption and file of the figure that shows the answer.
    others : dict of Path
        By caption, in the order in which they are shown.
    published : Path
        The published gradient.
    """

    key: tuple[str, Path] | None
    others: Mapping[str, Path]
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
    content: Record = {
        "report": tables,
        "pictures": pictures,
        "outcome": tables.outcome,
        "unit": tables.outcome.unit,
        "level": level_unit(tables.outcome),
        "paragraph": paragraph(tables.verdict, tables.outcome),
        "reasons": reasons(tables.verdict, tables.outcome),
        "rules": rules,
        "least_move": rules.least_move(tables.outcome),
        "params": params,
        "differing": differing(params),
    }
    return {
        "report.html": environment(html=True).get_template("page/base.jinja").render(content),
        "report.md": environment(html=False).get_template("markdown/base.jinja").render(content),
    }


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
        "personas": personas_table,
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


def personas_table(frame: pd.DataFrame, outcome: Outcome) -> TitledTable:
    """Make the table of every persona of a cell.

    Parameters
    ----------
    frame : DataFrame
        Of ``study.results.persona_schema``.
    outcome : Outcome
        For units and scale.
    """
    level = partial(Column, form="%.1f", factor=outcome.scale)
    change = partial(Column, form="%+.1f")
    unit = level_unit(outcome)
    columns = [
        Column(key="persona", title="persona"),
        Column(key="role", title="role"),
        Column(key="category", title="category"),
        Column(key="raw", title="cosine", form="%.4f"),
        Column(key="centred", title="centred cosine", form="%.3f"),
        level(key="before", title=f"before ({unit})"),
        level(key="after", title=f"after ({unit})"),
        level(key="after_low", title="low"),
        level(key="after_high", title="high"),
        change(key="delta", title=f"delta ({outcome.unit})"),
        change(key="delta_low", title="low"),
        change(key="delta_high", title="high"),
        Column(key="p", title="p", form="%.2g"),
        Column(key="p_holm", title="p (Holm)", form="%.2g"),
        Column(key="p_bh", title="p (BH)", form="%.2g"),
    ]
    return titled(frame[[column.key for column in columns]], columns, title="Every persona")


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
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()


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
