"""Inputs recovered from kernel and output: by hand, small, as an image; and what cannot be."""

import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops


def _normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def _gaussian(sigma, side):
    line = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * sigma**2))
    line /= line.sum()
    return jnp.asarray(np.outer(line, line)[:, :, None, None], jnp.float32)


def test_differences_are_summed_up_again_by_hand():
    y = jnp.asarray([1.0, 1.0, 1.0, 2.0]).reshape(1, 1, 4, 1)
    kernel = jnp.asarray([-1.0, 1.0, 0.0]).reshape(1, 3, 1, 1)  # each pixel less its left one
    x = ops.deconvolve(y, kernel)
    np.testing.assert_allclose(x.ravel(), [1, 2, 3, 5], rtol=1e-6)


@pytest.mark.parametrize('padding', ['same', 2])
@pytest.mark.parametrize('channels', [(1, 1), (2, 3)])
def test_small_inputs_are_recovered(channels, padding):
    x, kernel = _normal(2, 7, 6, channels[0]), _normal(3, 3, *channels, seed=3)
    y = ops.conv(x, kernel, padding=padding)
    np.testing.assert_allclose(ops.deconvolve(y, kernel, padding=padding), x, atol=1e-4)


def test_with_more_outputs_than_unknowns_it_is_the_least_squares_solution():
    kernel, y = _normal(2, 2, 1, 1), _normal(1, 5, 5, 1, seed=1)  # y is no convolution of any x
    x = ops.deconvolve(y, kernel, padding=1)
    matrix = ops.conv_matrix(kernel, (4, 4), padding=1)
    nearest = np.linalg.lstsq(np.asarray(matrix), np.ravel(y), rcond=None)[0]
    np.testing.assert_allclose(x.ravel(), nearest, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('padding', ['same', 3])
def test_a_blurred_image_is_recovered(padding):
    kernel = _gaussian(0.7, 3)
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 20, 30, 1)), jnp.float32)
    y = ops.conv(x, kernel, padding=padding)
    assert jnp.abs(ops.deconvolve(y, kernel, padding=padding) - x).max() < 1e-4
    inner = y[:, 2:-2, 2:-2] if padding == 3 else y
    assert jnp.abs(inner - x).max() > 0.1


def test_an_image_of_several_channels_is_recovered():
    kernel = _gaussian(0.7, 3) * _normal(1, 1, 2, 3)  # blurred, and two channels mixed into three
    x = _normal(1, 20, 21, 2, seed=1)
    np.testing.assert_allclose(ops.deconvolve(ops.conv(x, kernel), kernel), x, atol=1e-3)


@pytest.mark.parametrize('side', [8, 30])
def test_a_kernel_that_loses_pixels_is_refused(side):
    shift = jnp.zeros((3, 3, 1, 1)).at[0, 0].set(1.0)  # the last row and column fall out of y
    with pytest.raises(ValueError, match=r'not invertible: on .* singular values range'):
        ops.deconvolve(_normal(1, side, side, 1), shift)
    with pytest.raises(ValueError, match='not invertible'):
        ops.deconvolve(_normal(1, side, side, 1), jnp.zeros((3, 3, 1, 1)))


def test_a_kernel_that_loses_a_frequency_is_refused():
    mean = jnp.full((3, 3, 1, 1), 1 / 9)  # nothing is left of a wave of three pixels
    with pytest.raises(ValueError, match=r'frequency \(.*0\.333.*\) cycles a pixel'):
        ops.deconvolve(_normal(1, 40, 40, 1), mean)


def test_a_border_that_is_lost_is_refused():
    y = ops.conv(_normal(1, 4, 4, 1), _normal(3, 3, 1, 1), padding='valid')
    with pytest.raises(ValueError, match=r"2x2x1 numbers do not determine 4x4x1 .* padding='same'"):
        ops.deconvolve(y, _normal(3, 3, 1, 1), padding='valid')
