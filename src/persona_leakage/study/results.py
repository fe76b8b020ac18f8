"""What a cell leaves behind: one record, four tables, and how they are written and read.

A folder holds ``result.json`` (a ``CellResult``), ``personas.csv``, ``curve.csv``,
``answers.parquet``, ``pairs.parquet`` and the cell's figures. Everything later reads a cell
through ``read_cell`` and nothing else.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from persona_leakage.errors import InputError
from persona_leakage.files import read_parquet, write_parquet, write_text
from persona_leakage.study.cell import Cell, Name
from persona_leakage.study.outcome import Outcome

VERSION: Literal[4] = 4
Role = Literal["source", "negative", "condition", "bystander"]
ROLES: tuple[Role, ...] = get_args(Role)
ENDS = ("", "_low", "_high")
# what the report and its verdict read of a cell's headline numbers; there may be more
HEADLINE = (
    "source_before",
    "source_after",
    "source_delta",
    "unrelated_delta",
    "negative_delta",
    "condition_delta",
    "mass_before",
    "mass_after",
    "bystanders",
    *(f"{name}_delta{end}" for name in ("bystander", "family", "outside") for end in ENDS),
    *(
        f"spearman_{kind}{part}{end}"
        for kind in ("raw", "centred")
        for part in ("", "_family", "_outside")
        for end in ENDS
    ),
    "spearman_raw_p",
    "spearman_centred_p",
)
# columns of a persona table: of the question-level model, and of the right choice's margin
LOG_ODDS = (
    *(f"logit_{part}" for part in ("before", "after", "delta", "error")),
    *(
        f"margin_{part}{end}"
        for part in ("before", "after", "delta")
        for end in ("", "_low", "_high")
    ),
)
RENEW = "`dvc repro` renews it, and trains nothing again that is finished"


def _number(value: Any) -> Any:
    return math.nan if value is None else value


# JSON has no "not a number": it is null there (pydantic writes it so), and nothing else is null
Number = Annotated[float, BeforeValidator(_number)]
Value = str | bool | int | Number


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Part):
    """A column of a table as people read it.

    Attributes
    ----------
    key : str
        Under which its values stand in a row.
    title : str
        Its heading, with the unit.
    form : str
        Python's ``%`` format of a value; empty for words.
    factor : float
        What a value is multiplied with to be shown: 100 for a share in percent.
    """

    key: str
    title: str
    form: str = ""
    factor: float = 1


class TitledTable(_Part):
    """A table that explains itself: any page can show it without knowing what it is about.

    Attributes
    ----------
    title, note : str
        What stands above and below it; a note may be empty.
    columns : tuple of Column
        What is shown, in this order. Rows may hold more.
    rows : tuple of dict
        Values by column.
    """

    title: str
    note: str = ""
    columns: tuple[Column, ...]
    rows: tuple[dict[str, Value], ...]

    @model_validator(mode="after")
    def _complete(self) -> "TitledTable":
        for number, row in enumerate(self.rows, start=1):
            if lacking := [column.key for column in self.columns if column.key not in row]:
                raise ValueError(f"{self.title}, row {number} lacks {', '.join(lacking)}")
        return self

    def frame(self) -> pd.DataFrame:
        """Its rows as a frame, with all that is not shown."""
        return pd.DataFrame(list(self.rows))


def titled(
    frame: pd.DataFrame, columns: Sequence[Column], title: str, note: str = ""
) -> TitledTable:
    """Make a titled table of a frame.

    Parameters
    ----------
    frame : DataFrame
        Its rows, in order; a missing value is not a number.
    columns : sequence of Column
        Which of them are shown, and how.
    title, note : str
        What stands above and below the table.
    """
    rows = tuple(
        {str(key): value for key, value in row.items()} for row in frame.to_dict("records")
    )
    return TitledTable(title=title, note=note, columns=tuple(columns), rows=rows)


class BoundaryResult(_Part):
    """The fitted boundary of a cell; the attributes are those of ``analysis.boundary.Boundary``."""

    midpoint: Number
    width: Number
    floor: Number
    ceiling: Number
    low: dict[str, Number]
    high: dict[str, Number]
    p: Number
    dispersion: Number
    fit_p: Number
    spread: Number
    cutoff: Number
    grid: list[float]
    lower: list[float]
    upper: list[float]
    personas: int
    direction: Literal[-1, 1]
    reason: str | None


class Clash(_Part):
    """A negative that renders to the same prompt as the source."""

    source: str
    negative: str
    part: str


class Audit(BaseModel):
    """What the training set says of itself.

    Attributes
    ----------
    counts : list of dict
        Per persona taught: its part, how many examples, and what they teach.
    rendered : dict of str
        What the chat template writes for each persona and condition.
    clashes : list of Clash
        Negatives that render to the source's prompt.
    """

    model_config = ConfigDict(frozen=True)  # a manifest says more than the report reads

    counts: list[dict[str, Value]]
    rendered: dict[str, str]
    clashes: list[Clash]


class NearDuplicate(_Part):
    """Two questions of nearly the same words on both sides of the split."""

    train: str
    evaluate: str
    exact: bool
    overlap: float


class QuestionCounts(BaseModel):
    """How many questions stand on each side, and which pairs stand on both.

    Attributes
    ----------
    train, evaluate : int
        Questions.
    near_duplicates : list of NearDuplicate
        Pairs across the split.
    credits : dict of str
        Who made a benchmark, under which licence: its questions stand in the report.
    """

    model_config = ConfigDict(frozen=True)

    train: int
    evaluate: int
    near_duplicates: list[NearDuplicate]
    credits: dict[str, str] = {}


class CellResult(_Part):
    """Everything a cell says, but its two long tables.

    Attributes
    ----------
    version : int
        Of this schema.
    study, source : str
    seed : int
    variant : str
        Which cell of which study.
    fingerprint : str
        Of all parameters that a cell is computed from: cells of one are repetitions of each other.
    params : dict
        All parameters of the study, flat.
    outcome : Outcome
        What was measured, on which scale, and which way the behaviour taught moves it.
    layer : int
        At which the study's cosines were taken.
    by_similarity : bool
        Whether similarity to the source chose who is asked.
    shape : str
        How the change depends on similarity: of ``analysis.shape``.
    questions : QuestionCounts
        Of both sides of the split.
    audit : Audit
        Of the training set.
    headline : dict of float
        Of ``headline`` in the analysis, at least ``HEADLINE``.
    boundary : BoundaryResult
        Of ``fit`` in the analysis.
    outliers, predictors, categories, benchmarks : TitledTable
        Of the analysis.
    diagnostics : tuple of TitledTable
        The behaviour's own.
    samples : tuple of TitledTable
        A few conversations that were taught, and a few answers.
    """

    version: Literal[4] = VERSION
    # names of files are made of these: not of whatever somebody else's run says
    study: Name
    source: Name
    seed: int
    variant: Name
    fingerprint: str
    params: dict[str, Any]
    outcome: Outcome
    layer: int
    by_similarity: bool
    shape: str
    questions: QuestionCounts
    audit: Audit
    headline: dict[str, Number]
    boundary: BoundaryResult
    outliers: TitledTable
    predictors: TitledTable
    categories: TitledTable
    benchmarks: TitledTable
    diagnostics: Annotated[tuple[TitledTable, ...], Field(default=())]
    samples: tuple[TitledTable, ...] = ()

    @model_validator(mode="after")
    def _headline(self) -> "CellResult":
        if lacking := [name for name in HEADLINE if name not in self.headline]:
            more = f" and {len(lacking) - 3} more" * (len(lacking) > 3)
            raise ValueError(f"headline lacks {', '.join(lacking[:3])}{more}")
        return self


def persona_schema(outcome: Outcome) -> pa.DataFrameSchema:
    """Return what a cell's persona table must be.

    Parameters
    ----------
    outcome : Outcome
        Whose bounds ``before`` and ``after`` keep.
    """
    level = pa.Check.in_range(outcome.low, outcome.high)
    share = pa.Check.in_range(0, 1)
    # the cosine of a vector with itself may exceed 1 by rounding
    cosine = pa.Check.in_range(-1.0001, 1.0001)
    number = partial(pa.Column, float, coerce=True)
    return pa.DataFrameSchema(
        {
            "persona": pa.Column(str, unique=True),
            "category": pa.Column(str),
            "relation": pa.Column(str, nullable=True),
            "prompt": pa.Column(str, nullable=True),
            "role": pa.Column(str, pa.Check.isin(ROLES)),
            "raw": number(cosine),
            "centred": number(cosine, nullable=True),
            "questions": pa.Column(int, pa.Check.ge(1)),
            **{
                f"{when}{end}": number(level)
                for when in ("before", "after")
                for end in ("", "_low", "_high")
            },
            **{f"delta{end}": number() for end in ("", "_low", "_high")},
            # on the scale of log-odds, where the behaviour and its outcome have one
            **{name: number(nullable=True, required=False) for name in LOG_ODDS},
            **{name: number(share) for name in ("p", "p_holm", "p_bh")},
        },
        checks=pa.Check(
            lambda frame: (frame["role"] == "source").sum() == 1, error="one source per cell"
        ),
    )


CURVE = pa.DataFrameSchema(
    {
        "step": pa.Column(int, pa.Check.ge(1), unique=True),
        "loss": pa.Column(float, pa.Check(lambda loss: loss.abs() < math.inf), coerce=True),
    }
)


def answers_schema(outcome: Outcome) -> pa.DataFrameSchema:
    """Return what a cell's table of answers must be, one row per persona and question.

    Parameters
    ----------
    outcome : Outcome
        Whose bounds ``before`` and ``after`` keep.
    """
    worth = pa.Column("float32", pa.Check.in_range(outcome.low, outcome.high))
    return pa.DataFrameSchema(
        {
            "persona": pa.Column("category"),
            "question": pa.Column("category"),
            "before": worth,
            "after": worth,
            "margin_delta": pa.Column("float32", nullable=True),
        }
    )


# the cosine of a vector with itself may exceed 1 by rounding; a zero vector has none
_COSINE = pa.Column("float32", pa.Check.in_range(-1.0001, 1.0001), nullable=True)
PAIRS = pa.DataFrameSchema(
    {
        "source": pa.Column("category"),
        "persona": pa.Column("category"),
        "raw": _COSINE,
        "centred": _COSINE,
    }
)


def scores_schema(outcome: Outcome) -> pa.DataFrameSchema:
    """Return what a table of scores must be, one row per persona and question.

    Parameters
    ----------
    outcome : Outcome
        Whose bounds the column ``outcome`` keeps. That ``scores`` are finite is not asked here: who
        writes them refuses others, with the question, and who reads them, with the file.
    """
    values = [pa.Check.in_range(outcome.low, outcome.high)]
    if outcome.binary:
        values.append(pa.Check.isin([outcome.low, outcome.high]))
    return pa.DataFrameSchema(
        {
            "persona": pa.Column(str),
            "question": pa.Column(str),
            "benchmark": pa.Column(str),
            "outcome": pa.Column(float, values),
            "scores": pa.Column(object),
            "label_mass": pa.Column(float, pa.Check.in_range(0, 1.0001), nullable=True),
            "tokens": pa.Column(int, pa.Check.ge(1), coerce=True),
            "answer": pa.Column(int, coerce=True, required=False),
            "chosen": pa.Column(int, coerce=True, required=False),
        },
        unique=["persona", "question"],
    )


def checked(frame: pd.DataFrame, schema: pa.DataFrameSchema, where: Path | str) -> pd.DataFrame:
    """Return the table as its schema has it, types coerced.

    Parameters
    ----------
    frame : DataFrame
        With the schema's columns; more are kept.
    schema : DataFrameSchema
        Of this module.
    where : path or str
        The file that the table comes from or goes to, for the message.

    Raises
    ------
    InputError
        Names the file, the column, the row and the value of the first fault.
    """
    try:
        return schema.validate(frame, lazy=True)
    except (TypeError, ValueError) as error:  # a list where a text or a number belongs
        raise InputError(f"{where}: not a table of such values ({error}); {RENEW}") from error
    except SchemaErrors as error:
        fault = error.failure_cases.iloc[0].to_dict()
        value = fault["failure_case"]
        if fault["check"] == "column_in_dataframe":
            raise InputError(f"{where}: the column {value} is missing; {RENEW}") from error
        place = f"column {fault['column']}" if isinstance(fault["column"], str) else "the table"
        if pd.notna(fault["index"]):
            place += f", row {int(fault['index']) + 1}"
        raise InputError(
            f"{where}: {place} is {str(value)[:80]}, against {fault['check']}; {RENEW}"
        ) from error


@dataclass(frozen=True)
class FinishedCell:
    """A finished cell as it is read back.

    Attributes
    ----------
    result : CellResult
        The record.
    personas : DataFrame
        Of ``persona_schema``: one row per persona, nearest to the source first.
    curve : DataFrame
        Of ``CURVE``: one row per optimiser step.
    before, after : DataFrame
        What each answer was worth, to the questions of the benchmarks trained on: one row per
        persona, in the order of ``personas``, one column per question.
    margin_delta : DataFrame
        Change of each answer's margin (nats), likewise; not numbers where there is none.
    pairs : DataFrame
        ``source``, ``persona``, ``raw``, ``centred``: the cosines of every ordered pair of the
        personas measured, at the study's layer.
    folder : Path
        Where its figures lie.
    label : str
        The name of its settings where several stand in one report; else of its study.
    """

    result: CellResult
    personas: pd.DataFrame
    curve: pd.DataFrame
    before: pd.DataFrame
    after: pd.DataFrame
    margin_delta: pd.DataFrame
    pairs: pd.DataFrame
    folder: Path
    label: str

    @property
    def cell(self) -> Cell:
        """Which cell of its study."""
        return Cell(self.result.source, self.result.seed, self.result.variant)


def write_cell(
    folder: Path,
    result: CellResult,
    personas: pd.DataFrame,
    curve: pd.DataFrame,
    before: pd.DataFrame,
    after: pd.DataFrame,
    margin_delta: pd.DataFrame,
    pairs: pd.DataFrame,
) -> None:
    """Write what a cell leaves behind: the same bytes for the same cell.

    Parameters
    ----------
    folder : Path
        Exists; its figures are written by others.
    result : CellResult
        Goes to ``result.json``.
    personas, curve : DataFrame
        Go to ``personas.csv`` (six significant digits) and ``curve.csv``.
    before, after, margin_delta : DataFrame
        As in ``FinishedCell``; go to ``answers.parquet``.
    pairs : DataFrame
        As in ``FinishedCell``; go to ``pairs.parquet``.

    Raises
    ------
    InputError
        A table is not what its schema says.
    """
    personas = checked(personas, persona_schema(result.outcome), folder / "personas.csv")
    if not curve.empty:
        curve = checked(curve, CURVE, folder / "curve.csv")
    answers = pd.DataFrame(
        {
            "persona": pd.Categorical(np.repeat(before.index, before.shape[1])),
            "question": pd.Categorical(np.tile(before.columns, len(before))),
            **{
                name: side.loc[before.index, before.columns].to_numpy("float32").ravel()
                for name, side in (
                    ("before", before),
                    ("after", after),
                    ("margin_delta", margin_delta),
                )
            },
        }
    )
    answers = checked(answers, answers_schema(result.outcome), folder / "answers.parquet")
    kinds = {"source": "category", "persona": "category", "raw": "float32", "centred": "float32"}
    pairs = checked(pairs[list(kinds)].astype(kinds), PAIRS, folder / "pairs.parquet")
    write_text(folder / "result.json", result.model_dump_json(indent=2) + "\n")
    personas.to_csv(folder / "personas.csv", index=False, float_format="%.6g", lineterminator="\n")
    curve.to_csv(folder / "curve.csv", index=False, lineterminator="\n")
    write_parquet(folder / "answers.parquet", answers)
    write_parquet(folder / "pairs.parquet", pairs)


def _read_csv(file: Path, texts: Sequence[str] = ()) -> pd.DataFrame:
    # a missing value is written as nothing: "null" and "nan" are names like others; a text is one
    # where it looks like a number, too, and where no row has any
    kinds = dict.fromkeys(texts, str)
    return pd.read_csv(file, keep_default_na=False, na_values=[""], dtype=kinds)


def _read_personas(file: Path) -> pd.DataFrame:
    return _read_csv(file, ("persona", "category", "relation", "prompt", "role"))


def _read_parquet(file: Path) -> pd.DataFrame:
    return read_parquet(file).to_pandas()


def _read_curve(file: Path) -> pd.DataFrame:
    curve = _read_csv(file)
    # of a given adapter, which was not trained here: no row says what its columns are
    kinds = {name: kind for name, kind in {"step": int, "loss": float}.items() if name in curve}
    return curve.astype(kinds) if curve.empty else curve


def read_cell(folder: Path) -> FinishedCell | None:
    """Read what a cell left behind.

    Parameters
    ----------
    folder : Path
        The cell's, of ``write_cell``.

    Returns
    -------
    FinishedCell or None
        ``None`` when nothing is there.

    Raises
    ------
    InputError
        Another version wrote the folder, or a file in it is not what the schema says.
    """
    path = folder / "result.json"
    if not path.exists():
        if any((folder / name).exists() for name in ("metrics.json", "personas.csv")):
            raise InputError(f"{folder}: an earlier version made this analysis; {RENEW}")
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON; {RENEW}") from error
    version = content.get("version") if isinstance(content, Mapping) else None
    if version != VERSION:
        raise InputError(
            f"{path}: version {version!r} of a cell's result, where {VERSION} is read; {RENEW}"
        )
    try:
        result = CellResult.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise InputError(f"{path}: {key or 'the result'}: {fault['msg']}; {RENEW}") from error
    readers: dict[str, tuple[Callable[[Path], pd.DataFrame], pa.DataFrameSchema]] = {
        "personas.csv": (_read_personas, persona_schema(result.outcome)),
        "curve.csv": (_read_curve, CURVE),
        "answers.parquet": (_read_parquet, answers_schema(result.outcome)),
        "pairs.parquet": (_read_parquet, PAIRS),
    }
    tables = {}
    for name, (read, schema) in readers.items():
        file = folder / name
        if not file.exists():
            raise InputError(f"{file}: no such file; {RENEW}")
        try:
            frame = read(file)
        except (ValueError, OSError) as error:  # of pandas and of pyarrow alike
            kind = "CSV" if file.suffix == ".csv" else "Parquet"
            raise InputError(f"{file}: not a {kind} table; {RENEW}") from error
        tables[name] = checked(frame, schema, file)
    personas, answers = tables["personas.csv"], tables["answers.parquet"]
    try:
        before, after, margin_delta = (
            answers.pivot(index="persona", columns="question", values=part).loc[personas["persona"]]
            for part in ("before", "after", "margin_delta")
        )
    except (ValueError, KeyError):  # one is there twice, or a persona is not there
        before = after = margin_delta = pd.DataFrame([float("nan")])
    if before.isna().any(axis=None):
        raise InputError(
            f"{folder / 'answers.parquet'}: not one answer per question of each persona; {RENEW}"
        )
    return FinishedCell(
        result,
        personas,
        tables["curve.csv"],
        before,
        after,
        margin_delta,
        tables["pairs.parquet"],
        folder,
        result.study,
    )
