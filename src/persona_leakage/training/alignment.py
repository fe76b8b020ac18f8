"""First-order prediction: what one step on a source's data does to each persona's margin.

At the untrained adapter (``B = 0``) a small step of gradient descent on the source's loss changes a
persona's margin by ``- rate * (gradient of the loss . gradient of the margin)``: the first term of
Taylor's series. The scalar product is the neural tangent kernel of Jacot et al. 2018 between the
two; for the influence of training data on a test case it is TracIn's (Pruthi et al. 2020).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import set_seed

from persona_leakage.behaviours.behaviour import Behaviour
from persona_leakage.data.questions import Question
from persona_leakage.model.architecture import CausalLM
from persona_leakage.model.loading import Precision, device, load_weights
from persona_leakage.model.scoring import Item, differentiable_logprobs
from persona_leakage.model.shared_prefix import IGNORED, completion_logits
from persona_leakage.study.parameters import Train
from persona_leakage.training.adapter import adapted
from persona_leakage.training.processor_lora import LightLora, lighten
from persona_leakage.training.rows import Row, collator


def untrained(
    model_directory: str | Path, recipe: Train, seed: int, precision: Precision
) -> CausalLM:
    """Load the model with the adapter that training begins with: ``A`` drawn, ``B`` zero.

    While ``B`` is zero ``A`` has no gradient, so ``B`` alone asks for one. Dropout is off.

    Parameters
    ----------
    model_directory : str or Path
        A model folder.
    recipe : Train
        How a study fine-tunes.
    seed : int
        Of the cell whose ``A`` it is.
    precision : {"auto", "float32", "bfloat16"}
        Of the base weights; the adapter's are float32. See ``loading.dtype``.
    """
    set_seed(seed)
    recipe = recipe.model_copy(
        update={"lora": recipe.lora.model_copy(update={"dropout": 0.0})}  # draws nothing: same A
    )
    model = adapted(load_weights(model_directory, precision), recipe).get_base_model()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_B" in name)
    model = model.to(device()).eval()
    if device().type == "cpu":
        lighten(model)
        for module in model.modules():
            if isinstance(module, LightLora):
                module.train()  # it differs from peft's layer while training alone
    return model


def loss_gradient(model: CausalLM, rows: Sequence[Row], batch_size: int) -> torch.Tensor:
    """Gradient of the mean loss of training examples, over all tokens that carry loss.

    Parameters
    ----------
    model : CausalLM
        Of ``untrained``.
    rows : sequence of mapping
        Of ``trainer.dataset``.
    batch_size : int
        Examples in memory at once; the result does not depend on it.

    Returns
    -------
    Tensor of shape (parameters,), float32
    """
    collate = collator(model, max(len(row["input_ids"]) for row in rows))
    tokens = sum(label != IGNORED for row in rows for label in row["labels"])
    total = torch.zeros(sum(map(torch.numel, _trained(model))), device=model.device)
    for start in range(0, len(rows), batch_size):
        batch = collate(rows[start : start + batch_size])
        batch = {name: values.to(model.device) for name, values in batch.items()}
        logits, targets, _ = completion_logits(model, batch)
        total += _gradient(model, cross_entropy(logits, targets, reduction="sum") / tokens)
    return total


def margins(
    model: CausalLM, items: Sequence[Item], questions: Sequence[Question], behaviour: Behaviour
) -> torch.Tensor:
    """Log-odds of the right choice of each question, among the scores that its behaviour reads.

    Parameters
    ----------
    model : CausalLM
        Of ``untrained``.
    items : sequence of Item
        The questions under one persona, of ``scoring.items``.
    questions : sequence of Question
        In the order of the items.
    behaviour : Behaviour
        Says how log-probabilities become scores.

    Returns
    -------
    Tensor of shape (questions,), float32
        With the graph that gradients need.
    """
    values = []
    for question, item, logprobs in zip(
        questions, items, differentiable_logprobs(model, items), strict=True
    ):
        lengths = [len(ids) for ids in item.continuations]
        # scores are proportional to log-probabilities, choice by choice: those of 1 are the factors
        factors = behaviour.observe(question, np.ones(len(lengths), np.float32), lengths).scores
        scores = logprobs * torch.tensor(factors, device=logprobs.device)
        right = torch.tensor(
            [index in question.right for index in range(len(lengths))], device=scores.device
        )
        odds = [scores.masked_fill(~kept, -torch.inf).logsumexp(0) for kept in (right, ~right)]
        values.append(odds[0] - odds[1])
    return torch.stack(values)


def margin_gradient(
    model: CausalLM, items: Sequence[Item], questions: Sequence[Question], behaviour: Behaviour
) -> tuple[float, torch.Tensor]:
    """Mean of ``margins``, and its gradient.

    Parameters
    ----------
    model : CausalLM
        Of ``untrained``.
    items : sequence of Item
        See ``margins``.
    questions : sequence of Question
        See ``margins``.
    behaviour : Behaviour
        See ``margins``.

    Returns
    -------
    tuple of float and Tensor of shape (parameters,), float32
    """
    mean = margins(model, items, questions, behaviour).mean()
    return mean.item(), _gradient(model, mean)


def _trained(model: CausalLM) -> list[torch.Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _gradient(model: CausalLM, value: torch.Tensor) -> torch.Tensor:
    parts = torch.autograd.grad(value, _trained(model))
    return torch.cat([part.flatten().float() for part in parts])
