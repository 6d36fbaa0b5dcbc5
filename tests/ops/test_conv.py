"""Convolutions against loops in NumPy that follow the formulas of their docstrings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from segjax import ops
from segjax.ops.conv import conv_by_taps, lax_conv


def _normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _pads(padding, kernel, stride, dilation, size):
    """TensorFlow's rule in words: as few zeros as give ceil(n / stride) outputs, the odd behind."""
    if padding == 'valid':
        return [(0, 0), (0, 0)]
    if isinstance(padding, int):
        return [(padding, padding)] * 2
    pads = []
    for k, n in zip(kernel, size, strict=True):
        extent, outputs, zeros = (k - 1) * dilation + 1, (n + stride - 1) // stride, 0
        while (n + zeros - extent) // stride + 1 < outputs:
            zeros += 1
        pads.append((zeros // 2, zeros - zeros // 2))
    return pads


def _loop_conv(x, kernel, stride, padding, dilation, groups):
    kh, kw, per_group, m = kernel.shape
    (top, bottom), (left, right) = _pads(padding, (kh, kw), stride, dilation, x.shape[1:3])
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    oh = (x.shape[1] - (kh - 1) * dilation - 1) // stride + 1
    ow = (x.shape[2] - (kw - 1) * dilation - 1) // stride + 1
    y = np.zeros((x.shape[0], oh, ow, m), np.float64)
    for i, j, a, b, o in np.ndindex(oh, ow, kh, kw, m):
        group = o // (m // groups)
        channels = slice(group * per_group, (group + 1) * per_group)
        pixel = x[:, i * stride + a * dilation, j * stride + b * dilation, channels]
        y[:, i, j, o] += pixel @ kernel[a, b, :, o].astype(np.float64)
    return y


def _loop_conv_transpose(x, kernel, stride, padding):
    (b, h, w, _), (kh, kw, _, m) = x.shape, kernel.shape
    y = np.zeros((b, (h - 1) * stride + kh, (w - 1) * stride + kw, m), np.float64)
    for i, j in np.ndindex(h, w):
        copies = np.einsum('bc,ijcm->bijm', x[:, i, j], kernel)
        y[:, i * stride : i * stride + kh, j * stride : j * stride + kw] += copies
    return y[:, padding : y.shape[1] - padding, padding : y.shape[2] - padding]


def test_conv_of_a_ramp_by_hand():
    ramp = jnp.arange(9.0).reshape(1, 3, 3, 1)
    # 0 1 2     taps 1 0   0 + 4  1 + 5
    # 3 4 5          0 1   3 + 7  4 + 8
    # 6 7 8
    y = ops.conv(ramp, jnp.eye(2).reshape(2, 2, 1, 1), padding='valid')
    assert y[0, :, :, 0].tolist() == [[4.0, 6.0], [10.0, 12.0]]


def test_conv_does_not_flip_the_kernel():
    ramp = jnp.arange(3.0).reshape(1, 1, 3, 1)
    kernel = jnp.asarray([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    assert ops.conv(ramp, kernel)[0, 0, :, 0].tolist() == [0.0, 0.0, 1.0]  # the left neighbour


def test_same_padding_puts_the_odd_pixel_behind():
    ones = jnp.ones((1, 1, 4, 1))
    y = ops.conv(ones, jnp.ones((1, 3, 1, 1)), stride=2)
    assert y[0, 0, :, 0].tolist() == [3.0, 2.0]  # pads 0 in front, 1 behind


@pytest.mark.parametrize(
    'size, kernel, stride, padding, dilation, groups',
    [
        ((5, 6), (3, 3), 1, 'same', 1, 1),
        ((5, 6), (3, 3), 2, 'same', 1, 1),
        ((7, 5), (2, 4), 2, 'same', 1, 2),
        ((6, 6), (1, 1), 2, 'same', 1, 1),
        ((7, 8), (3, 3), 1, 'same', 2, 4),
        ((9, 8), (3, 2), 3, 'same', 2, 1),
        ((5, 6), (3, 3), 1, 'valid', 1, 1),
        ((9, 8), (3, 3), 2, 'valid', 3, 1),
        ((5, 6), (3, 3), 1, 0, 1, 2),
        ((5, 6), (3, 3), 1, 2, 1, 1),
        ((4, 5), (3, 3), 2, 3, 2, 4),
        ((4, 5), (1, 1), 1, 'same', 1, 1),
        ((4, 5), (1, 1), 1, 'valid', 1, 1),
        ((4, 5), (1, 1), 1, 0, 1, 1),
        ((4, 5), (1, 1), 1, 1, 1, 1),
        ((4, 5), (1, 1), 1, 'same', 1, 2),
        ((2, 4), (7, 5), 1, 'same', 1, 1),  # few windows: by matmul
        ((4, 5), (5, 7), 1, 'same', 1, 1),
    ],
)
def test_conv_equals_the_loop(size, kernel, stride, padding, dilation, groups):
    x, k = _normal(2, *size, 4), _normal(*kernel, 4 // groups, 8, seed=1)
    y = ops.conv(
        jnp.asarray(x),
        jnp.asarray(k),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    expected = _loop_conv(x, k, stride, padding, dilation, groups)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kernel, stride', [(3, 1), (3, 2), (2, 2), (7, 3), (1, 2)])
def test_same_padding_is_that_of_xla(kernel, stride):
    x = jnp.asarray(_normal(1, 11, 11, 1))
    k = jnp.asarray(_normal(kernel, kernel, 1, 1, seed=1))
    for n in (11, 10, 9, 8):
        y = ops.conv(x[:, :n, :n], k, stride=stride)
        dims = ('NHWC', 'HWIO', 'NHWC')
        expected = lax.conv_general_dilated(
            x[:, :n, :n], k, (stride, stride), 'SAME', dimension_numbers=dims
        )
        assert y.shape[1:3] == (-(-n // stride),) * 2
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_one_by_one_conv_computes_in_bfloat16():
    x, k = _normal(1, 4, 4, 8), _normal(1, 1, 8, 3)
    y = ops.conv(jnp.asarray(x, jnp.bfloat16), jnp.asarray(k, jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), x @ k[0, 0], atol=0.1)


@pytest.mark.parametrize(
    'kernel, pads, dilation',
    [
        ((3, 3), ((4, 4), (4, 4)), 4),
        ((3, 3), ((6, 6), (6, 6)), 6),  # on six rows: those of the middle tap are all there is
        ((2, 3), ((1, 4), (0, 9)), 3),
        ((3, 1), ((2, 2), (1, 0)), 1),
    ],
)
def test_taps_give_the_definition_and_its_gradients(kernel, pads, dilation):
    x, k = jnp.asarray(_normal(2, 6, 7, 3)), jnp.asarray(_normal(*kernel, 3, 5, seed=1))
    plain = lambda x, k: lax_conv(x, k, 1, pads, dilation, 1)
    y, vjp = jax.vjp(lambda x, k: conv_by_taps(x, k, pads, dilation), x, k)
    expected, expected_vjp = jax.vjp(plain, x, k)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    for found, gradient in zip(vjp(jnp.cos(y)), expected_vjp(jnp.cos(y)), strict=True):
        np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-4)


def test_wide_dilation_is_computed_by_taps_on_a_cpu():
    k = jnp.asarray(_normal(3, 3, 2, 4))
    program = lambda side: jax.jit(lambda x: ops.conv(x, k, dilation=6)).lower(
        jax.ShapeDtypeStruct((1, side, side, 2), jnp.float32)
    )
    assert ' convolution(' not in program(17).compile().as_text()
    assert ' convolution(' in program(18).compile().as_text()


def test_wide_kernel_is_a_matrix_product_on_a_small_map_on_a_cpu():
    k = jnp.asarray(_normal(5, 5, 2, 12))
    program = lambda h, w: jax.jit(lambda x: ops.conv(x, k)).lower(
        jax.ShapeDtypeStruct((1, h, w, 2), jnp.float32)
    )
    assert ' convolution(' not in program(3, 4).compile().as_text()
    assert ' convolution(' in program(4, 4).compile().as_text()


def test_transposed_two_by_two_by_hand():
    x = jnp.asarray([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    kernel = jnp.asarray([[1.0, 10.0], [100.0, 1000.0]]).reshape(2, 2, 1, 1)
    y = ops.conv_transpose(x, kernel, stride=2)
    assert y[0, :, :, 0].tolist() == [
        [1.0, 10.0, 2.0, 20.0],
        [100.0, 1000.0, 200.0, 2000.0],
        [3.0, 30.0, 4.0, 40.0],
        [300.0, 3000.0, 400.0, 4000.0],
    ]


def test_copies_of_the_kernel_overlap_by_hand():
    x = jnp.asarray([1.0, 2.0]).reshape(1, 1, 2, 1)
    kernel = jnp.asarray([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1)
    y = ops.conv_transpose(x, kernel, stride=2)
    assert y[0, 0, :, 0].tolist() == [1.0, 10.0, 102.0, 20.0, 200.0]


TRANSPOSED = [
    ((2, 2), 2, 0),  # tiles
    ((3, 3), 3, 0),  # tiles
    ((1, 1), 1, 0),  # tiles
    ((2, 2), 2, 1),  # tiles, but for the padding
    ((4, 4), 2, 1),
    ((3, 3), 2, 0),
    ((3, 2), 1, 1),
    ((2, 3), 3, 0),  # gaps between the rows
    ((16, 16), 8, 4),
]


@pytest.mark.parametrize('kernel, stride, padding', TRANSPOSED)
def test_conv_transpose_equals_the_loop(kernel, stride, padding):
    x, k = _normal(2, 3, 4, 3), _normal(*kernel, 3, 5, seed=1)
    y = ops.conv_transpose(jnp.asarray(x), jnp.asarray(k), stride=stride, padding=padding)
    expected = _loop_conv_transpose(x, k, stride, padding)
    assert y.shape == expected.shape
    assert y.shape[1] == (3 - 1) * stride + kernel[0] - 2 * padding
    assert y.shape[2] == (4 - 1) * stride + kernel[1] - 2 * padding
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kernel, stride, padding', TRANSPOSED)
def test_conv_transpose_is_the_gradient_of_conv(kernel, stride, padding):
    x, k = jnp.asarray(_normal(2, 3, 4, 3)), jnp.asarray(_normal(*kernel, 3, 5, seed=1))
    y = ops.conv_transpose(x, k, stride=stride, padding=padding)
    forward = lambda z: ops.conv(z, k.swapaxes(2, 3), stride=stride, padding=padding)
    z, transpose = jax.vjp(forward, jnp.zeros_like(y))
    assert z.shape == x.shape
    np.testing.assert_allclose(y, transpose(x)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kernel, stride, padding', TRANSPOSED)
def test_gradients_of_conv_transpose_are_those_of_its_definition(kernel, stride, padding):
    """Zeros between the pixels, then a convolution with the kernel turned round."""
    x, k = jnp.asarray(_normal(2, 3, 4, 3)), jnp.asarray(_normal(*kernel, 3, 5, seed=1))

    def definition(x, k):
        return lax.conv_general_dilated(
            x,
            k[::-1, ::-1],
            (1, 1),
            [(side - 1 - padding,) * 2 for side in kernel],
            lhs_dilation=(stride, stride),
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )

    y, vjp = jax.vjp(lambda x, k: ops.conv_transpose(x, k, stride=stride, padding=padding), x, k)
    expected, expected_vjp = jax.vjp(definition, x, k)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    for found, gradient in zip(vjp(jnp.cos(y)), expected_vjp(jnp.cos(y)), strict=True):
        np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kernel, stride', [(2, 2), (3, 2), (4, 2), (16, 8)])
def test_gradients_of_conv_transpose_spread_nothing_out(kernel, stride):
    """XLA is slow with convolutions of an image with zeros between its pixels."""
    x, k = jnp.asarray(_normal(1, 3, 4, 2)), jnp.asarray(_normal(kernel, kernel, 2, 2))
    value = lambda x, k: jnp.sum(jnp.cos(ops.conv_transpose(x, k, stride=stride)))
    text = str(jax.make_jaxpr(jax.grad(value, argnums=(0, 1)))(x, k))
    assert 'dot_general' in text
    assert 'conv_general_dilated' not in text


@pytest.mark.parametrize('kernel, stride', [(2, 2), (4, 2)])
def test_gradients_agree_with_finite_differences(kernel, stride):
    x, k = jnp.asarray(_normal(1, 2, 3, 2)), jnp.asarray(_normal(kernel, kernel, 2, 2, seed=1))
    up = lambda x, k: ops.conv_transpose(jnp.asarray(x), jnp.asarray(k), stride=stride)
    check_grads(up, (x, k), order=1, modes=['rev'], atol=2e-2, rtol=2e-2)
    down = lambda x, k: ops.conv(jnp.asarray(x), jnp.asarray(k), stride=stride)
    check_grads(down, (x, k), order=1, modes=['rev'], atol=2e-2, rtol=2e-2)


def test_conv_cost_by_hand():
    # The first layer of U-Net: nine taps on one channel for each of 64 times 570 x 570 numbers.
    assert ops.conv_cost((3, 3), 1, 64, (570, 570)) == 9 * 64 * 324_900
    # depthwise: nine taps for each of 8 channels at 4 x 5 pixels
    assert ops.conv_cost((3, 3), 8, 8, (4, 5), groups=8) == 9 * 8 * 20
    assert ops.conv_cost((1, 1), 6, 4, (2, 3), groups=2) == 3 * 4 * 6
