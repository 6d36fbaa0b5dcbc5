"""Depthwise and separable convolution by hand, and as the convolution that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops


def _normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def test_every_channel_has_its_own_kernel_by_hand():
    x = jnp.asarray([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]).reshape(1, 1, 3, 2)
    kernel = jnp.asarray([[1.0, 0.0], [0.0, 2.0]]).reshape(1, 2, 1, 2)
    # Channel 0 takes the pixel itself, channel 1 twice the next one.
    y = ops.depthwise_conv(x, kernel, padding='valid')
    assert y[0, 0].tolist() == [[1, 40], [2, 60]]


def test_two_outputs_of_each_channel_lie_side_by_side():
    x = jnp.asarray([1.0, 10.0]).reshape(1, 1, 1, 2)
    kernel = jnp.asarray([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
    assert ops.depthwise_conv(x, kernel).ravel().tolist() == [1, 2, 30, 40]


OPTIONS = [
    {},
    {'stride': 2},
    {'padding': 'valid', 'dilation': 2},
    {'padding': 2, 'stride': 2, 'dilation': 2},
]


@pytest.mark.parametrize('options', OPTIONS)
def test_depthwise_equals_one_convolution_a_channel(options):
    x, kernel = _normal(2, 9, 8, 3), _normal(3, 3, 1, 3, seed=1)
    each = [ops.conv(x[..., c : c + 1], kernel[..., c : c + 1], **options) for c in range(3)]
    y = ops.depthwise_conv(x, kernel, **options)
    np.testing.assert_allclose(y, jnp.concatenate(each, -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('options', OPTIONS)
def test_separable_is_the_convolution_with_the_product(options):
    x, depthwise, pointwise = _normal(2, 9, 8, 3), _normal(3, 3, 1, 3), _normal(1, 1, 3, 5)

    @jax.jit
    def value_and_gradient(x, depthwise, pointwise):
        separable = lambda *arguments: ops.separable_conv(*arguments, **options)
        y, vjp = jax.vjp(separable, x, depthwise, pointwise)
        return y, vjp(jnp.cos(y))

    @jax.jit
    def of_the_product(x, depthwise, pointwise):
        product = lambda x, d, p: ops.conv(x, jnp.einsum('abic,jkcm->abcm', d, p), **options)
        y, vjp = jax.vjp(product, x, depthwise, pointwise)
        return y, vjp(jnp.cos(y))

    found = value_and_gradient(x, depthwise, pointwise)
    expected = of_the_product(x, depthwise, pointwise)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    jax.tree.map(close, found, expected)


def test_cost_by_hand():
    # Nine taps for each of 32 channels, then 32 x 64 products, at 10 x 20 pixels.
    assert ops.separable_cost((3, 3), 32, 64, (10, 20)) == (9 * 32 + 32 * 64) * 200
    # MobileNets, section 3.1: a share of 1/M + 1/K^2 of the standard convolution.
    standard = ops.conv_cost((3, 3), 32, 64, (10, 20))
    assert ops.separable_cost((3, 3), 32, 64, (10, 20)) / standard == pytest.approx(1 / 64 + 1 / 9)


def test_costs_are_those_that_xla_counts_without_padding():
    x, kernel = jnp.ones((1, 10, 12, 8)), jnp.ones((3, 3, 8, 4))
    valid = jax.jit(lambda x, kernel: ops.conv(x, kernel, padding='valid')).lower(x, kernel)
    flops = valid.compile().cost_analysis()['flops']
    assert flops == 2 * ops.conv_cost((3, 3), 8, 4, (8, 10))
