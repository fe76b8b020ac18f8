"""Contrastive LoRA fine-tuning with TRL: the recipe, the trainer it builds, the loss curve."""

import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, PrinterCallback, set_seed
from trl import SFTConfig, SFTTrainer

from persona_leakage.errors import InputError
from persona_leakage.model.chat import SystemRole, Tokenizer, render_completion, tokenize
from persona_leakage.model.loading import Precision, device, dtype
from persona_leakage.model.scoring import common_prefix
from persona_leakage.study.parameters import Train
from persona_leakage.training.contrast import Example
from persona_leakage.training.processor_lora import lighten

Row = Mapping[str, Any]  # a row of ``dataset``
CURVE = ("step", "epoch", "loss", "learning_rate", "grad_norm")
IGNORED = -100  # the label that carries no loss, as torch's cross entropy has it


@dataclass(frozen=True)
class Trained:
    """What training gives besides the adapter on disk.

    Attributes
    ----------
    curve : DataFrame
        ``step``, ``epoch``, ``loss``, ``learning_rate``, ``grad_norm``; a row an optimiser step.
    trainable : int
        Number of trained parameters.
    """

    curve: pd.DataFrame
    trainable: int


def dataset(
    examples: Sequence[Example], tokenizer: Tokenizer, max_length: int, system_role: SystemRole
) -> Dataset:
    """Tokenise the conversations: columns ``input_ids``, ``labels`` and ``shared``.

    Labels are the ids of the completion and ``IGNORED`` on the prompt; ``shared`` is the number of
    tokens that all prompts of the example's persona begin with.

    Raises
    ------
    InputError
        A conversation is longer than ``max_length``; truncation would cut off its answer.
    """
    rows = []
    for number, example in enumerate(examples, start=1):
        prompt, completion = render_completion(
            tokenizer, example.system, example.user, example.opening, example.answer, system_role
        )
        prompt_ids, completion_ids = tokenize(tokenizer, prompt), tokenize(tokenizer, completion)
        length = len(prompt_ids) + len(completion_ids)
        if length > max_length:
            raise InputError(
                f"contrast.jsonl, row {number}: question {example.question} makes {length} tokens, "
                f"more than train.max_length {max_length}; raise it or drop the question"
            )
        rows.append(
            {
                "input_ids": prompt_ids + completion_ids,
                "labels": [IGNORED] * len(prompt_ids) + completion_ids,
            }
        )
    prompts: dict[str | None, list[list[int]]] = {}
    for example, row in zip(examples, rows, strict=True):
        own = row["input_ids"][: row["labels"].count(IGNORED)]
        prompts.setdefault(example.system, []).append(own)
    shared = {system: common_prefix(group) for system, group in prompts.items()}
    return Dataset.from_list(
        [{**row, "shared": shared[e.system]} for e, row in zip(examples, rows, strict=True)]
    )


class CompletionTrainer(SFTTrainer):
    """TRL's trainer with the loss formed where there is one: at the completion's tokens.

    TRL multiplies every position of the batch with the output matrix and then masks the prompt's;
    most of a conversation is prompt.
    """

    def compute_loss(  # noqa: D102 (the signature is transformers')
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        targets = inputs["labels"][:, 1:]
        kept, place = (targets != IGNORED).nonzero()[:, 1].unique(return_inverse=True)
        outputs = model(
            **{name: value for name, value in inputs.items() if name != "labels"},
            logits_to_keep=kept,
            use_cache=False,
        )
        row = (targets != IGNORED).nonzero()[:, 0]
        logits = outputs.logits[row, place].float()
        total = cross_entropy(logits, targets[targets != IGNORED], reduction="sum")
        count = len(row) if num_items_in_batch is None else num_items_in_batch
        loss = total / count
        return (loss, outputs) if return_outputs else loss


def build_trainer(
    model_directory: str | Path,
    tokenizer: Tokenizer,
    data: Dataset,
    recipe: Train,
    seed: int,
    precision: Precision,
    output: str | Path,
) -> SFTTrainer:
    """Build the trainer of a cell: base model, fresh adapter, optimiser settings.

    The base weights are frozen in the working precision; the adapter's are float32 masters.
    """
    set_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(
        model_directory,
        dtype=dtype(precision),
        attn_implementation="sdpa",
        use_safetensors=True,
    )
    model = get_peft_model(base, lora_config(recipe))
    if device().type == "cpu":
        lighten(model)
    return trainer_of(model, tokenizer, data, recipe, seed, precision, output)


def trainer_of(
    model: Any,
    tokenizer: Tokenizer,
    data: Dataset,
    recipe: Train,
    seed: int,
    precision: Precision,
    output: str | Path,
) -> SFTTrainer:
    """Build the trainer for a model that has its adapter already."""
    steps = math.ceil(len(data) / recipe.batch_size) * recipe.epochs
    config = SFTConfig(
        output_dir=str(output),
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(recipe.warmup_fraction * steps),
        optim="adamw_torch",
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        max_length=recipe.max_length,
        gradient_checkpointing=False,
        bf16=dtype(precision) is torch.bfloat16,
        fp16=False,
        tf32=None,
        use_cpu=device().type == "cpu",
        dataloader_pin_memory=device().type != "cpu",
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
        log_level="error",
        seed=seed,
        data_seed=seed,
    )
    # several GPUs would each take a batch of the recipe's size: other steps than asked for
    config._n_gpu = min(config.n_gpu, 1)
    trainer = CompletionTrainer(
        model=model,
        args=config,
        train_dataset=data,
        processing_class=tokenizer,
        data_collator=partial(pack, capacity=ROW_CAPACITY.get(device().type, 1 << 30)),
    )
    trainer.remove_callback(PrinterCallback)  # the curve is logged to MLflow, not to the screen
    return trainer


def pack(rows: Sequence[Row], capacity: int) -> dict[str, torch.Tensor]:
    """Lay the examples of a batch out in few rows, each shared beginning computed once.

    Examples that begin alike (those of one persona do: the system turn) share that beginning. An
    example sees its beginning and itself, nothing else, and keeps its own positions, so that every
    loss is the one of the example alone.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of ``dataset``.
    capacity : int
        Tokens in a row; what shares a beginning stays together even when it is longer, and then
        all rows may be as long.

    Returns
    -------
    dict of Tensor
        ``input_ids``, ``labels``, ``position_ids`` of shape (packed rows, length) and
        ``attention_mask``, bool, (packed rows, 1, length, length): true where a token sees another.
    """
    families: dict[tuple[int, ...], list[Row]] = {}
    for row in rows:
        families.setdefault(tuple(row["input_ids"][: row["shared"]]), []).append(row)
    pieces = [_Packed.of(family) for family in families.values()]
    packed: list[_Packed] = []
    # every row is padded to the longest: fill it, where that is longer than the capacity
    capacity = max(capacity, *(len(piece.ids) for piece in pieces))
    for piece in sorted(pieces, key=lambda piece: -len(piece.ids)):
        room = (other for other in packed if len(other.ids) + len(piece.ids) <= capacity)
        if (found := next(room, None)) is None:
            packed.append(piece)
        else:
            found.append(piece)

    length = max(len(row.ids) for row in packed)
    visible = torch.zeros(len(packed), length, length, dtype=torch.bool)
    for mask, line in zip(visible, packed, strict=True):
        mask.fill_diagonal_(True)  # padding sees itself: a softmax over nothing is not a number
        for start, end, own, stop in line.spans:
            mask[start:end, start:end] = True
            mask[own:stop, start:end] = True
            mask[own:stop, own:stop] = True

    def padded(lists: list[list[int]], filler: int) -> torch.Tensor:
        return torch.tensor([values + [filler] * (length - len(values)) for values in lists])

    return {
        "input_ids": padded([row.ids for row in packed], 0),
        "labels": padded([row.labels for row in packed], IGNORED),
        "position_ids": padded([row.positions for row in packed], 0),
        "attention_mask": visible.tril()[:, None],
    }


@dataclass
class _Packed:
    """A packed row; ``spans`` holds where each example's beginning and its own tokens lie."""

    ids: list[int]
    labels: list[int]
    positions: list[int]
    spans: list[tuple[int, int, int, int]]

    @classmethod
    def of(cls, family: Sequence[Row]) -> "_Packed":
        shared = family[0]["shared"]
        row = cls(family[0]["input_ids"][:shared], [IGNORED] * shared, list(range(shared)), [])
        for example in family:
            own = len(row.ids)
            row.ids += example["input_ids"][shared:]
            row.labels += example["labels"][shared:]
            row.positions += range(shared, len(example["input_ids"]))
            row.spans.append((0, shared, own, len(row.ids)))
        return row

    def append(self, other: "_Packed") -> None:
        offset = len(self.ids)
        self.ids += other.ids
        self.labels += other.labels
        self.positions += other.positions
        self.spans += [tuple(place + offset for place in span) for span in other.spans]  # type: ignore[misc]


# Attention is dense within a row: a processor pays for its square, a GPU prefers one long row.
ROW_CAPACITY = {"cpu": 256}


def lora_config(recipe: Train) -> LoraConfig:
    """Adapters on every linear projection of the decoder (q, k, v, o, gate, up, down)."""
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.lora.r,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        use_rslora=recipe.lora.rank_stabilised,
        target_modules="all-linear",
    )


def train(trainer: SFTTrainer, adapter: str | Path) -> Trained:
    """Run the trainer and save the adapter as safetensors."""
    trainer.train()
    trainer.model.save_pretrained(adapter)
    described = Path(adapter) / "adapter_config.json"
    described.write_text(canonical(described.read_text(encoding="utf-8")), encoding="utf-8")
    curve = pd.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    return Trained(curve[list(CURVE)], trainable)


def canonical(config: str) -> str:
    """Sort the lists of words in an adapter's configuration: peft writes sets in any order.

    Parameters
    ----------
    config : str
        JSON of an object.
    """
    content = {
        name: sorted(value)
        if isinstance(value, list) and all(isinstance(word, str) for word in value)
        else value
        for name, value in json.loads(config).items()
    }
    return json.dumps(content, indent=2, sort_keys=True)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for what the trainer writes beside the adapter."""
    return tempfile.TemporaryDirectory(prefix="persona-leakage-")
