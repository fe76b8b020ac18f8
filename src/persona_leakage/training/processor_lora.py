"""LoRA layers for training on a processor: less kept for the backward pass, fewer passes over it.

A step of LoRA on a processor is bound by memory as much as by arithmetic. peft's layer, composed of
torch's, keeps for each projection a float32 dropout mask and the input that it was applied to;
torch draws that mask one float at a time. Here a layer keeps its input, which projections of the
same input share, and one byte per mask; the rest is computed again.
"""

from typing import Any

import torch
from peft.tuners import lora
from torch.autograd.function import once_differentiable

from persona_leakage.model.kernels import product, recast, replace_modules

DRAW = 1 << 16  # a mask's draws are 16-bit integers


def lighten(model: torch.nn.Module) -> None:
    """Let the LoRA layers of a peft model train as ``LightLora``, in place.

    Parameters
    ----------
    model : torch.nn.Module
        With its weights.
    """
    replace_modules(
        model,
        lora.Linear,
        # GPT-2's projections hold their weights transposed: they stay peft's
        lambda layer: (
            LightLora.of(layer) if isinstance(layer.get_base_layer(), torch.nn.Linear) else layer
        ),
    )


class LightLora(lora.Linear):
    """peft's LoRA layer with one adapter; in training as one function with its own gradient."""

    @classmethod
    def of(cls, layer: lora.Linear) -> "LightLora":
        """Make one that shares the layer's parameters and settings.

        Parameters
        ----------
        layer : peft.tuners.lora.Linear
            Is left as it is.
        """
        return recast(layer, cls)  # peft's constructor would draw a new adapter

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: D102
        if not self.training or self.disable_adapters:
            return super().forward(x, *args, **kwargs)
        [name] = self.active_adapters
        base = self.get_base_layer()
        # views are made out here: some blocks add to the output in place (Falcon)
        output: torch.Tensor = _Update.apply(
            x.to(base.weight.dtype).flatten(0, -2),
            base.weight,
            base.bias,
            self.lora_A[name].weight,
            self.lora_B[name].weight,
            self.scaling[name],
            getattr(self.lora_dropout[name], "p", 0.0),  # peft has an identity for 0
        )
        return output.view(*x.shape[:-1], -1)


class _Update(torch.autograd.Function):
    """``x W' + scaling * dropout(x) A' B'`` (Hu et al. 2021, section 4.1); W is frozen.

    Shapes: x (tokens, in), W (out, in), A (r, in), B (out, r). Gradients are of x, A and B.
    """

    @staticmethod
    def forward(
        ctx: Any,
        flat: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
        dropout: float,
    ) -> torch.Tensor:
        kept = kept_mask(flat.shape, dropout) if dropout else None
        low_down, low_up = down.to(flat.dtype), up.to(flat.dtype)
        inner = _masked(flat, kept) @ low_down.T
        ctx.scaling = scaling / (1 - dropout)
        ctx.save_for_backward(flat, weight, low_down, low_up, inner, kept)
        ctx.master = down.dtype
        return product(flat, weight, bias).addmm_(inner, low_up.T, alpha=ctx.scaling)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, weight, down, up, inner, kept = ctx.saved_tensors
        of_up = (gradient.T @ inner).mul_(ctx.scaling)
        of_inner = (gradient @ up).mul_(ctx.scaling)
        of_down = of_inner.T @ _masked(flat, kept)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = product(gradient, weight.T).add_(_masked(of_inner @ down, kept))
        return of_x, None, None, of_down.to(ctx.master), of_up.to(ctx.master), None, None


def kept_mask(shape: torch.Size, dropout: float) -> torch.Tensor:
    """Draw what dropout keeps: bool, false with probability ``dropout`` to the nearest 1/65536.

    One draw of torch's generator is cut into four: six times as fast as its ``bernoulli_``.

    Parameters
    ----------
    shape : torch.Size
        Of the mask.
    dropout : float
        From 0 to 1.
    """
    draws = torch.empty(-(-shape.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    dropped = round(dropout * DRAW) - DRAW // 2
    return (draws.view(torch.int16)[: shape.numel()] >= dropped).view(shape)


def _masked(values: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
    return values if kept is None else torch.where(kept, values, 0.0)
