"""The base model, loaded with or without an adapter."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from persona_leakage.errors import InputError, lacks_memory
from persona_leakage.model import architecture
from persona_leakage.model.architecture import CausalLM
from persona_leakage.model.chat import Tokenizer
from persona_leakage.model.kernels import fused, settle
from persona_leakage.model.weights import require_every_weight

DAMAGED = "where its files are damaged, delete it, `dvc repro` makes it again"
Precision = Literal["auto", "float32", "bfloat16"]


def device() -> torch.device:
    """Return the accelerator that torch sees, else the processor."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def dtype(precision: Precision) -> torch.dtype:
    """Turn the parameter into a torch type; ``auto`` is bfloat16 where it is multiplied faster.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        ``model.precision`` of a study.
    """
    if precision == "auto":
        fast = device().type != "cpu" or _processor_gains_from_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _processor_gains_from_bfloat16() -> bool:
    # Processors with AVX512-FP16 have their bfloat16 rate in AMX, which a virtual machine may hide;
    # their vector instructions for it are slower than float32.
    can = torch.cpu.get_capabilities()
    vectors = can.get("avx512_bf16", False) and not can.get("avx512_fp16", False)
    return bool(can.get("amx_bf16", False) or vectors)


def context(directory: str | Path) -> int | None:
    """Tokens that the model of a folder reads at most: see ``architecture.context``.

    Parameters
    ----------
    directory : path
        A model folder.
    """
    with _told(directory):
        return architecture.context(AutoConfig.from_pretrained(directory))


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """Load the tokenizer of a model folder.

    Parameters
    ----------
    directory : path
        A model folder.
    """
    settle()
    with _told(directory):
        return AutoTokenizer.from_pretrained(directory)


def load_model(directory: str | Path, precision: Precision) -> CausalLM:
    """Load a model folder's weights, in the given precision, onto the device, for inference.

    Parameters
    ----------
    directory : path
        A model folder.
    precision : {"auto", "float32", "bfloat16"}
        See ``loading.dtype``.
    """
    weights = load_weights(directory, precision)
    with _told(directory):
        model = weights.to(device())
    return fused(model.eval())


def load_weights(directory: str | Path, precision: Precision) -> CausalLM:
    """Load a model folder's weights, in the given precision, into memory, with torch's attention.

    With transformers' own, ``eager``, where the architecture has no other, caps the attention's
    logits (Gemma 2), which torch's cannot, or adds distances to them (Falcon with ALiBi), which
    transformers rounds otherwise for torch's.

    Parameters
    ----------
    directory : path
        A model folder.
    precision : {"auto", "float32", "bfloat16"}
        See ``loading.dtype``.

    Raises
    ------
    InputError
        The weights lack some that the architecture has, or their shapes are others.
    """
    settle()

    def load(attention: str) -> tuple[CausalLM, dict[str, Any]]:
        loaded: tuple[CausalLM, dict[str, Any]] = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype(precision),
            attn_implementation=attention,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        return loaded

    with _told(directory):
        text = AutoConfig.from_pretrained(directory).get_text_config(decoder=True)
        capped = getattr(text, "attn_logit_softcapping", None) is not None
        if capped or getattr(text, "alibi", False):
            model, report = load("eager")
        else:
            try:
                model, report = load("sdpa")
            except ValueError:  # what transformers raises where an architecture has no sdpa
                model, report = load("eager")
    require_every_weight(report, directory)
    return model


@contextmanager
def _told(directory: str | Path) -> Iterator[None]:
    """Say in one sentence that a model's or an adapter's folder cannot be loaded, and why.

    Loaders of foreign files raise whatever their parsers do, and torch what a machine lacks.
    """
    try:
        yield
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        lacks = lacks_memory(error) or "allocate" in why
        raise InputError(
            f"model: {directory} cannot be loaded ({why}); "
            + ("free some memory or take a smaller model" if lacks else DAMAGED)
        ) from error


def load_adapted(directory: str | Path, adapter: str | Path, precision: Precision) -> CausalLM:
    """Load a model with a LoRA adapter added to its weights, in memory; nothing is written.

    ``W + scaling * B A`` (Hu et al. 2021, section 4.1) is formed in float32 and rounded to the
    working precision once. W is the weight that the baseline was scored with and training saw.

    Parameters
    ----------
    directory : path
        Of the base model.
    adapter : path
        Of the folder that training saved.
    precision : {"auto", "float32", "bfloat16"}
        See ``loading.dtype``.
    """
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    model = load_model(directory, precision)
    with _told(adapter):
        adapted = PeftModel.from_pretrained(model, str(adapter))
    for module in adapted.modules():
        if isinstance(module, LoraLayer):
            weight = module.get_base_layer().weight
            change = module.get_delta_weight(adapted.active_adapter)
            weight.data = (weight.data.float() + change.float()).to(weight.dtype)
    return adapted.unload().eval()
