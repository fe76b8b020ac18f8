"""Divergences of Gaussians and of next-token distributions, against scipy and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.stats import norm

from persona_leakage.geometry.cosines import cosine_matrix, whitened_cosines
from persona_leakage.geometry.divergence import jensen_shannon, symmetric_kl
from persona_leakage.geometry.layers import AXES, moments, nearness
from persona_leakage.geometry.moments import gaussian, jeffreys, principal_axes


@pytest.fixture
def logprobs():
    torch.manual_seed(0)
    return (3 * torch.randn(2, 5, 40)).log_softmax(dim=-1)


def test_jensen_shannon_is_scipy_s(logprobs):
    one, other = logprobs
    expected = jensenshannon(one.exp().double(), other.exp().double(), axis=-1) ** 2
    np.testing.assert_allclose(jensen_shannon(one, other), expected, rtol=1e-5)


def test_jensen_shannon_is_symmetric_and_zero_with_itself(logprobs):
    one, other = logprobs
    torch.testing.assert_close(jensen_shannon(one, other), jensen_shannon(other, one))
    assert jensen_shannon(one, one).abs().max() < 1e-6


def test_jensen_shannon_is_at_most_ln_2_even_where_a_token_is_impossible():
    apart = torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]])
    assert jensen_shannon(*apart).item() == pytest.approx(math.log(2))


def test_symmetric_kl_is_scipy_s(logprobs):
    one, other = logprobs.double().exp().numpy()
    expected = (rel_entr(one, other) + rel_entr(other, one)).sum(-1)
    np.testing.assert_allclose(symmetric_kl(*logprobs), expected, rtol=1e-4)


def test_jeffreys_in_one_dimension_is_the_integral():
    one, other = norm(0.3, 1.2), norm(-1.0, 0.7)
    integral = quad(
        lambda x: (one.pdf(x) - other.pdf(x)) * (one.logpdf(x) - other.logpdf(x)), -12, 12
    )[0]
    got = jeffreys([0.3], [[1.2**2]], [[-1.0]], [[[0.7**2]]])
    assert got == pytest.approx([integral])


def test_jeffreys_does_not_depend_on_the_axes_nor_on_who_is_first():
    random = np.random.default_rng(0)
    means = random.normal(size=(3, 4))
    roots = random.normal(size=(3, 4, 6))
    covariances = roots @ roots.transpose(0, 2, 1)
    there = jeffreys(means[0], covariances[0], means, covariances)
    back = jeffreys(means[2], covariances[2], means[:1], covariances[:1])
    assert there[0] == pytest.approx(0)
    assert there[2] == pytest.approx(back[0])
    turn = random.normal(size=(4, 4))
    turned = jeffreys(
        means[0] @ turn, turn.T @ covariances[0] @ turn, means @ turn, turn.T @ covariances @ turn
    )
    np.testing.assert_allclose(turned, there, atol=1e-8)


def test_principal_axes_are_those_of_the_variance():
    random = np.random.default_rng(1)
    spread = np.array([5.0, 1.0, 0.2])
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    points = random.normal(size=(4000, 3)) * spread @ turn + 7
    centre, axes = principal_axes(torch.tensor(points), 2)
    np.testing.assert_allclose(centre, points.mean(axis=0))
    np.testing.assert_allclose(np.abs(axes @ turn[:2].T), np.eye(2), atol=0.03)


def test_a_gaussian_of_fewer_prompts_than_axes_can_be_inverted():
    points = np.random.default_rng(2).normal(size=(5, 8))
    mean, covariance = gaussian(points)
    np.testing.assert_allclose(mean, points.mean(axis=0))
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_whitening_makes_every_axis_count_alike():
    random = np.random.default_rng(3)
    points = random.normal(size=(60, 3))
    stretched = points * [100, 1, 0.01]
    np.testing.assert_allclose(
        whitened_cosines(points, 3), whitened_cosines(stretched, 3), atol=1e-6
    )
    assert not np.allclose(
        cosine_matrix(points, "centred"), cosine_matrix(stretched, "centred"), atol=0.1
    )


def test_a_persona_is_nearest_to_itself_by_every_measure():
    torch.manual_seed(4)
    names = [f"p{number}" for number in range(40)]
    states = torch.randn(40, 1, 24) + 0.3 * torch.randn(40, 20, 24)
    table = nearness(states, moments(states), names, ["p3", "p17"])
    assert list(table.columns) == ["raw", "centred", "whitened", "distance", "kl"]
    for source in ("p3", "p17"):
        rows = table.loc[source]
        assert (rows[["raw", "centred", "whitened"]].idxmax() == source).all()
        assert (rows[["distance", "kl"]].idxmin() == source).all()
    assert AXES < 20
