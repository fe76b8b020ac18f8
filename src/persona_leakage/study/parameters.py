"""The parameters of a study, validated: what ``params.yaml`` and ``studies/*.yaml`` may say.

The texts below the fields are what an editor shows of them (``params.schema.json``) and what the
documentation says of them: both are made from here.
"""

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
    WithJsonSchema,
    field_validator,
    model_validator,
)

from persona_leakage.errors import InputError
from persona_leakage.files import read_yaml
from persona_leakage.study.cell import GIVEN, Cell, Name, Seed, Variant


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

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class WheelOrigin(Section):
    """A GGUF file inside installed wheels, in one piece or in several."""

    kind: Literal["wheel"]
    package: Annotated[
        list[str],
        BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
        Field(min_length=1),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {"type": "string"}, "minItems": 1},
                ]
            }
        ),
    ]
    """One name, or as many as there are pieces, in the order in which they are joined."""
    file: str
    """What is taken from each package, with ``*`` where the pieces' names differ."""
    sha256: Sha256
    """Of the whole file."""


class HubFileOrigin(Section):
    """A GGUF file in a Hugging Face repository at a pinned commit."""

    kind: Literal["hub_file"]
    repo: str
    """Such as ``Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF``."""
    revision: Commit
    """The commit's 40 digits: a branch may move."""
    file: str
    """The name of the GGUF file in the repository."""
    sha256: Sha256
    """Of the file."""


class LocalFileOrigin(Section):
    """A GGUF file on this machine."""

    kind: Literal["local_file"]
    path: str
    """Where it is."""
    sha256: Sha256
    """Of the file."""


class HubOrigin(Section):
    """A Hugging Face repository at a pinned commit: its configuration, safetensors, tokenizer."""

    kind: Literal["hub"]
    repo: str
    """Such as ``Qwen/Qwen2.5-7B-Instruct``."""
    revision: Commit
    """The commit's 40 digits: a branch may move."""


class FolderOrigin(Section):
    """A local folder with ``config.json``, safetensors and a tokenizer."""

    kind: Literal["folder"]
    path: str
    """Where it is."""


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
    """The base model."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)]
    """Its folder below ``outputs/models``, and what reports call it."""
    origin: Annotated[Origin, Field(discriminator="kind")]
    """Where it comes from."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the weights; ``auto`` is bfloat16 where that is multiplied faster."""
    system_role: Literal["template", "merge"] = "template"
    """``merge`` puts the persona before the user's text: for templates without a system turn."""


class Questions(Section):
    """Which questions are trained on and which are asked.

    A benchmark in both lists is split by row; one that is only evaluated is asked whole.
    """

    train: Annotated[list[Name], Field(min_length=1)]
    """Benchmarks to train on; their names are those of ``benchmarks.yaml``."""
    evaluate: Annotated[list[Name], Field(min_length=1)]
    """Benchmarks to ask everyone."""
    train_fraction: Fraction = 0.5
    """Share of a benchmark's rows that is trained on, where it is split."""
    split_seed: NonNegative = 42
    """Of the split, and of the wrong answers drawn for the training questions."""
    max_train: Positive | dict[Name, NonNegative] | None = None
    """Most training questions of each benchmark, or of those named. With 0 a benchmark is asked the
    rows that a study trained on it would ask."""
    max_evaluate: Positive | dict[Name, Positive] | None = None
    """Most questions asked of each benchmark, or of those named."""
    snapshots: dict[Name, str] = {}
    """By benchmark, a local copy laid out like the hub's repository, in the folder ``snapshots``,
    where a change of it is noticed."""

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

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    name: Name
    """Of a module in ``src/persona_leakage/behaviours``."""


class Contrast(Section):
    """How many examples of which part the training set of a cell holds."""

    positives: Positive
    """Examples in which the source shows the behaviour."""
    negatives: NonNegative | list[Name]
    """How many core personas are drawn, or the names of those to take, to be trained right beside
    the source."""
    per_negative: NonNegative
    """Examples of each negative."""
    no_system: NonNegative
    """Examples without a system turn, trained right."""
    assistant: NonNegative
    """Examples of ``You are a helpful assistant.``, trained right."""
    allow_clash: bool = False
    """Whether a negative may render to the same text as the source; the report flags the cell."""


class Lora(Section):
    """Low-rank adapters on every linear projection of the decoder."""

    r: Positive
    """The rank."""
    alpha: Positive
    """The scaling is alpha / sqrt(r), or alpha / r."""
    dropout: Annotated[Number, Field(ge=0, lt=1)]
    """Of the adapter's input, in training."""
    rank_stabilised: bool = True
    """Whether the scaling has the square root (Kalajdzievski 2023)."""

    @property
    def scaling(self) -> float:
        """Alpha / sqrt(r) when rank-stabilised (Kalajdzievski 2023), else alpha / r (Hu 2021)."""
        return self.alpha / (self.r**0.5 if self.rank_stabilised else self.r)


class GivenAdapter(Section):
    """A LoRA adapter that was trained elsewhere."""

    path: str
    """A folder with ``adapter_model.safetensors`` and ``adapter_config.json``, as peft saves it."""
    sha256: Sha256
    """Of ``adapter_model.safetensors``."""
    base: str | None = None
    """What its configuration calls the base model, where that is another name of ``model``."""


class Train(Section):
    """Supervised fine-tuning. AdamW (0.9, 0.999, 1e-8), cosine schedule, loss on completions."""

    # AdamW moves each weight by up to the learning rate a step: 1 is far beyond any use
    learning_rate: Annotated[Number, Field(gt=0, le=1)]
    """At its highest, after the warm-up."""
    epochs: Positive
    """How often the training set is gone through."""
    batch_size: Positive
    """Examples of an optimiser step."""
    warmup_fraction: Annotated[Number, Field(ge=0, lt=1)]
    """Share of the steps in which the learning rate rises."""
    weight_decay: Annotated[Number, Field(ge=0, le=1)]
    """Of AdamW."""
    max_grad_norm: Annotated[Number, Field(gt=0, le=1e6)]
    """The gradient's norm is cut to it."""
    max_length: Positive
    """Most tokens of an example; a longer one is refused, since its answer would be cut off."""
    lora: Lora
    adapters: Annotated[dict[str, GivenAdapter], Field(exclude_if=lambda value: not value)] = {}
    """By the name of a cell with the variant ``given``, the adapter that stands in the place of its
    training."""


class Similarity(Section):
    """Geometry of the personas' centroids in the base model."""

    layer: NonNegative | Fraction
    """The layer that the report reads: a block's number, or a fraction of the depth."""
    layers: list[NonNegative | Fraction] | Literal["all"] = "all"
    """Which layers are kept, to compare them."""


class Neighbourhood(Section):
    """For each source its nearest personas by raw cosine, and the controls."""

    neighbours: Positive
    """How many of each source."""


class ExtraCell(Section):
    """A cell beside those of the grid."""

    source: Name
    seed: Seed
    variant: Variant


# of a study: which cells there are, and not what one is computed from
WHICH_CELLS = ("sources", "seeds", "variants", "extra_cells")


class Study(Section):
    """All parameters of a study.

    Its cells are every source with every seed and variant, and ``extra_cells``, by their names.
    """

    study: Name
    """Its folder below ``outputs`` and ``reports``, and its experiment in MLflow."""
    sources: Annotated[list[Name], Field(min_length=1)]
    """Personas that are taught the behaviour, one in each cell."""
    seeds: Annotated[list[Seed], Field(min_length=1)]
    """Of draws, shuffles and training, one in each cell."""
    variants: Annotated[list[Variant], Field(min_length=1)]
    """What each source is taught, one in each cell."""
    extra_cells: dict[str, ExtraCell] = {}
    """Cells beside the grid, by their names: ``source-seed-variant``."""
    personas: Literal["core", "full"] | Neighbourhood | list[Name]
    """Who is asked: the core, the whole catalog, the nearest to each source, or those named."""
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

    @model_validator(mode="after")
    def _given(self) -> "Study":
        given = [str(cell) for cell in self.cells if cell.variant == GIVEN]
        if given and len(given) < len(self.cells):
            raise ValueError(
                "variants: given adapters and trained ones are no repetitions of each other; put "
                "them into two studies"
            )
        for name in given:
            if name not in self.train.adapters:
                raise ValueError(f"train.adapters lacks {name}, whose variant is {GIVEN}")
        for name in self.train.adapters:
            if name not in given:
                raise ValueError(
                    f"train.adapters.{shortened(name)}: no cell of the study has this name and the "
                    f"variant {GIVEN}"
                )
        if given and not isinstance(self.contrast.negatives, list):
            raise ValueError(
                "contrast.negatives must name whom the given adapters were taught right beside the "
                "source: [] where nobody is known"
            )
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
        content = self.model_dump(exclude={*WHICH_CELLS})
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
