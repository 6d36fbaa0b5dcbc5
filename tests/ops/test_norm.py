"""Local response normalisation by hand, and against a loop."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from segjax import ops


def test_three_channels_by_hand():
    x = jnp.asarray([1.0, 2.0, 4.0]).reshape(1, 1, 1, 3)
    # Sums of squares over neighbours: 1 + 4, 1 + 4 + 16, 4 + 16; a third of them, and 1 added.
    y = ops.local_response_norm(x, size=3, alpha=3.0, beta=1.0)
    np.testing.assert_allclose(y.ravel(), [1 / 6, 2 / 22, 4 / 21], rtol=1e-6)


@pytest.mark.parametrize('size', [1, 3, 5])
def test_equals_the_loop(size):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 7)).astype(np.float32)
    y = ops.local_response_norm(jnp.asarray(x), size=size, alpha=0.3, beta=0.75, k=2.0)
    for c in range(7):
        near = x[..., max(c - size // 2, 0) : c + size // 2 + 1].astype(np.float64)
        expected = x[..., c] / (2 + 0.3 / size * (near**2).sum(-1)) ** 0.75
        np.testing.assert_allclose(y[..., c], expected, rtol=1e-5)


def test_gradient_agrees_with_finite_differences():
    x = np.random.default_rng(0).normal(size=(1, 1, 2, 6)).astype(np.float32)
    norm = lambda x: ops.local_response_norm(jnp.asarray(x), alpha=1.0)
    check_grads(norm, (x,), order=1, modes=['rev'], atol=2e-2, rtol=2e-2)


def test_bfloat16_is_computed_in_float32():
    x = jnp.asarray(np.random.default_rng(0).normal(0, 50, (1, 2, 2, 8)), jnp.bfloat16)
    y = ops.local_response_norm(x)
    assert y.dtype == jnp.bfloat16
    exact = ops.local_response_norm(x.astype(jnp.float32))
    np.testing.assert_array_equal(y, exact.astype(jnp.bfloat16))


def test_a_neighbourhood_needs_a_middle():
    with pytest.raises(ValueError, match='odd'):
        ops.local_response_norm(jnp.ones((1, 1, 1, 4)), size=4)
