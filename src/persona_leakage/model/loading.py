"""The base model, loaded with or without an adapter."""

from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.integrations.liger import apply_liger_kernel
from transformers.utils import is_liger_kernel_available
from transformers.utils import logging as transformers_logging

from persona_leakage.model.chat import Tokenizer

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()
# cuDNN's attention plans anew for every shape, and hardly two of our batches have the same
torch.backends.cuda.enable_cudnn_sdp(False)

Precision = Literal["auto", "float32", "bfloat16"]
CausalLM = Any  # transformers' models share no useful static type


def device() -> torch.device:
    """The accelerator that torch sees, else the processor."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def dtype(precision: Precision) -> torch.dtype:
    """Turn the parameter into a torch type; ``auto`` is bfloat16 where it is multiplied faster."""
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


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """Load the tokenizer of a model folder."""
    return AutoTokenizer.from_pretrained(directory)


def load_model(directory: str | Path, precision: Precision) -> CausalLM:
    """Load a model folder's weights, in the given precision, onto the device, for inference."""
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=dtype(precision), attn_implementation="sdpa", use_safetensors=True
    )
    return fused(model.to(device()).eval())


def fused(model: CausalLM) -> CausalLM:
    """Use the fastest kernels that are there, for scoring; same arithmetic, other order of sums.

    On a GPU those of Liger where it is installed (the ``gpu`` extra): normalisation, rotation and
    gating are one pass over memory each. A training step is so short that launching them costs more
    than they save. On a processor those of ``product``.
    """
    if model.device.type == "cuda" and is_liger_kernel_available():
        kernels = {"rope": True, "swiglu": True, "rms_norm": True}
        losses = {"cross_entropy": False, "fused_linear_cross_entropy": False}
        apply_liger_kernel(model, kernels | losses)
    if model.device.type == "cpu":
        # freed once, a block of this size is what glibc learns to keep (mallopt(3), at
        # M_MMAP_THRESHOLD); else every layer's tensors are mapped and faulted in anew
        torch.empty(31 << 20, dtype=torch.uint8)
        for module in model.modules():
            if type(module) is torch.nn.Linear:
                module.__class__ = ProcessorLinear
    return model


class ProcessorLinear(torch.nn.Linear):
    """A linear layer on ``product``, for inference: it has no gradient."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return product(input, self.weight, self.bias)


def product(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Multiply as ``torch.nn.functional.linear`` does, in float32 by the faster library.

    torch takes MKL's float32 product, which on an AMD processor uses less of it than oneDNN's.
    oneDNN's has no gradient.
    """
    if input.dtype is torch.float32 and _mkl_is_slow():
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            input, weight, bias, "none", [], ""
        )
        return found
    return torch.nn.functional.linear(input, weight, bias)


@cache
def _mkl_is_slow() -> bool:
    onednn = torch.backends.mkldnn.is_available()
    return onednn and "AMD" in torch.cpu.get_capabilities().get("cpu_name", "")


def load_adapted(directory: str | Path, adapter: str | Path, precision: Precision) -> CausalLM:
    """Load a model with a LoRA adapter added to its weights, in memory; nothing is written.

    ``W + scaling * B A`` (Hu et al. 2021, section 4.1) is formed in float32 and rounded to the
    working precision once. W is the weight that the baseline was scored with and training saw.
    """
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    adapted = PeftModel.from_pretrained(load_model(directory, precision), str(adapter))
    for module in adapted.modules():
        if isinstance(module, LoraLayer):
            weight = module.get_base_layer().weight
            change = module.get_delta_weight(adapted.active_adapter)
            weight.data = (weight.data.float() + change.float()).to(weight.dtype)
    return adapted.unload().eval()
