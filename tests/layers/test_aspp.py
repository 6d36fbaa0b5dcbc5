"""Atrous spatial pyramid pooling, by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from segjax.layers import ASPP, ConvNormRelu

PLAIN = partial(ConvNormRelu, bn_epsilon=0.0)  # with fresh statistics: a convolution and ReLU


def _pyramid(image_pool='first', rates=(2,)):
    return ASPP(rates, PLAIN, PLAIN, features=1, image_pool=image_pool, dropout=0.5)


def _with_kernels(model, x, kernels):
    """Variables of `model` in which each convolution has the kernel of its layer's name."""
    variables = model.init(jax.random.key(0), x, False)
    flat = flatten_dict(variables, sep='/')
    for name, kernel in kernels.items():
        path = f'params/{name}/conv/kernel'
        flat[path] = jnp.asarray(kernel, jnp.float32).reshape(flat[path].shape)
    return unflatten_dict(flat, sep='/')


@pytest.mark.parametrize('image_pool, weights', [('first', (100, 1, 10)), ('last', (1, 10, 100))])
def test_branches_by_hand(image_pool, weights):
    """One channel, 0 to 24 in 5x5: mean 12; the dilated kernel adds the corners at distance 2."""
    x = jnp.arange(25.0).reshape(1, 5, 5, 1)
    corners = [1, 0, 1, 0, 0, 0, 1, 0, 1]
    kernels = {
        'aspp0': [2], 'aspp1': corners, 'image_pooling': [3], 'concat_projection': weights,
    }  # fmt: skip
    model = _pyramid(image_pool)
    y = model.apply(_with_kernels(model, x, kernels), x, False)[0, :, :, 0]
    # the middle, 12, has 0, 4, 20 and 24 at its corners; the first pixel, 0, only 12
    np.testing.assert_allclose(y[2, 2], 2 * 12 + 10 * (0 + 4 + 20 + 24) + 100 * 3 * 12, rtol=1e-6)
    np.testing.assert_allclose(y[0, 0], 2 * 0 + 10 * 12 + 100 * 3 * 12, rtol=1e-6)


def test_without_rates_and_mean_two_convolutions_remain():
    x = jnp.arange(25.0).reshape(1, 5, 5, 1)
    model = _pyramid('none', ())
    variables = _with_kernels(model, x, {'aspp0': [2], 'concat_projection': [3]})
    assert set(variables['params']) == {'aspp0', 'concat_projection'}
    np.testing.assert_allclose(model.apply(variables, x, False), 6 * x, rtol=1e-6)
