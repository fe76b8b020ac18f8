"""How far apart two personas' next tokens are: divergences of their distributions."""

import math

import torch


def jensen_shannon(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon divergence in nats: 0 of equal distributions, ln 2 of disjoint ones.

    Half of KL(P||M) plus half of KL(Q||M), M being the mean of P and Q (Lin 1991, "Divergence
    measures based on the Shannon entropy").

    Parameters
    ----------
    one, other : Tensor of shape (..., vocabulary), float32
        Natural log-probabilities.

    Returns
    -------
    Tensor of shape (...)
    """
    middle = torch.logaddexp(one, other) - math.log(2)
    return (_relative(one, middle) + _relative(other, middle)) / 2


def symmetric_kl(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL(P||Q) + KL(Q||P) in nats (Kullback and Leibler 1951; Jeffreys 1946).

    Parameters
    ----------
    one, other : Tensor of shape (..., vocabulary), float32
        Natural log-probabilities.

    Returns
    -------
    Tensor of shape (...)
    """
    return _relative(one, other) + _relative(other, one)


def _relative(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL(P||Q); what P never says adds nothing."""
    terms = torch.where(one == -torch.inf, 0.0, one.exp() * (one - other))
    return terms.sum(dim=-1)
