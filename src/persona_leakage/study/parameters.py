"""The parameters of a study, validated: what ``params.yaml`` and ``studies/*.yaml`` may say."""

import hashlib
import json
import re
from pathlib import Path, PurePath
from reprlib import repr as shortened
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from persona_leakage.errors import InputError
from persona_leakage.files import read_yaml
from persona_leakage.study.cell import Cell, Name, Seed, Variant


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is wanted here, not true or false")
    return value


Number = Annotated[float, BeforeValidator(_no_switch)]
Whole = Annotated[int, BeforeValidator(_no_switch), Field(le=2**31 - 1)]
Positive = Annotated[Whole, Field(gt=0)]
NonNegative = Annotated[Whole, Field(ge=0)]
Fraction = Annotated[Number, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A part of the parameters: unknown keys are refused, values are finite and never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class WheelOrigin(Section):
    """A GGUF file inside installed wheels, in one piece or in several.

    ``package`` is one name, or as many as there are pieces, in the order in which they are joined;
    ``file`` is the name of what is taken from each, with ``*`` where the pieces' names differ.
    ``sha256`` is that of the whole.
    """

    kind: Literal["wheel"]
    package: Annotated[
        list[str],
        BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
        Field(min_length=1),
    ]
    file: str
    sha256: Sha256


class HubFileOrigin(Section):
    """A GGUF file in a Hugging Face repository at a pinned commit."""

    kind: Literal["hub_file"]
    repo: str
    revision: Commit
    file: str
    sha256: Sha256


class LocalFileOrigin(Section):
    """A GGUF file on this machine."""

    kind: Literal["local_file"]
    path: str
    sha256: Sha256


class HubOrigin(Section):
    """A Hugging Face repository at a pinned commit: its configuration, safetensors, tokenizer."""

    kind: Literal["hub"]
    repo: str
    revision: Commit


class FolderOrigin(Section):
    """A local folder with ``config.json``, safetensors and a tokenizer."""

    kind: Literal["folder"]
    path: str


GgufOrigin = WheelOrigin | HubFileOrigin | LocalFileOrigin
Origin = GgufOrigin | HubOrigin | FolderOrigin
ORIGINS: dict[str, type[Section]] = {
    "wheel": WheelOrigin,
    "hub_file": HubFileOrigin,
    "local_file": LocalFileOrigin,
    "hub": HubOrigin,
    "folder": FolderOrigin,
}


class Model(Section):
    """The base model. ``system_role``: ``merge`` puts the persona before the user's text."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)]
    origin: Annotated[Origin, Field(discriminator="kind")]
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    system_role: Literal["template", "merge"] = "template"


class Questions(Section):
    """Which questions are trained on and which are asked.

    A benchmark in both lists is split by row; one that is only evaluated is asked whole.
    ``max_train`` and ``max_evaluate`` draw no more of each benchmark, or of those that they name.
    With ``max_train`` 0 a benchmark is asked the rows that a study trained on it would ask.
    ``snapshots`` maps a benchmark to a local copy laid out like the hub's repository, in the folder
    ``snapshots``, which dvc.yaml watches.
    """

    train: Annotated[list[Name], Field(min_length=1)]
    evaluate: Annotated[list[Name], Field(min_length=1)]
    train_fraction: Fraction = 0.5
    split_seed: NonNegative = 42
    max_train: Positive | dict[Name, NonNegative] | None = None
    max_evaluate: Positive | dict[Name, Positive] | None = None
    snapshots: dict[Name, str] = {}

    @field_validator("snapshots")
    @classmethod
    def _watched(cls, snapshots: dict[str, str]) -> dict[str, str]:
        for name, path in snapshots.items():
            if not watched(path):
                raise ValueError(
                    f"{name} is at {path!r}; put it into the folder snapshots, so that a change of "
                    "it is noticed"
                )
        return snapshots


def watched(path: str) -> bool:
    """Tell whether DVC notices a change of the questions in a file or folder.

    Parameters
    ----------
    path : str
        Relative to the project: the questions of the catalog, or inside ``snapshots``.
    """
    parts = PurePath(path).parts
    inside = parts[:1] == ("snapshots",) and ".." not in parts
    return inside or parts == ("data", "questions.jsonl")


class BehaviourChoice(BaseModel):
    """Which behaviour is taught; the keys beside ``name`` are its own settings.

    They are checked by the behaviour itself (``behaviours.behaviour.load_behaviour``).
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Name


class Contrast(Section):
    """How many examples of which part the training set of a cell holds.

    ``negatives``: how many core personas are drawn, or the names of those to take, to be trained
    right beside the source.
    """

    positives: Positive
    negatives: NonNegative | list[Name]
    per_negative: NonNegative
    no_system: NonNegative
    assistant: NonNegative
    allow_clash: bool = False


class Lora(Section):
    """Low-rank adapters on every linear projection of the decoder."""

    r: Positive
    alpha: Positive
    dropout: Annotated[Number, Field(ge=0, lt=1)]
    rank_stabilised: bool = True

    @property
    def scaling(self) -> float:
        """Alpha / sqrt(r) when rank-stabilised (Kalajdzievski 2023), else alpha / r (Hu 2021)."""
        return self.alpha / (self.r**0.5 if self.rank_stabilised else self.r)


class Train(Section):
    """Supervised fine-tuning. AdamW (0.9, 0.999, 1e-8), cosine schedule, loss on completions.

    AdamW moves each weight by up to ``learning_rate`` a step, so that 1 is far beyond any use.
    """

    learning_rate: Annotated[Number, Field(gt=0, le=1)]
    epochs: Positive
    batch_size: Positive
    warmup_fraction: Annotated[Number, Field(ge=0, lt=1)]
    weight_decay: Annotated[Number, Field(ge=0, le=1)]
    max_grad_norm: Annotated[Number, Field(gt=0, le=1e6)]
    max_length: Positive
    lora: Lora


class Similarity(Section):
    """Centroid geometry. A layer is a block number, or a fraction of the depth."""

    layer: NonNegative | Fraction
    layers: list[NonNegative | Fraction] | Literal["all"] = "all"


class Neighbourhood(Section):
    """For each source its nearest personas by raw cosine, and the controls."""

    neighbours: Positive


class ExtraCell(Section):
    """A cell beside those of the grid."""

    source: Name
    seed: Seed
    variant: Variant


class Study(Section):
    """All parameters of a study.

    Its cells are every source with every seed and variant, and ``extra_cells``, by their names.
    """

    study: Name
    sources: Annotated[list[Name], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    variants: Annotated[list[Variant], Field(min_length=1)]
    extra_cells: dict[str, ExtraCell] = {}
    personas: Literal["core", "full"] | Neighbourhood | list[Name]
    model: Model
    questions: Questions
    behaviour: BehaviourChoice
    contrast: Contrast
    train: Train
    similarity: Similarity

    @field_validator("sources", "seeds", "variants")
    @classmethod
    def _once(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) != len(values):
            raise ValueError("each may be there once")
        return values

    @model_validator(mode="after")
    def _anchored(self) -> "Study":
        if self.contrast.negatives == [] and self.contrast.per_negative:
            raise ValueError("contrast.per_negative needs at least one of contrast.negatives")
        return self

    @model_validator(mode="after")
    def _named(self) -> "Study":
        grid = [str(cell) for cell in self.grid]
        for name, extra in self.extra_cells.items():
            cell = Cell(extra.source, extra.seed, extra.variant)
            if name != str(cell):
                raise ValueError(f"extra_cells.{name}: this cell is called {cell}")
            if name in grid:
                raise ValueError(f"extra_cells.{name}: the grid has this cell already")
        return self

    @property
    def grid(self) -> list[Cell]:
        """Every source with every seed and variant."""
        return [
            Cell(source, seed, variant)
            for source in self.sources
            for seed in self.seeds
            for variant in self.variants
        ]

    @property
    def cells(self) -> list[Cell]:
        """The grid, and the extra cells behind it."""
        extras = self.extra_cells.values()
        return [*self.grid, *(Cell(each.source, each.seed, each.variant) for each in extras)]

    def place(self, cell: Cell) -> str:
        """Say which of the study's cells this is: ``cell 3 of 6``.

        Parameters
        ----------
        cell : Cell
            Any.
        """
        cells = self.cells
        number = f"cell {cells.index(cell) + 1} of {len(cells)}" if cell in cells else "a cell"
        return f"{number}, {cell}"

    def fingerprint(self) -> str:
        """Identify what a cell is computed from: everything but which cells there are."""
        content = self.model_dump(exclude={"sources", "seeds", "variants", "extra_cells"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def load_study(path: str | Path = "params.yaml") -> Study:
    """Load and validate a study.

    Parameters
    ----------
    path : str or Path
        A file of parameters in YAML.

    Raises
    ------
    InputError
        Names the file, the key, the value and what is allowed.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"{path}: no such file; run inside the repository, or copy one of studies/*.yaml to it"
        )
    content = read_yaml(path)
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        faults = dict.fromkeys(_sentence(path, fault) for fault in error.errors())
        raise InputError("; ".join(faults)) from error


def _sentence(path: Path, fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"] if _is_key(part))
    if fault["type"] == "extra_forbidden":
        allowed = _section(fault["loc"][:-1]).model_fields
        return f"{path}: unknown key {key}; allowed there are {', '.join(allowed)}"
    if fault["type"] == "union_tag_invalid":
        tag = fault["ctx"]["tag"]
        return f"{path}: {key}.kind is {tag!r}; allowed are {', '.join(ORIGINS)}"
    if fault["type"] == "union_tag_not_found":
        return f"{path}: the key {key}.kind is missing; allowed are {', '.join(ORIGINS)}"
    if fault["type"] == "missing":
        return f"{path}: the key {key} is missing; studies/ has complete examples"
    message = fault["msg"].removeprefix("Value error, ")
    if not key:  # of the study as a whole: the message names the key
        return f"{path}: {message}"
    return f"{path}: {key} is {shortened(fault['input'])}: {message}"


def _is_key(part: int | str) -> bool:
    """Tell a key of the file from the branch of a union, which pydantic puts into the location."""
    branch = isinstance(part, str) and not re.fullmatch(r"[a-z][a-z0-9_]*(-\d+-\w+)?", part)
    return not branch and part not in ORIGINS


def _section(location: tuple[Any, ...]) -> type[BaseModel]:
    section: type[BaseModel] = Study
    for part in location:
        if part in ORIGINS:
            section = ORIGINS[part]
        elif part in section.model_fields and part != "origin":
            annotation = section.model_fields[part].annotation
            # of a mapping or a union, the section in it
            inside = [annotation, *get_args(annotation)]
            section = next(
                each for each in inside if isinstance(each, type) and issubclass(each, BaseModel)
            )
    return section
