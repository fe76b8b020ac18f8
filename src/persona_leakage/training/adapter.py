"""The adapter that a training begins with, and the models that take none."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from persona_leakage.errors import InputError
from persona_leakage.model import architecture
from persona_leakage.model.architecture import CausalLM
from persona_leakage.study.parameters import Train


def check_adaptable(model_directory: str | Path, recipe: Train) -> None:
    """Refuse a model that cannot be adapted, without loading its weights.

    Parameters
    ----------
    model_directory : path
        A model folder.
    recipe : Train
        How to fine-tune.

    Raises
    ------
    InputError
        Names the model and why.
    """
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_directory))
    adapted(base, recipe)


def adapted(base: CausalLM, recipe: Train) -> CausalLM:
    """Put a fresh adapter on a model, in place.

    Parameters
    ----------
    base : transformers causal language model
        The untouched model.
    recipe : Train
        How to fine-tune.

    Raises
    ------
    InputError
        The architecture is one that peft does not adapt with this recipe (some state space models;
        experts with dropout).
    """
    config = lora_config(recipe, base)
    try:
        return get_peft_model(base, config)
    except ValueError as error:
        raise InputError(
            f"model: {architecture.name(base)} cannot be adapted: {error}; choose another model, "
            "or set train.lora.dropout to 0 where that is what is wrong"
        ) from error


def lora_config(recipe: Train, model: CausalLM) -> LoraConfig:
    """Adapters on every linear projection of the text decoder (q, k, v, o, gate, up, down).

    Parameters
    ----------
    recipe : Train
        How to fine-tune.
    model : transformers causal language model
        With its weights.
    """
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.lora.r,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        use_rslora=recipe.lora.rank_stabilised,
        target_modules=projections(model),
    )


def projections(model: CausalLM) -> list[str]:
    """Name the linear projections of a model's text decoder, sorted, as peft takes them.

    By their last names (``q_proj``) where no other part of the model has such, else by their whole
    ones: an image tower has projections, too.

    Parameters
    ----------
    model : transformers causal language model
        With its weights.

    Raises
    ------
    InputError
        The model has several parts, and none of them is a text decoder; or it has no projections.
    """
    decoder, config = model.get_decoder(), model.config
    text = config.get_text_config(decoder=True)
    if text is not config and type(decoder.config) is not type(text):
        raise InputError(
            f"model: {architecture.name(model)} has several parts and none that is a text decoder, "
            "so an adapter would land on all of them; choose a text model"
        )
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and module is not model.get_output_embeddings()
    }
    parts = set(decoder.modules())
    inside = [name for name, module in linear.items() if module in parts]
    outside = {name.rsplit(".", 1)[-1] for name, module in linear.items() if module not in parts}
    short = {name.rsplit(".", 1)[-1] for name in inside}
    if not inside:
        raise InputError(f"model: {architecture.name(model)} has no linear projection to adapt")
    return sorted(inside if short & outside else short)
