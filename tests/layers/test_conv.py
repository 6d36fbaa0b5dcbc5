"""Convolution layers: their parameters, their initial values, and what they compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops
from segjax.layers import Conv, ConvTranspose
from segjax.layers.conv import bilinear_init


def _shapes(layer, channels):
    variables = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((1, 8, 8, channels)))
    return {name: leaf.shape for name, leaf in variables['params'].items()}


@pytest.mark.parametrize(
    'layer, expected',
    [
        (Conv(5), {'kernel': (3, 3, 4, 5), 'bias': (5,)}),
        (Conv(5, 1, use_bias=False), {'kernel': (1, 1, 4, 5)}),
        (Conv(6, 7, stride=2, dilation=2), {'kernel': (7, 7, 4, 6), 'bias': (6,)}),
        (Conv(8, groups=4), {'kernel': (3, 3, 1, 8), 'bias': (8,)}),
        (ConvTranspose(5), {'kernel': (2, 2, 4, 5), 'bias': (5,)}),
        (ConvTranspose(5, kernel=4, padding=1, use_bias=False), {'kernel': (4, 4, 4, 5)}),
    ],
)
def test_parameter_shapes(layer, expected):
    assert _shapes(layer, 4) == expected


def test_conv_is_the_op_with_a_bias(key):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 6, 4)).astype(np.float32))
    params = {
        'kernel': jax.random.normal(key, (3, 3, 2, 6)),
        'bias': jnp.asarray([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    }
    options = {'stride': 2, 'padding': 1, 'dilation': 2, 'groups': 2}
    y = Conv(6, 3, **options).apply({'params': params}, x)
    plain = ops.conv(x, params['kernel'], **options)
    np.testing.assert_allclose(y - plain, np.broadcast_to(params['bias'], y.shape), atol=1e-5)


def test_conv_transpose_is_the_op_with_a_bias(key):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 2)).astype(np.float32))
    params = {'kernel': jax.random.normal(key, (4, 4, 2, 3)), 'bias': jnp.asarray([1.0, 2.0, 3.0])}
    y = ConvTranspose(3, kernel=4, stride=2, padding=1).apply({'params': params}, x)
    plain = ops.conv_transpose(x, params['kernel'], stride=2, padding=1)
    assert y.shape == (2, 6, 8, 3)
    np.testing.assert_allclose(y - plain, np.broadcast_to(params['bias'], y.shape), atol=1e-5)


@pytest.mark.parametrize('layer', [Conv(3), Conv(3, 1), ConvTranspose(3)])
def test_bfloat16_computes_in_it_with_float32_parameters(layer, key):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32))
    half = layer.clone(dtype='bfloat16')
    variables = half.init(key, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
    y = half.apply(variables, x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), layer.apply(variables, x), atol=0.05)


@pytest.mark.parametrize('layer, fan_in', [(Conv(256), 9 * 64), (Conv(512, 1), 64)])
def test_kernels_start_with_the_deviation_of_he(layer, fan_in, key):
    params = layer.init(key, jnp.zeros((1, 2, 2, 64)))['params']
    kernel = np.asarray(params['kernel'])
    expected = np.sqrt(2 / fan_in)
    assert kernel.std() == pytest.approx(expected, rel=0.02)
    assert abs(kernel).max() > 3 * expected  # a Gaussian, not a truncated one
    assert not params['bias'].any()


def test_bilinear_init_lies_on_the_diagonal(key):
    kernel = np.asarray(bilinear_init(key, (4, 4, 3, 3)))
    assert kernel.shape == (4, 4, 3, 3)
    for i, j in np.ndindex(3, 3):
        np.testing.assert_array_equal(kernel[..., i, j], ops.bilinear_kernel(2) * (i == j))
    odd = np.asarray(bilinear_init(key, (63, 63, 1, 1)))[..., 0, 0]
    np.testing.assert_array_equal(odd, ops.bilinear_kernel(32, odd=True))
