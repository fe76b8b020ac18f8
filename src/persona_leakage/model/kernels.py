"""Everything here that a library does not promise: its private names, switches and kernels.

Nothing else in the package touches a private name of torch, transformers, peft or Liger, replaces a
module of a model, or flips a switch of a whole process. Each use is small, says what it relies on,
and tells in one sentence when a newer library has taken that away.
"""

import gc
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import linear, pad, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.utils import is_liger_kernel_available
from transformers.utils import logging as transformers_logging

from persona_leakage.errors import InputError

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch may move what is young: rows are padded then, slower and as right
    varlen_attn = None  # type: ignore[assignment]

Layer = TypeVar("Layer", bound=torch.nn.Module)
# the names under which transformers knows our attention
LOWER_RIGHT = "lower_right"
STRETCHES = "stretches"
WIDEST = 256  # numbers in a head that flash attention takes, and a multiple of these
ALIGNED = 8


def settle() -> None:
    """Set what holds for the whole process, before a model is loaded; twice does no harm."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("liger_kernel").setLevel(logging.ERROR)  # models that it has no kernels for
    # cuDNN's attention plans anew for every shape, and hardly two of our batches have the same
    torch.backends.cuda.enable_cudnn_sdp(False)


@contextmanager
def frozen() -> Iterator[None]:
    """Keep Python's collector off what is there already: a pass over it is a third of a second.

    A GPU computes a persona in less, and waits. What is made inside is collected as ever
    (``gc.freeze``).
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def fused(model: Any) -> Any:
    """Use the fastest kernels that are there, for scoring; same arithmetic, other order of sums.

    On a GPU those of Liger where it is installed (the ``gpu`` extra): normalisation, rotation and
    gating are one pass over memory each. A training step is so short that launching them costs more
    than they save. On a processor those of ``product``.

    Parameters
    ----------
    model : transformers causal language model
        Changed in place, and returned.
    """
    if model.device.type == "cuda" and is_liger_kernel_available():
        # here, since with it come the trainer and peft, which a processor's scoring does not need
        from transformers.integrations.liger import apply_liger_kernel

        kernels = {"rope": True, "swiglu": True, "rms_norm": True}
        losses = {"cross_entropy": False, "fused_linear_cross_entropy": False}
        apply_liger_kernel(model, kernels | losses)
    if model.device.type == "cpu":
        # freed once, a block of this size is what glibc learns to keep (mallopt(3), at
        # M_MMAP_THRESHOLD); else every layer's tensors are mapped and faulted in anew
        torch.empty(31 << 20, dtype=torch.uint8)
        replace_modules(model, torch.nn.Linear, ProcessorLinear.of)
    return model


def replace_modules(
    model: torch.nn.Module, kind: type[Layer], make: Callable[[Layer], torch.nn.Module]
) -> None:
    """Put ``make(module)`` in the place of every module of exactly this kind, in place.

    Parameters
    ----------
    model : Module
        With its weights.
    kind : type
        Subclasses stay as they are.
    make : callable
        Gives the new module, which shares the old one's parameters.
    """
    replaced = [(name, module) for name, module in model.named_modules() if type(module) is kind]
    for name, module in replaced:
        model.set_submodule(name, make(module))


def recast(layer: torch.nn.Module, kind: type[Layer]) -> Layer:
    """Make a module of another class that holds what a layer holds; no constructor draws anew.

    Relies on ``torch.nn.Module`` keeping parameters, modules and settings among its attributes.

    Parameters
    ----------
    layer : Module
        Is left as it is.
    kind : type
        A subclass of the layer's class.

    Raises
    ------
    InputError
        This torch keeps them elsewhere.
    """
    made = kind.__new__(kind)
    made.__dict__.update(layer.__dict__)
    mine, theirs = (list(map(id, module.parameters())) for module in (made, layer))
    if not theirs or mine != theirs:
        raise InputError(
            f"torch {version('torch')} no longer keeps a module's parameters among its attributes; "
            "install the version that uv.lock names (`make setup`)"
        )
    return made


class ProcessorLinear(torch.nn.Linear):
    """A linear layer on ``product``, for inference: it has no gradient."""

    @classmethod
    def of(cls, layer: torch.nn.Linear) -> "ProcessorLinear":
        """Make one that shares the layer's parameters.

        Parameters
        ----------
        layer : torch.nn.Linear
            Is left as it is.
        """
        made = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        made.weight, made.bias = layer.weight, layer.bias
        return made.train(layer.training)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return product(input, self.weight, self.bias)


def product(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Multiply as ``torch.nn.functional.linear`` does, in float32 by the faster library.

    torch takes MKL's float32 product, which on an AMD processor uses less of it than oneDNN's.
    oneDNN's has no gradient.

    Parameters
    ----------
    input : Tensor of shape (..., in)
        What is multiplied.
    weight : Tensor of shape (out, in)
        A layer's matrix.
    bias : Tensor of shape (out,), optional
        What is added.
    """
    if input.dtype is torch.float32 and mkl_is_slow():
        output: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            input, weight, bias, "none", [], ""
        )
        return output
    return linear(input, weight, bias)


@cache
def mkl_is_slow() -> bool:
    """Whether oneDNN's float32 product is there and is the faster one on this processor."""
    onednn = torch.backends.mkldnn.is_available()
    there = hasattr(torch.ops.mkldnn, "_linear_pointwise")  # a slower product is right as well
    return onednn and there and "AMD" in torch.cpu.get_capabilities().get("cpu_name", "")


def attention_of(model: Any) -> str:
    """Name the attention implementation that a transformers model runs with.

    Parameters
    ----------
    model : transformers model
        With its weights.

    Raises
    ------
    InputError
        This transformers keeps it elsewhere.
    """
    name = getattr(model.config, "_attn_implementation", None)
    if not isinstance(name, str):
        raise InputError(
            f"transformers {version('transformers')} no longer says which attention a model has; "
            "install the version that uv.lock names (`make setup`)"
        )
    return name


@contextmanager
def attending_lower_right(model: Any) -> Iterator[None]:
    """Let a model attend causally, the last query aligned with the last key, without a mask.

    Only for models whose attention is torch's (``sdpa``) and sees everything before it.

    Parameters
    ----------
    model : transformers model
        With its weights.
    """
    with _attending(model, LOWER_RIGHT, _lower_right):
        yield


@dataclass(frozen=True)
class Stretches:
    """What ``packed.Packed`` says of its stretches, on the model's device; starts are int32."""

    seen: torch.Tensor
    query_starts: torch.Tensor
    key_starts: torch.Tensor
    longest_query: int
    longest_key: int


def attends_to_stretches(model: Any) -> bool:
    """Whether ``attending_to`` can be used: torch's flash attention takes the model's heads.

    Parameters
    ----------
    model : transformers model
        With its weights.
    """
    if varlen_attn is None:
        return False
    if model.device.type != "cuda" or torch.cuda.get_device_capability(model.device) < (8, 0):
        return False
    config = model.config.get_text_config(decoder=True)
    heads = [getattr(config, name, None) for name in ("head_dim", "global_head_dim", "qk_head_dim")]
    widest = max(head or config.hidden_size // config.num_attention_heads for head in heads)
    half = model.dtype in (torch.float16, torch.bfloat16)
    return half and widest <= WIDEST and takes_attention(model)


def takes_attention(model: Any) -> bool:
    """Whether the attention is torch's and can be replaced: Falcon's is written into its layers.

    Parameters
    ----------
    model : transformers model
        With its weights.
    """
    if attention_of(model) != "sdpa":
        return False
    with _attending(model, LOWER_RIGHT, _lower_right):
        return attention_of(model) == LOWER_RIGHT


@contextmanager
def attending_to(model: Any, stretches: Stretches) -> Iterator[None]:
    """Let a model attend within one row as its stretches have it, without a mask.

    For models of ``attends_to_stretches`` that see everything before a token; nothing is cached.

    Parameters
    ----------
    model : transformers model
        With its weights.
    stretches : Stretches
        Of the row that is the model's input.
    """
    with _attending(model, STRETCHES, partial(_within, stretches)):
        yield


@contextmanager
def _attending(model: Any, name: str, attention: Callable[..., Any]) -> Iterator[None]:
    before = attention_of(model)
    AttentionInterface.register(name, attention)
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _within(
    stretches: Stretches,
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *_: Any,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of each stretch, its last query aligned with the last token that it sees.

    Tensors are (1, heads, tokens, width).
    """
    width = value.shape[-1]
    wide = -(-query.shape[-1] // ALIGNED) * ALIGNED
    # zeros beside what there is change no product; values may be narrower than keys (DeepSeek)
    query, key, value = (
        one if one.shape[-1] == wide else pad(one, (0, wide - one.shape[-1]))
        for one in (query, key, value)
    )
    output: torch.Tensor = varlen_attn(  # type: ignore[assignment]
        query[0].transpose(0, 1),
        key[0].transpose(0, 1)[stretches.seen],
        value[0].transpose(0, 1)[stretches.seen],
        stretches.query_starts,
        stretches.key_starts,
        stretches.longest_query,
        stretches.longest_key,
        scale=more["scaling"],
        window_size=(-1, 0),
        **GROUPED,
    )
    return output[None, ..., :width], None


# from torch 2.12 on it is to be said that several heads may share a key
GROUPED: dict[str, Any] = (
    {"enable_gqa": True}
    if varlen_attn is not None and "enable_gqa" in inspect.signature(varlen_attn).parameters
    else {}
)


def _lower_right(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *_: Any,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention, the last query aligned with the last key: a flash kernel, without a mask.

    Tensors are (batch, heads, tokens, width); the cached keys come first.
    """
    bias = causal_lower_right(query.shape[2], key.shape[2])
    output = scaled_dot_product_attention(
        query, key, value, attn_mask=bias, scale=more["scaling"], enable_gqa=True
    )
    return output.transpose(1, 2).contiguous(), None


@contextmanager
def reading_once(library: Any, reader: Any, file: Path) -> Iterator[None]:
    """Give transformers what has been read of a GGUF file: it would read it twice, and anew.

    Reading one is seconds of Python, as is the table of names, which it makes for every module of
    the model. Where a newer transformers asks for other functions, they run as ever.

    Parameters
    ----------
    library : module
        ``gguf``, whose functions transformers looks up when it calls them.
    reader : gguf.GGUFReader
        Of the file.
    file : Path
        Any other is read.
    """
    read, named = library.GGUFReader, library.get_tensor_name_map
    library.GGUFReader = lambda path, *more: reader if file.samefile(path) else read(path, *more)
    library.get_tensor_name_map = cache(named)
    try:
        yield
    finally:
        library.GGUFReader, library.get_tensor_name_map = read, named


def one_device(config: Any) -> Any:
    """Keep transformers' trainer on one GPU: several would each take a batch of the recipe's size.

    Parameters
    ----------
    config : transformers.TrainingArguments
        Changed in place, and returned.
    """
    config._n_gpu = min(config.n_gpu, 1)
    if config.n_gpu > 1:
        raise InputError(
            f"transformers {version('transformers')} cannot be kept on one GPU; set "
            "CUDA_VISIBLE_DEVICES to one of them"
        )
    return config
