"""What ``summary.json`` of a report says, as it is read back."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from persona_leakage.errors import InputError
from persona_leakage.files import read_json
from persona_leakage.report.group_change import GroupChange
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import Number, Value


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True)  # a summary says more than is read here


class SourceChange(_Read):
    """The source's own outcome, before and after.

    Attributes
    ----------
    before, after : float
        Mean outcomes, with ``*_low`` and ``*_high`` (95 %).
    delta : float
        Their difference in the outcome's unit, likewise.
    """

    before: Number
    before_low: Number
    before_high: Number
    after: Number
    after_low: Number
    after_high: Number
    delta: Number
    delta_low: Number
    delta_high: Number


class Fitted(_Read):
    """The boundary of a cell, as far as it is compared.

    Attributes
    ----------
    midpoint : float
        Cosine at which the outcome is half-way.
    low, high : dict of float
        95 % interval of each parameter.
    reason : str or None
        Why none was fitted.
    """

    midpoint: Number
    low: dict[str, Number]
    high: dict[str, Number]
    reason: str | None


class Panel(_Read):
    """Spearman's rho over the bystanders that the original published.

    Attributes
    ----------
    r, low, high : float
        Of raw cosine and change, with a 95 % interval over personas.
    n : int
        How many were asked here.
    """

    r: Number
    low: Number
    high: Number
    n: int


class ReadAudit(_Read):
    """Of the training set, as far as it is read.

    Attributes
    ----------
    clashes : list
        Negatives that render to the source's prompt.
    """

    clashes: list[Any]


class ReadTable(_Read):
    """A titled table, as far as it is read.

    Attributes
    ----------
    rows : list of dict
        Values by column.
    """

    rows: list[dict[str, Value]]


class SummaryCell(_Read):
    """A cell of a summary.

    Attributes
    ----------
    label, source, variant : str
    seed : int
        Which cell.
    headline : dict of float
        Of ``analysis.persona_table.headline``.
    source_change : SourceChange
        Of the source itself.
    changes : dict of GroupChange
        Of ``group_change.group_changes``.
    boundary : Fitted
        The leakage boundary.
    published_panel : Panel or None
        Over the bystanders that the original published of this source.
    benchmarks : ReadTable
        Of ``report.cell_tables.benchmarks_table``.
    audit : ReadAudit
        Of the training set.
    """

    label: str
    source: str
    seed: int
    variant: str
    headline: dict[str, Number]
    source_change: SourceChange
    changes: dict[str, GroupChange]
    boundary: Fitted
    published_panel: Panel | None
    benchmarks: ReadTable
    audit: ReadAudit

    @property
    def clash(self) -> bool:
        """Whether a negative renders to the source's prompt."""
        return bool(self.audit.clashes)


class Summary(_Read):
    """A report's conclusions.

    Attributes
    ----------
    outcome : Outcome
        What was measured.
    params : dict of dict
        Flat parameters by label.
    cells : list of SummaryCell
        The finished ones.
    missing : list of str
        Names of the others.
    """

    outcome: Outcome
    params: dict[str, dict[str, Any]]
    cells: list[SummaryCell]
    missing: list[str]


def read_summary(path: Path) -> Summary:
    """Read the conclusions of a report.

    Parameters
    ----------
    path : Path
        A ``summary.json``.

    Raises
    ------
    InputError
        It is missing, no JSON, or lacks what is read.
    """
    content = read_json(path)
    try:
        return Summary.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise InputError(
            f"{path}: {key or 'the summary'}: {fault['msg']}; an earlier version wrote it, "
            "`make kept` or `dvc repro report` writes it anew"
        ) from error
