"""Bilinear interpolation by hand, against jax.image, and as a transposed convolution."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from segjax import ops


def _normal(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def _line(values, size, *, align_corners):
    image = jnp.asarray(values, jnp.float32).reshape(1, 1, -1, 1)
    return ops.resize_bilinear(image, (1, size), align_corners=align_corners).ravel().tolist()


def test_half_pixel_centres_by_hand():
    assert _line([0, 4], 4, align_corners=False) == [0, 1, 3, 4]  # read at -1/4, 1/4, 3/4, 5/4
    assert _line([0, 1, 2, 3], 2, align_corners=False) == [0.5, 2.5]
    assert _line([0, 1, 2, 3, 4, 5], 2, align_corners=False) == [1, 4]  # two pixels, no blur
    assert _line([7], 3, align_corners=False) == [7, 7, 7]


def test_aligned_corners_by_hand():
    assert _line([0, 1, 2], 5, align_corners=True) == [0, 0.5, 1, 1.5, 2]
    assert _line([0, 1, 2, 3, 4], 3, align_corners=True) == [0, 2, 4]
    assert _line([0, 3], 4, align_corners=True) == pytest.approx([0, 1, 2, 3])
    assert _line([5, 6], 1, align_corners=True) == [5]
    assert _line([5], 3, align_corners=True) == [5, 5, 5]


SIZES = [
    ((4, 5), (8, 10)),
    ((4, 5), (7, 13)),
    ((8, 9), (4, 3)),
    ((7, 4), (3, 9)),
    ((3, 3), (24, 24)),
    ((5, 6), (5, 6)),
    ((1, 3), (4, 1)),
    ((2, 3), (80, 50)),  # an input is read by more than MOST_READERS
]


@pytest.mark.parametrize('before, after', SIZES)
def test_value_and_gradient_equal_those_of_jax_image(before, after):
    x = _normal(2, *before, 3)

    @partial(jax.jit, static_argnums=0)
    def value_and_gradient(resize, x):
        y, vjp = jax.vjp(resize, x)
        return y, vjp(jnp.sin(y))

    found = value_and_gradient(lambda x: ops.resize_bilinear(x, after), x)
    reference = lambda x: jax.image.resize(x, (2, *after, 3), 'bilinear', antialias=False)
    expected = value_and_gradient(reference, x)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(found[1][0], expected[1][0], atol=1e-4)


@pytest.mark.parametrize('before, after', SIZES)
def test_aligned_gradient_is_the_transpose(before, after):
    x, g = _normal(2, *before, 3), _normal(2, *after, 3)

    @jax.jit
    def products(x, g):
        y, vjp = jax.vjp(lambda x: ops.resize_bilinear(x, after, align_corners=True), x)
        return jnp.vdot(y, g), jnp.vdot(x, vjp(g)[0])

    np.testing.assert_allclose(*products(x, g), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('before, after', SIZES)
@pytest.mark.parametrize('align_corners', [False, True])
def test_constants_are_kept(before, after, align_corners):
    ones = jnp.ones((1, *before, 2))
    y = ops.resize_bilinear(ones, after, align_corners=align_corners)
    np.testing.assert_array_equal(y, np.ones((1, *after, 2)))


def test_bfloat16_stays_bfloat16():
    x = _normal(1, 3, 3, 2).astype(jnp.bfloat16)
    y, vjp = jax.vjp(lambda x: ops.resize_bilinear(x, (7, 5)), x)
    assert y.dtype == vjp(y)[0].dtype == jnp.bfloat16


def test_bilinear_kernel_by_hand():
    kernel = ops.bilinear_kernel(2)
    assert kernel.dtype == np.float32
    assert kernel[0].tolist() == [0.0625, 0.1875, 0.1875, 0.0625]
    assert kernel[1].tolist() == [0.1875, 0.5625, 0.5625, 0.1875]
    np.testing.assert_array_equal(kernel, kernel[::-1, ::-1].T)
    assert ops.bilinear_kernel(2, odd=True)[0].tolist() == [0.25, 0.5, 0.25]


@pytest.mark.parametrize('stride', [2, 4, 8, 16, 32])
def test_bilinear_kernels_sum_to_the_square_of_the_stride(stride):
    kernel = ops.bilinear_kernel(stride)  # 4, 64, 256, 1024 for the kernels 4, 16, 32, 64 of FCN
    assert kernel.shape == (2 * stride, 2 * stride)
    assert kernel.sum() == pytest.approx(stride**2, rel=1e-6)
    odd = ops.bilinear_kernel(stride, odd=True)  # 1024 for the kernel 63 of FCN-AlexNet
    assert odd.shape == (2 * stride - 1, 2 * stride - 1)
    assert odd.sum() == pytest.approx(stride**2, rel=1e-6)


@pytest.mark.parametrize('stride', [2, 4, 8])
def test_transposed_convolution_with_it_is_the_resize_but_for_the_border(stride):
    x, half = _normal(2, 4, 5, 1), stride // 2
    kernel = jnp.asarray(ops.bilinear_kernel(stride))[..., None, None]
    y = ops.conv_transpose(x, kernel, stride=stride, padding=half)
    expected = ops.resize_bilinear(x, (4 * stride, 5 * stride))
    assert y.shape == expected.shape
    inner = np.s_[:, half:-half, half:-half]
    np.testing.assert_allclose(y[inner], expected[inner], atol=1e-5)
    # In the first row zeros are mixed in by the share of the kernel that hangs over.
    share = 0.5 + 0.5 / stride
    np.testing.assert_allclose(y[:, 0, half:-half], share * expected[:, 0, half:-half], atol=1e-5)


@pytest.mark.parametrize('align_corners', [False, True])
def test_exported_for_any_size_it_is_the_same(align_corners):
    image = _normal(1, 5, 6, 2)

    def enlarge(x):
        size = (3 * x.shape[1], 8 * x.shape[2])
        return ops.resize_bilinear(x, size, align_corners=align_corners)

    any_size = jax.ShapeDtypeStruct((1, *export.symbolic_shape('h, w'), 2), jnp.float32)
    exported = export.export(jax.jit(enlarge))(any_size)
    for part in (image, image[:, :, :1]):
        np.testing.assert_allclose(exported.call(part), enlarge(part), atol=1e-6)
