"""Contrastive LoRA fine-tuning with TRL: the recipe, the trainer it builds, the loss curve."""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from datasets import Dataset
from peft.helpers import disable_input_dtype_casting
from torch.nn.functional import cross_entropy
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, set_seed
from trl import SFTConfig, SFTTrainer

from persona_leakage.errors import InputError
from persona_leakage.model import architecture
from persona_leakage.model.architecture import CausalLM
from persona_leakage.model.chat import SystemRole, Tokenizer
from persona_leakage.model.kernels import one_device
from persona_leakage.model.loading import Precision, device, dtype, load_weights
from persona_leakage.model.shared_prefix import IGNORED, completion_logits
from persona_leakage.study.parameters import Train
from persona_leakage.training.adapter import adapted
from persona_leakage.training.example import Example
from persona_leakage.training.processor_lora import lighten
from persona_leakage.training.recorded import Batch, RecordedSteps
from persona_leakage.training.rows import collator, tokenised
from persona_leakage.training.shown import Bar

CURVE = ("step", "epoch", "loss", "learning_rate", "grad_norm")
CHECKPOINT_SECONDS = 60  # between checkpoints: what a training that was killed loses at most
COMPLETE = "complete"  # a file of this name ends a checkpoint


def dataset(
    examples: Sequence[Example], tokenizer: Tokenizer, max_length: int, system_role: SystemRole
) -> Dataset:
    """Put the rows of a training set into the table that TRL reads.

    Parameters
    ----------
    examples : sequence of Example
        The training set, in its order.
    tokenizer : transformers tokenizer
        The model's own.
    max_length : int
        See ``rows.tokenised``.
    system_role : {"template", "merge"}
        Likewise.
    """
    table = pa.Table.from_pylist(tokenised(examples, tokenizer, max_length, system_role))
    # named here, since datasets would pickle the table to hash it, which not every pyarrow survives
    return Dataset(table, fingerprint=hashlib.sha256(str(table.to_pydict()).encode()).hexdigest())


class CompletionTrainer(SFTTrainer):
    """TRL's trainer with the loss formed where there is one: at the completion's tokens.

    TRL multiplies every position of the batch with the output matrix and then masks the prompt's;
    most of a conversation is prompt. On a GPU its steps are recorded.
    """

    def __init__(self, *args: Any, **more: Any):
        super().__init__(*args, **more)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        on_gpu = self.args.device.type == "cuda"
        self.recorded = RecordedSteps(self._recorded_loss, trained) if on_gpu else None

    def training_step(  # noqa: D102 (the signature is transformers')
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        if self.recorded is None or "trees" not in inputs:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        return self.recorded(self._prepare_inputs(inputs))

    def _recorded_loss(self, batch: Batch) -> torch.Tensor:
        # the input of an adapter stays in the working precision, in which it is multiplied anyway
        with self.compute_loss_context_manager(), disable_input_dtype_casting(self.model):
            return self.compute_loss(self.model_wrapped, dict(batch))

    def compute_loss(  # noqa: D102 (the signature is transformers')
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        logits, targets, outputs = completion_logits(model, inputs)
        total = cross_entropy(logits, targets, reduction="sum")
        count = (targets != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
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

    Parameters
    ----------
    model_directory : path
        A model folder.
    tokenizer : transformers tokenizer
        The model's own.
    data : Dataset
        Of ``dataset``.
    recipe : Train
        How to fine-tune.
    seed : int
        Of initial adapter, order and dropout.
    precision : {"auto", "float32", "bfloat16"}
        See ``loading.dtype``.
    output : path
        A folder for the checkpoints; see ``train``.

    Raises
    ------
    InputError
        A conversation is longer than the model was made to read, or the model cannot be adapted.
    """
    set_seed(seed)
    base = load_weights(model_directory, precision)
    limit = architecture.context(base.config)
    for number, row in enumerate(data, start=1):
        if limit is not None and len(row["input_ids"]) > limit:
            raise InputError(
                f"contrast.jsonl, row {number}: {len(row['input_ids'])} tokens, more than the "
                f"{limit} that the model was made to read; lower train.max_length to see which"
            )
    model = adapted(base, recipe)
    if device().type == "cpu":
        lighten(model)
    return trainer_of(model, tokenizer, data, recipe, seed, precision, output)


def trainer_of(
    model: CausalLM,
    tokenizer: Tokenizer,
    data: Dataset,
    recipe: Train,
    seed: int,
    precision: Precision,
    output: str | Path,
) -> SFTTrainer:
    """Build the trainer for a model that has its adapter already.

    Parameters
    ----------
    model : peft model
        With its weights.
    tokenizer : transformers tokenizer
        As for ``build_trainer``.
    data : Dataset
        Likewise.
    recipe : Train
        Likewise.
    seed : int
        Likewise.
    precision : {"auto", "float32", "bfloat16"}
        Likewise.
    output : str or Path
        Likewise.
    """
    steps = math.ceil(len(data) / recipe.batch_size) * recipe.epochs
    config = SFTConfig(
        output_dir=str(output),
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(recipe.warmup_fraction * steps),
        optim="adamw_torch_fused",
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        max_length=recipe.max_length,
        gradient_checkpointing=False,
        router_aux_loss_coef=0.0,  # the completion's loss alone: no router is trained
        bf16=dtype(precision) is torch.bfloat16,
        fp16=False,
        tf32=None,
        use_cpu=device().type == "cpu",
        dataloader_pin_memory=device().type != "cpu",
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,  # which logs a loss that is not finite as the last one
        save_strategy="no",  # ``Checkpoints`` says when
        save_total_limit=2,  # the last one may be half-written
        report_to="none",
        disable_tqdm=True,  # ``shown.Bar`` is drawn instead
        log_level="error",
        seed=seed,
        data_seed=seed,
    )
    trainer = CompletionTrainer(
        model=model,
        args=one_device(config),
        train_dataset=data,
        processing_class=tokenizer,
        data_collator=collator(model, max(map(len, data["input_ids"]))),
    )
    trainer.remove_callback(PrinterCallback)  # the curve is logged to MLflow, not to the screen
    trainer.add_callback(Bar())
    return trainer


class StopAfter(TrainerCallback):
    """Ends a training early, its schedule unchanged: the adapter is the one it had on the way.

    Parameters
    ----------
    steps : int
        Optimiser steps to do.
    """

    def __init__(self, steps: int):
        self._steps = steps

    def on_step_end(  # noqa: D102 (the signature is transformers')
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        control.should_training_stop = state.global_step >= self._steps


class StopWhereNotFinite(TrainerCallback):
    """Ends a training at the step whose loss or gradient is not finite: its weights are lost."""

    def on_log(  # noqa: D102 (the signature is transformers')
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        for name in ("loss", "grad_norm"):
            value = float((logs or {}).get(name, 0.0))
            if not math.isfinite(value):
                raise InputError(
                    f"training: {name} is {value} at step {state.global_step} of "
                    f"{state.max_steps}; lower train.learning_rate ({args.learning_rate:g})"
                )


class Checkpoints(TrainerCallback):
    """Has the trainer write a checkpoint every so often, and one behind the last step.

    Parameters
    ----------
    seconds : float
        Between two of them.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._last = time.monotonic()

    def on_step_end(  # noqa: D102 (the signature is transformers')
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        last = state.global_step >= state.max_steps
        if control.should_training_stop and not last:
            return  # a training that goes on does at least one step: here it would be one too many
        if last or time.monotonic() - self._last >= self._seconds:
            control.should_save = True
            self._last = time.monotonic()

    def on_save(  # noqa: D102 (the signature is transformers')
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / COMPLETE).write_text(f"{state.global_step}\n", encoding="utf-8")


def last_checkpoint(folder: str | Path) -> Path | None:
    """Find the checkpoint that a training goes on from: the last one that was written in full.

    Parameters
    ----------
    folder : path
        The ``output`` of ``build_trainer``, there or not.
    """
    complete = Path(folder).glob(f"checkpoint-*/{COMPLETE}")
    return max(
        (file.parent for file in complete),
        key=lambda path: int(path.name.rpartition("-")[2]),
        default=None,
    )


def train(
    trainer: SFTTrainer,
    adapter: str | Path,
    steps: int | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> pd.DataFrame:
    """Run the trainer, on from its last checkpoint if there is one, and save the adapter.

    A checkpoint holds adapter, optimiser, schedule, the states of all generators and the curve so
    far: on a processor the result is the same to the bit, wherever the training was stopped.

    Parameters
    ----------
    trainer : SFTTrainer
        Of ``build_trainer``.
    adapter : path
        The folder to write, as safetensors.
    steps : int, optional
        Optimiser steps after which to stop early; the schedule stays that of the whole training.
    checkpoint_seconds : float
        Between two checkpoints.

    Returns
    -------
    DataFrame
        The columns of ``CURVE``, a row per optimiser step.

    Raises
    ------
    InputError
        The training diverged: a loss, gradient or weight is not finite, or it ends by more than a
        nat per token worse than it began and than guessing.
    """
    trainer.add_callback(StopWhereNotFinite())
    if steps is not None:
        trainer.add_callback(StopAfter(steps))
    trainer.add_callback(Checkpoints(checkpoint_seconds))  # behind the one that stops
    reached = last_checkpoint(trainer.args.output_dir)
    trainer.train(resume_from_checkpoint=str(reached) if reached else None)
    curve = pd.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])
    trained = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    refuse_diverged(curve, trained, trainer.model.config.get_text_config().vocab_size)
    trainer.model.save_pretrained(adapter)
    described = Path(adapter) / "adapter_config.json"
    described.write_text(canonical(described.read_text(encoding="utf-8")), encoding="utf-8")
    return curve[list(CURVE)]


def refuse_diverged(
    curve: pd.DataFrame, weights: Mapping[str, torch.Tensor], vocabulary: int
) -> None:
    """Refuse a training that destroyed the model instead of teaching it.

    Parameters
    ----------
    curve : DataFrame
        ``epoch`` and ``loss``, in nats per token.
    weights : mapping
        The trained ones, by name.
    vocabulary : int
        Tokens that the model chooses among: guessing has a loss of its logarithm.

    Raises
    ------
    InputError
        Names the weight, or the losses, and the remedy.
    """
    for name, values in weights.items():
        if not torch.isfinite(values).all():
            raise InputError(
                f"training: {name} is not finite after step {len(curve)}; lower train.learning_rate"
            )
    first, guessing = float(curve["loss"].iloc[0]), math.log(vocabulary)
    last = float(curve["loss"][curve["epoch"] > curve["epoch"].iloc[-1] - 1].mean())
    if last > max(first, guessing) + 1:
        raise InputError(
            f"training: the loss went from {first:.3g} to {last:.3g} nats per token, worse than "
            f"guessing among all tokens ({guessing:.3g}): it diverged; lower train.learning_rate"
        )


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
