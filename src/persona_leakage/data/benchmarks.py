"""Benchmarks as data: ``benchmarks.yaml`` says where the rows are and which field says what."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from reprlib import repr as shortened
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from persona_leakage.data.questions import Question, check, refuse_twins
from persona_leakage.data.shuffle import shuffled
from persona_leakage.errors import InputError
from persona_leakage.files import Record, read_jsonl, read_yaml, sha256
from persona_leakage.study.cell import Name
from persona_leakage.study.parameters import watched

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DESCRIPTIONS = Path(__file__).with_name("benchmarks.yaml")

FieldName = Annotated[str, Field(min_length=1)]


class Benchmark(BaseModel):
    """Which field of a row says what; fields within fields are written with a dot.

    Attributes
    ----------
    id : str or None
        Field of an id; ``None``: the row's number.
    question : str
        Field of the question's text.
    choices : str or list of str
        Field of the list of choices, or the fields with one choice each.
    labels : str or None
        Field of the choices' labels; ``None``: A, B, C, ...
    answer : str or None
        Field of the right choice; ``None`` with ``answer_is: first``.
    answer_is : {"label", "index", "first"}
        What that field holds: a label, an index from 0, or nothing, the right choice being the
        first, which is then put in an order drawn from the row's number.
    credit : str
        Who made it, under which licence, as reports that quote it say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: FieldName | None
    question: FieldName
    choices: FieldName | Annotated[list[FieldName], Field(min_length=2)]
    labels: FieldName | None
    answer: FieldName | None = None
    answer_is: Literal["label", "index", "first"]
    credit: str = ""

    @model_validator(mode="after")
    def _says_where_the_answer_is(self) -> "Benchmark":
        if (self.answer is None) != (self.answer_is == "first"):
            raise ValueError(
                "answer names the field of the right choice, except with answer_is: first"
            )
        return self


class LocalBenchmark(Benchmark):
    """One question per line of a local JSON lines file, where DVC notices a change of it."""

    file: FieldName

    @field_validator("file")
    @classmethod
    def _watched(cls, file: str) -> str:
        if not watched(file):
            raise ValueError("put it into the folder snapshots, so that a change of it is noticed")
        return file


class HubBenchmark(Benchmark):
    """A split of a dataset repository of the hub, at a pinned commit."""

    path: FieldName
    config: FieldName | None = None
    split: FieldName
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]

    def download(self, name: str) -> str:
        """Write the command that fetches a snapshot of it.

        Parameters
        ----------
        name : str
            The benchmark's name.
        """
        return (
            f"`hf download --repo-type dataset {self.path} --revision {self.revision} "
            f"--local-dir snapshots/{name}`"
        )


def benchmarks(path: str | Path = DESCRIPTIONS) -> dict[str, LocalBenchmark | HubBenchmark]:
    """Return the benchmarks that are described, by name.

    Parameters
    ----------
    path : str or Path
        A file like ``benchmarks.yaml``.

    Raises
    ------
    InputError
        An entry with an unknown or missing key, or a value that is not allowed; names them.
    """
    path = Path(path)
    try:
        entries = TypeAdapter(dict[Name, dict[str, Any]]).validate_python(read_yaml(path))
    except ValidationError as error:
        raise InputError(
            f"{path}: not a mapping of names (snake_case) to descriptions ({_first_line(error)})"
        ) from error
    return {name: _described(path, name, entry) for name, entry in entries.items()}


def _described(path: Path, name: str, entry: Record) -> LocalBenchmark | HubBenchmark:
    kind = LocalBenchmark if "file" in entry else HubBenchmark
    try:
        return kind.model_validate(entry)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
    where, key = f"{path}, {name}", str(fault["loc"][0]) if fault["loc"] else ""
    match fault["type"]:
        case "extra_forbidden":
            allowed = ", ".join(kind.model_fields)
            raise InputError(f"{where}: unknown key {key}; allowed are {allowed}")
        case "missing":
            raise InputError(f"{where}: the key {key} is missing; add it")
        case _:
            value = f"{key} is {shortened(fault['input'])}: " if key else ""
            raise InputError(f"{where}: {value}{fault['msg'].removeprefix('Value error, ')}")


def credits_of(names: Iterable[str]) -> dict[str, str]:
    """Say who made these benchmarks, as far as their descriptions do.

    Parameters
    ----------
    names : iterable of str
        Keys of ``benchmarks.yaml``.
    """
    described = benchmarks()
    return {name: described[name].credit for name in names if described[name].credit}


def load_benchmark(name: str, snapshots: Mapping[str, str] = {}) -> list[Question]:
    """Load a benchmark from the hub, from a local snapshot of it, or from a local file.

    What lies on this machine is read anew each time and never from the cache of ``datasets``,
    which takes a folder of the same name for the same data.

    Parameters
    ----------
    name : str
        Key of ``benchmarks.yaml``.
    snapshots : mapping
        Local folders (or JSON lines files, for a benchmark of a local file) by benchmark.

    Raises
    ------
    InputError
        An unknown benchmark, no network, or a row that is no question; names it and the remedy.
        In a file of the user's own also a choice that is there twice.
    """
    benchmark = known(name, snapshots)
    where, rows = _rows(name, benchmark, snapshots.get(name))
    questions = [_question(name, benchmark, number, row, where) for number, row in enumerate(rows)]
    if not questions:
        raise InputError(f"{where}: no rows; a benchmark has at least one question")
    return questions


def provenance(name: str, snapshots: Mapping[str, str] = {}) -> Record:
    """State what a benchmark is read from: the files and their SHA-256, or the hub's commit.

    Parameters
    ----------
    name : str
        Key of ``benchmarks.yaml``.
    snapshots : mapping
        As for ``load_benchmark``.

    Returns
    -------
    dict
        ``repository`` and ``revision``, or ``files``: SHA-256 by name within the snapshot.
    """
    benchmark, snapshot = known(name, snapshots), snapshots.get(name)
    files = local_files(name, snapshots)
    if isinstance(benchmark, HubBenchmark) and snapshot is None:
        return {"repository": benchmark.path, "revision": benchmark.revision}
    inside = Path(snapshot) if isinstance(benchmark, HubBenchmark) and snapshot else None
    return {
        "files": {
            file.relative_to(inside).as_posix() if inside else file.name: sha256(file)
            for file in files
        }
    }


def local_files(name: str, snapshots: Mapping[str, str] = {}) -> list[Path]:
    """List the files of this machine that a benchmark is read from; none where it is the hub.

    Parameters
    ----------
    name : str
        Key of ``benchmarks.yaml``.
    snapshots : mapping
        As for ``load_benchmark``.
    """
    benchmark, snapshot = known(name, snapshots), snapshots.get(name)
    if isinstance(benchmark, LocalBenchmark):
        return [Path(snapshot or benchmark.file)]
    if snapshot is None:
        return []
    folder = Path(snapshot)
    return sorted(
        path
        for path in folder.rglob("*")
        # `hf download` keeps its own records in a hidden folder
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )


def known(name: str, snapshots: Mapping[str, str] = {}) -> LocalBenchmark | HubBenchmark:
    """Find a benchmark's description; nothing of it is read.

    Parameters
    ----------
    name : str
        Key of ``benchmarks.yaml``.
    snapshots : mapping
        As for ``load_benchmark``.

    Raises
    ------
    InputError
        An entry of ``benchmarks.yaml`` that is no description, or no entry of this name.
    """
    all_benchmarks = benchmarks()
    for key in (name, *snapshots):
        if key not in all_benchmarks:
            raise InputError(
                f"questions: unknown benchmark {key!r}; allowed are {', '.join(all_benchmarks)} "
                "(src/persona_leakage/data/benchmarks.yaml)"
            )
    return all_benchmarks[name]


def _rows(
    name: str, benchmark: LocalBenchmark | HubBenchmark, snapshot: str | None
) -> tuple[str, Iterable[Record]]:
    """Name the rows' origin, and the rows, for messages."""
    if isinstance(benchmark, LocalBenchmark):
        file = snapshot or benchmark.file
        if not Path(file).is_file():
            raise InputError(f"{file}: no such file; the benchmark {name} is read from it")
        return file, read_jsonl(file)

    from datasets import load_dataset
    from datasets.utils import disable_progress_bars

    disable_progress_bars()
    source, config, split = benchmark.path, benchmark.config, benchmark.split
    # a loader of foreign files raises whatever its parsers and clients raise: each such error is
    # about the folder or the connection, and its remedy is the same
    if snapshot is None:
        try:
            return source, load_dataset(source, config, split=split, revision=benchmark.revision)
        except Exception as error:
            raise InputError(
                f"questions: {source} cannot be reached ({type(error).__name__}); where there is a "
                f"network run {benchmark.download(name)} and set questions.snapshots.{name} to "
                "that folder"
            ) from error
    if not Path(snapshot).is_dir():
        raise InputError(f"questions.snapshots.{name}: no folder {snapshot}")
    try:
        # streaming reads the files themselves; without it they are looked up in a cache by the
        # folder's name, and what has been replaced in place goes unnoticed
        return snapshot, list(load_dataset(snapshot, config, split=split, streaming=True))
    except Exception as error:
        raise InputError(
            f"{snapshot}: no snapshot of {name} ({_first_line(error)}); fetch it whole, with its "
            f"README.md: {benchmark.download(name)}"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]


def _field(row: Record, path: str, where: str) -> Any:
    value: Any = row
    for part in path.split("."):
        if not isinstance(value, Mapping) or value.get(part) is None:
            raise InputError(f"{where}: no {path}; add it or delete the row")
        value = value[part]
    return value


def _list(row: Record, path: str, where: str) -> list[Any]:
    values = _field(row, path, where)
    if not isinstance(values, list):
        raise InputError(f"{where}: {path} is {shortened(values)}, not a list; write [..., ...]")
    return values


def _text(value: Any, path: str, where: str) -> str:
    """Text as it is written: a number or date has lost how it was written, null says nothing."""
    if not isinstance(value, str):
        raise InputError(
            f"{where}: {path} holds {shortened(value)}, which is not text; put it in quotes"
        )
    return value.strip()


def _mark(value: Any, path: str, where: str) -> str:
    """Read a label or an id: text or a whole number."""
    return str(value) if type(value) is int else _text(value, path, where)


def _question(name: str, benchmark: Benchmark, number: int, row: Record, source: str) -> Question:
    where = f"{source}, row {number + 1}"
    if isinstance(benchmark.choices, list):
        choices = [_text(_field(row, path, where), path, where) for path in benchmark.choices]
    else:
        path = benchmark.choices
        choices = [_text(choice, path, where) for choice in _list(row, path, where)]
    if benchmark.labels:
        path = benchmark.labels
        labels = [_mark(label, path, where) for label in _list(row, path, where)]
    else:
        labels = list(LETTERS[: len(choices)])
    if benchmark.answer is None:
        right = choices[0]
        choices = shuffled(choices, "choices", name, number)
        index = choices.index(right)
    else:
        answer = _mark(_field(row, benchmark.answer, where), benchmark.answer, where)
        index = _index(answer, benchmark, labels, len(choices), where)
    question = Question(
        benchmark=name,
        row=number,
        id=_mark(_field(row, benchmark.id, where), benchmark.id, where)
        if benchmark.id
        else str(number),
        text=_text(_field(row, benchmark.question, where), benchmark.question, where),
        choices=tuple(choices),
        labels=tuple(labels),
        answer=index,
    )
    check(question, where)
    # a row of the hub is not the user's to correct: there such choices are listed, and are one
    if isinstance(benchmark, LocalBenchmark):
        refuse_twins(question, where)
    return question


def _index(answer: str, benchmark: Benchmark, labels: list[str], count: int, where: str) -> int:
    if benchmark.answer_is == "label":
        if answer not in labels:
            raise InputError(
                f"{where}: {benchmark.answer} is {shortened(answer)}, not among the labels "
                f"{', '.join(labels)[:80]}; correct one of them"
            )
        return labels.index(answer)
    if answer not in {str(index) for index in range(count)}:
        raise InputError(
            f"{where}: {benchmark.answer} is {shortened(answer)}, not a number from 0 to "
            f"{count - 1}; correct it"
        )
    return int(answer)
