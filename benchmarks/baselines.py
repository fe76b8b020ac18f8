"""What the project is measured against: the plain loop, lm-evaluation-harness, TRL as written."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer

from persona_leakage.model.scoring import Item
from persona_leakage.model.shared_prefix import IGNORED
from persona_leakage.study.parameters import Train
from persona_leakage.training import trainer as training


def load_plain(model_folder: str, kind: torch.dtype = torch.float32) -> Any:
    """Load the model as transformers does, without our kernels."""
    return AutoModelForCausalLM.from_pretrained(model_folder, dtype=kind).eval()


@torch.inference_mode()
def plain_labels(model: Any, items: Sequence[Item], copies: int = 1) -> list[np.ndarray]:
    """Label scoring as the original did it: one forward pass per question, logits everywhere.

    Several ``copies`` of the question in a batch compute the same thing in other shapes: what that
    changes is what the precision holds.
    """
    logprobs = []
    for item in items:
        logits = model(input_ids=torch.tensor([item.prompt] * copies, device=model.device)).logits
        labels = [label for (label,) in item.continuations]
        logprobs.append(logits[0, -1].float().log_softmax(-1)[labels].cpu().numpy())
    return logprobs


def apart(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Largest difference of two lists of log-probabilities, one array per question."""
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def same_argmax(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Share of the questions to which two lists of log-probabilities give the same answer."""
    return float(np.mean([a.argmax() == b.argmax() for a, b in zip(one, other, strict=True)]))


def harness(model: Any, tokenizer: Any) -> Callable[[Sequence[Item], int], list[list[float]]]:
    """lm-evaluation-harness's Hugging Face backend over a loaded model, on the very token ids.

    It shares one forward pass between continuations of one token after the same context.
    """
    from lm_eval.models.huggingface import HFLM

    backend = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1)

    def score(items: Sequence[Item], batch_size: int) -> list[list[float]]:
        backend.batch_size_per_gpu = batch_size
        requests = [
            ((str(number), str(choice)), item.prompt, continuation)
            for number, item in enumerate(items)
            for choice, continuation in enumerate(item.continuations)
        ]
        logprobs = iter(backend._loglikelihood_tokens(requests, disable_tqdm=True))
        return [[next(logprobs)[0] for _ in item.continuations] for item in items]

    return score


def best_batch(
    score: Callable[[Sequence[Item], int], Any], items: Sequence[Item], sizes: Sequence[int]
) -> int:
    """Find the batch size with which the harness is fastest on these items."""
    seconds = {}
    for size in sizes:
        start = time.perf_counter()
        score(items, size)
        seconds[size] = time.perf_counter() - start
    return min(seconds, key=seconds.__getitem__)


def recipe_trainer(
    model: Any,
    tokenizer: Any,
    data: Any,
    recipe: Train,
    output: str,
    *,
    steps: int,
    seed: int,
    bf16: bool,
    liger: bool = False,
) -> SFTTrainer:
    """TRL's trainer with the recipe as written: padding, gradient checkpointing, TRL's own loss.

    The schedule is the one of the whole recipe, of which ``steps`` are run. With ``liger``, as who
    has the memory and wants speed would set it: Liger's kernels and loss, nothing computed twice.
    """
    plain = data.remove_columns("shared").map(
        lambda row: {"completion_mask": [int(x != IGNORED) for x in row["labels"]]},
        remove_columns="labels",
    )
    whole = math.ceil(len(data) / recipe.batch_size) * recipe.epochs
    config = SFTConfig(
        output_dir=output,
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(recipe.warmup_fraction * whole),
        optim="adamw_torch",
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        completion_only_loss=True,
        gradient_checkpointing=not liger,
        use_liger_kernel=liger,
        bf16=bf16,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        seed=seed,
        data_seed=seed,
    )
    trainer = SFTTrainer(model=model, args=config, train_dataset=plain, processing_class=tokenizer)
    trainer.add_callback(training.StopAfter(steps))
    return trainer


def losses(trainer: SFTTrainer) -> list[float]:
    """Return the loss of every step that was run."""
    return [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
