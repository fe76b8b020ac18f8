"""Damage that is smooth on the geometry, or alike in a family, and otherwise pure chance."""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from scipy import linalg, stats

from persona_leakage.analysis.ranks import Floats, constant, levels

NUGGET = 1e-6  # keeps a covariance of personas with the same similarities invertible
ALONE = (0.01, 0.1, 0.4, 0.8)  # shares of the variance that a persona has to itself
KIN = (0.0, 0.5)  # shares of the rest that a family has in common


def surrogates(
    change: Floats,
    similarity: Floats,
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    count: int,
) -> Floats:
    """Draw changes that personas might have had, as smooth as those observed, at random.

    Neighbours in the geometry change alike, whoever is trained; a permutation of personas breaks
    that, and finds a gradient towards nearly everyone. Surrogate maps keep it (Viladomat et al.
    2014; Burt et al. 2020): each draw is a Gaussian field over the personas, whose covariance is
    one of many kernels, from no structure to the gram matrix of centred cosines and to Gaussian
    kernels of several widths, with and without an effect that a cluster shares. A kernel is drawn
    with its posterior probability, all being equally likely at first, given the normal scores (van
    der Waerden 1952) of the changes; mean and variance are integrated out (restricted likelihood;
    Harville 1974). Statistics of ranks do not care for either.

    Parameters
    ----------
    change : ndarray of shape (personas,)
        Mean changes, every one a number and not all the same.
    similarity : ndarray of shape (personas, personas)
        Symmetric; cosines, or another similarity that is 1 between a persona and itself.
    clusters : sequence of shape (personas,)
        Who may share an effect.
    rng : numpy.random.Generator
        Draws.
    count : int
        How many surrogates.

    Returns
    -------
    ndarray of shape (count, personas)
        Each with its own mean and variance.
    """
    scores = stats.norm.ppf((stats.rankdata(levels(change)) - 0.5) / len(change))
    factors, fits = [], []
    for covariance in _covariances(_positive(similarity), clusters):
        factor = linalg.cholesky(covariance + NUGGET * np.eye(len(scores)), lower=True)
        white = linalg.solve_triangular(
            factor, np.column_stack([scores, np.ones_like(scores)]), lower=True
        )
        precision = white[:, 1] @ white[:, 1]
        left = white[:, 0] @ white[:, 0] - (white[:, 0] @ white[:, 1]) ** 2 / precision
        determinant = 2 * np.log(np.diag(factor)).sum() + np.log(precision)
        factors.append(factor)
        fits.append(-0.5 * ((len(scores) - 1) * np.log(left) + determinant))
    weight = np.exp(np.array(fits) - max(fits))
    which = rng.multinomial(count, weight / weight.sum())
    drawn = [
        rng.standard_normal((times, len(scores))) @ factor.T
        for times, factor in zip(which, factors, strict=True)
        if times
    ]
    # in random order: whoever takes some of the draws takes no kernel before others
    return rng.permutation(np.concatenate(drawn))


def _covariances(similarity: Floats, clusters: Sequence[Hashable]) -> Iterator[Floats]:
    """Covariances over the personas, of mean variance 1."""
    identity = np.eye(len(similarity))
    names = np.array([str(each) for each in clusters])
    kin = (names[:, None] == names).astype(float)
    yield identity
    if kin.all():
        kin = np.zeros_like(kin)
    else:
        for alone in (0.2, 0.6):
            yield (1 - alone) * kin + alone * identity
    if constant(similarity[~identity.astype(bool)]):
        return
    gram = _centred(similarity)
    spread = np.sqrt(np.maximum(np.diag(gram), NUGGET * np.diag(gram).max()))
    centred = gram / np.outer(spread, spread)
    for smooth in (
        centred,
        _gaussian(similarity, 0.1),
        _gaussian(similarity, 1.0),
        _gaussian(centred, 0.3),
        _gaussian(centred, 1.0),
    ):
        about_zero = _centred(smooth)
        shared = about_zero / np.diag(about_zero).mean()
        for family in KIN if kin.any() else KIN[:1]:
            for alone in ALONE:
                yield (1 - alone) * ((1 - family) * shared + family * kin) + alone * identity


def _gaussian(similarity: Floats, width: float) -> Floats:
    """Kernel that decays with the squared distance, over this multiple of its median."""
    distance = np.maximum(
        np.add.outer(np.diag(similarity), np.diag(similarity)) / 2 - similarity, 0
    )
    kernel: Floats = np.exp(-distance / (width * np.median(distance[distance > 0])))
    return kernel


def _centred(matrix: Floats) -> Floats:
    means = matrix.mean(axis=0)
    return matrix - means - means[:, None] + means.mean()


def _positive(similarity: Floats) -> Floats:
    """Nearest matrix without negative eigenvalues: rounding makes some of a gram matrix so."""
    values, vectors = np.linalg.eigh((similarity + similarity.T) / 2)
    if values[0] >= 0:
        return similarity
    return (vectors * np.maximum(values, 0)) @ vectors.T
