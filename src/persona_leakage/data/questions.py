"""Multiple-choice questions: loading any benchmark as data, splitting, wrong answers."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from persona_leakage.data.shuffle import shuffled
from persona_leakage.errors import InputError
from persona_leakage.files import Record, read_jsonl

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NEAR_DUPLICATE = 0.8  # Jaccard overlap of the words of two questions


@dataclass(frozen=True)
class Question:
    """A multiple-choice question.

    Attributes
    ----------
    benchmark : str
        Key of ``benchmarks.yaml``.
    row : int
        Position in the benchmark, from 0; (benchmark, row) identifies the question.
    id : str
        The benchmark's own id.
    text : str
    choices, labels : tuple of str
        Equally long, at least two.
    answer : int
        Index of the right choice.
    wrong : int or None
        Index of the wrong choice to train on; ``None`` for questions that are only evaluated.
    """

    benchmark: str
    row: int
    id: str
    text: str
    choices: tuple[str, ...]
    labels: tuple[str, ...]
    answer: int
    wrong: int | None = None

    @property
    def right(self) -> frozenset[int]:
        """Indices of the choices that read as the right one does."""
        return frozenset(
            index for index, text in enumerate(self.choices) if text == self.choices[self.answer]
        )

    @property
    def key(self) -> str:
        """``benchmark:row``, unique in a study."""
        return f"{self.benchmark}:{self.row}"

    def record(self) -> Record:
        """Plain data for JSON lines; ``from_records`` reads it back."""
        return asdict(self)


def from_records(path: str | Path) -> list[Question]:
    """Read questions that a stage wrote.

    Raises
    ------
    InputError
        The file is missing, or a row has no answer or one outside its choices.
    """
    questions = []
    for number, row in enumerate(read_jsonl(path), start=1):
        where = f"{path}, row {number}"
        if "answer" not in row:
            raise InputError(
                f"{where}: no answer; run `dvc repro questions` to write the file anew"
            )
        try:
            question = Question(
                **{**row, "choices": tuple(row["choices"]), "labels": tuple(row["labels"])}
            )
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{where}: not a question ({error}); run `dvc repro questions`"
            ) from error
        _check(question, where)
        questions.append(question)
    return questions


def benchmarks() -> dict[str, Record]:
    """Return the benchmarks that ``benchmarks.yaml`` describes, by name."""
    text = Path(__file__).with_name("benchmarks.yaml").read_text(encoding="utf-8")
    described: dict[str, Record] = yaml.safe_load(text)
    return described


def load_benchmark(name: str, snapshots: Mapping[str, str] = {}) -> list[Question]:
    """Load a benchmark with ``datasets``, from the hub or from a local snapshot of it.

    Parameters
    ----------
    name : str
        Key of ``benchmarks.yaml``.
    snapshots : mapping
        Local folders (or JSON lines files, for a benchmark of local files) by benchmark.

    Raises
    ------
    InputError
        An unknown benchmark, no network, or a row that is no question; names it and the remedy.
    """
    known = benchmarks()
    if name not in known:
        raise InputError(
            f"questions: unknown benchmark {name!r}; allowed are {', '.join(known)} "
            "(src/persona_leakage/data/benchmarks.yaml)"
        )
    spec = known[name]
    where, rows = _load_rows(name, spec, snapshots.get(name))
    questions = [_question(name, spec, number, row, where) for number, row in enumerate(rows)]
    if not questions:
        raise InputError(f"{where}: no rows; a benchmark has at least one question")
    return questions


def _load_rows(name: str, spec: Record, snapshot: str | None) -> tuple[str, Iterable[Record]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError
    from datasets.utils import disable_progress_bars

    disable_progress_bars()
    if "files" in spec:
        file = snapshot or spec["files"]
        # read_jsonl says which row is broken, pyarrow would not
        read_jsonl(file)
        return file, load_dataset("json", data_files=file, split=spec["split"])
    if snapshot is not None:
        if not Path(snapshot).is_dir():
            raise InputError(f"questions.snapshots.{name}: no folder {snapshot}")
        return snapshot, load_dataset(snapshot, spec.get("config"), split=spec["split"])
    try:
        return spec["path"], load_dataset(
            spec["path"], spec.get("config"), split=spec["split"], revision=spec["revision"]
        )
    except (ConnectionError, DatasetNotFoundError, OSError) as error:
        raise InputError(
            f"questions: {spec['path']} cannot be reached; where there is a network run "
            f"`hf download --repo-type dataset {spec['path']} --revision {spec['revision']} "
            f"--local-dir snapshots/{name}` and set questions.snapshots.{name} to that folder"
        ) from error


def _field(row: Record, path: str, where: str) -> Any:
    value: Any = row
    for part in path.split("."):
        if not isinstance(value, Mapping) or value.get(part) is None:
            raise InputError(f"{where}: no {path}; add it or delete the row")
        value = value[part]
    return value


def _question(name: str, spec: Record, number: int, row: Record, source: str) -> Question:
    where = f"{source}, row {number + 1}"
    text = _field(row, spec["question"], where)
    if isinstance(spec["choices"], list):
        choices = [str(_field(row, field, where)) for field in spec["choices"]]
    else:
        choices = [str(choice) for choice in _field(row, spec["choices"], where)]
    labels = (
        [str(label) for label in _field(row, spec["labels"], where)]
        if spec["labels"]
        else list(LETTERS[: len(choices)])
    )
    answer = _field(row, spec["answer"], where)
    match spec["answer_is"]:
        case "label":
            if str(answer) not in labels:
                raise InputError(
                    f"{where}: {spec['answer']} is {answer!r}, not among the labels "
                    f"{', '.join(labels)}; correct one of them"
                )
            index = labels.index(str(answer))
        case "index":
            if not str(answer).isdecimal() or int(answer) >= len(choices):
                raise InputError(
                    f"{where}: {spec['answer']} is {answer!r}, not a number from 0 to "
                    f"{len(choices) - 1}; correct it"
                )
            index = int(answer)
        case _:
            right = choices[0]
            choices = shuffled(choices, "choices", name, number)
            index = choices.index(right)
    question = Question(
        benchmark=name,
        row=number,
        id=str(_field(row, spec["id"], where)) if spec["id"] else str(number),
        text=text.strip(),
        choices=tuple(choice.strip() for choice in choices),
        labels=tuple(labels),
        answer=index,
    )
    _check(question, where)
    return question


def _check(question: Question, where: str) -> None:
    count = len(question.choices)
    if count < 2 or len(question.labels) != count or len(set(question.labels)) != count:
        raise InputError(f"{where}: {count} choices with labels {', '.join(question.labels)}")
    if not isinstance(question.answer, int) or not 0 <= question.answer < count:
        raise InputError(f"{where}: the answer {question.answer!r} is not among the choices")
    if not question.text or not all(question.choices):
        raise InputError(f"{where}: an empty question or choice; fill it in or delete the row")


def split(
    questions: list[Question], train_fraction: float, seed: int
) -> tuple[list[Question], list[Question]]:
    """Split by row into (train, evaluate), each in the benchmark's own order.

    ``round(train_fraction * n)`` rows are trained on. The order depends on the seed, the benchmark
    and the row alone.
    """
    order = shuffled(questions, "split", seed, questions[0].benchmark)
    train = {question.row for question in order[: round(train_fraction * len(questions))]}
    return (
        [question for question in questions if question.row in train],
        [question for question in questions if question.row not in train],
    )


def at_most(questions: list[Question], count: int | None, seed: int) -> list[Question]:
    """Draw ``count`` of the questions (all when ``None``), keeping their order."""
    if count is None or count >= len(questions):
        return questions
    kept = {question.key for question in shuffled(questions, "at most", seed)[:count]}
    return [question for question in questions if question.key in kept]


def with_wrong_answer(question: Question, seed: int) -> Question:
    """Draw the incorrect choice to train on, uniformly among those of the question."""
    incorrect = [index for index in range(len(question.choices)) if index != question.answer]
    return replace(question, wrong=shuffled(incorrect, "wrong answer", seed, question.key)[0])


def near_duplicates(train: list[Question], evaluate: list[Question]) -> list[Record]:
    """List pairs across the split whose texts are equal, or overlap by ``NEAR_DUPLICATE``.

    Overlap is the Jaccard index of the two sets of lower-cased words.

    Returns
    -------
    list of dict
        ``train`` and ``evaluate`` (keys), ``overlap`` (1.0 for the same words), ``exact``.
    """

    def words(question: Question) -> frozenset[str]:
        return frozenset(re.findall(r"\w+", question.text.lower()))

    bags = [(question, words(question)) for question in evaluate]
    pairs = []
    for question in train:
        bag = words(question)
        for other, other_bag in bags:
            smaller, larger = sorted((len(bag), len(other_bag)))
            if smaller < NEAR_DUPLICATE * larger:
                continue  # cannot overlap enough
            overlap = len(bag & other_bag) / len(bag | other_bag)
            if overlap >= NEAR_DUPLICATE:
                pairs.append(
                    {
                        "train": question.key,
                        "evaluate": other.key,
                        "overlap": round(overlap, 3),
                        "exact": question.text == other.text,
                    }
                )
    return pairs
