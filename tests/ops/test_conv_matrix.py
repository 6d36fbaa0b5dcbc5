"""The matrix of a convolution: by hand, and times a vector the convolution itself."""

import jax.numpy as jnp
import numpy as np
import pytest

from segjax import ops

NINE = jnp.arange(1.0, 10.0).reshape(3, 3)


def _normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def test_three_by_three_on_four_by_four_by_hand():
    assert ops.conv_matrix(NINE, (4, 4)).tolist() == [
        [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0, 0],
        [0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0],
        [0, 0, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9],
    ]


def test_taps_on_padding_are_left_out_by_hand():
    line = jnp.asarray([[1.0, 2.0, 3.0]])
    assert ops.conv_matrix(line, (1, 3), padding='same').tolist() == [
        [2, 3, 0],
        [1, 2, 3],
        [0, 1, 2],
    ]


def test_its_transpose_takes_two_by_two_to_four_by_four():
    x, matrix = _normal(1, 2, 2, 1), ops.conv_matrix(NINE, (4, 4))
    assert matrix.shape == (4, 16)
    y = ops.conv_transpose(x, NINE[:, :, None, None], stride=1)
    np.testing.assert_allclose((matrix.T @ x.ravel()).reshape(y.shape), y, rtol=1e-5)


def test_with_stride_two_its_transpose_takes_two_by_two_to_five_by_five():
    x, matrix = _normal(1, 2, 2, 1), ops.conv_matrix(NINE, (5, 5), stride=2)
    assert matrix.shape == (4, 25)
    y = ops.conv_transpose(x, NINE[:, :, None, None], stride=2)
    assert y.shape == (1, 5, 5, 1)
    np.testing.assert_allclose((matrix.T @ x.ravel()).reshape(y.shape), y, rtol=1e-5)


@pytest.mark.parametrize(
    'size, kernel, stride, padding, dilation',
    [
        ((4, 5), (3, 2), 1, 'valid', 1),
        ((5, 4), (3, 3), 2, 'same', 1),
        ((6, 7), (2, 3), 1, 'same', 2),
        ((7, 6), (3, 3), 3, 2, 2),
        ((3, 3), (1, 1), 2, 1, 1),
    ],
)
def test_times_a_vector_it_is_the_convolution(size, kernel, stride, padding, dilation):
    x, k = _normal(1, *size, 2), _normal(*kernel, 2, 3, seed=1)
    options = {'stride': stride, 'padding': padding, 'dilation': dilation}
    y, matrix = ops.conv(x, k, **options), ops.conv_matrix(k, size, **options)
    assert matrix.shape == (y.size, x.size)
    np.testing.assert_allclose((matrix @ x.ravel()).reshape(y.shape), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('stride, padding', [(1, 0), (2, 0), (2, 1), (3, 1)])
def test_its_transpose_is_the_transposed_convolution(stride, padding):
    x, k = _normal(1, 3, 2, 2), _normal(4, 3, 2, 3, seed=1)
    y = ops.conv_transpose(x, k, stride=stride, padding=padding)
    options = {'stride': stride, 'padding': padding}
    matrix = ops.conv_matrix(k.swapaxes(2, 3), y.shape[1:3], **options)
    np.testing.assert_allclose((matrix.T @ x.ravel()).reshape(y.shape), y, rtol=1e-4, atol=1e-5)


def test_a_kernel_of_three_axes_is_refused():
    with pytest.raises(ValueError, match='kh kw c m'):
        ops.conv_matrix(jnp.ones((3, 3, 1)), (4, 4))
