"""Bilinear interpolation: as a resize, and as the kernel of a transposed convolution."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from segjax.ops.conv import Side
from segjax.ops.partition import height_is_sharded, whole_height

Taps = np.ndarray | Array

MOST_READERS = 32  # that are added up one by one, several times faster than a product with a matrix


def resize_bilinear(
    image: Float[Array, 'b h w c'], size: tuple[Side, Side], *, align_corners: bool = False
) -> Float[Array, 'b oh ow c']:
    """Bilinear interpolation to `size`.

    Output pixel i reads the input at `(i + 1/2) h / oh - 1/2`, clamped to the image, or with
    `align_corners` at `i (h - 1) / (oh - 1)`. Never antialiased: shrinking reads two pixels a side,
    as Torch's `interpolate` and TensorFlow 1's `resize_bilinear` do (`jax.image.resize` blurs
    first).
    """
    _, h, w, _ = image.shape
    columns = lambda x: _along(x, 2, w, size[1], align_corners)
    rows = lambda x: _along(x, 1, h, size[0], align_corners)
    if height_is_sharded():  # rows are exchanged, better while they are short
        return columns(rows(image))
    return rows(columns(image))


def bilinear_kernel(stride: int, *, odd: bool = False) -> np.ndarray:
    """The kernel with which a transposed convolution of stride s interpolates.

    `k[a, b] = (1 - |a - c| / s) (1 - |b - c| / s)` with centre `c = s - 1/2` in a kernel of 2s x 2s
    for an even stride: with padding s/2 the result is `resize_bilinear` by the factor s, but for
    the border, where zeros are mixed in. Long, Shelhamer, Darrell, "Fully Convolutional Networks",
    section 3.3.

    Args:
      odd: `c = s - 1` in a kernel of 2s-1 x 2s-1, which gives the inputs themselves at every s-th
        output.
    """
    side = 2 * stride - odd
    line = 1 - np.abs(np.arange(side) - (side - 1) / 2) / stride
    return np.outer(line, line).astype(np.float32)


def _taps(n: Side, m: Side, align_corners: bool) -> tuple[Taps, Taps, Taps]:
    """For each of m outputs: the two input indices and the weight of the second."""
    if not (isinstance(n, int) and isinstance(m, int)):
        return _taps_of_any_size(n, m, align_corners)
    if align_corners:
        source = np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
    else:
        source = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    low = np.minimum(np.floor(source).astype(np.int32), n - 1)
    return low, np.minimum(low + 1, n - 1), (source - low).astype(np.float32)


def _taps_of_any_size(n: Side, m: Side, align_corners: bool) -> tuple[Array, Array, Array]:
    """The same while exporting for any size: the sides are known when the program runs."""
    steps = jnp.arange(m).astype(jnp.float32)
    before, after, one, half = (jnp.asarray(side, jnp.float32) for side in (n, m, 1, 0.5))
    if align_corners:
        source = steps * ((before - one) / jnp.maximum(after - one, one))
    else:
        source = jnp.clip((steps + half) * before / after - half, 0 * one, before - one)
    low = jnp.floor(source)
    high = jnp.minimum(low + one, before - one)
    return low.astype(jnp.int32), high.astype(jnp.int32), source - low


def _matrix(n: int, m: int, align_corners: bool) -> np.ndarray:
    """The interpolation as an `m n` matrix."""
    low, high, fraction = _taps(n, m, align_corners)
    matrix = np.zeros((m, n), np.float32)
    np.add.at(matrix, (np.arange(m), low), 1 - fraction)
    np.add.at(matrix, (np.arange(m), high), fraction)
    return matrix


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _along(x: Array, axis: int, n: Side, m: Side, align_corners: bool) -> Array:
    """Interpolate one axis from n to m pixels."""
    if n == m:
        return x
    low, high, fraction = _taps(n, m, align_corners)
    shape = [1] * x.ndim
    shape[axis] = m
    weight = jnp.asarray(fraction, x.dtype).reshape(shape)
    a, b = jnp.take(x, low, axis=axis), jnp.take(x, high, axis=axis)
    return a + (b - a) * weight


def _along_forward(
    x: Array, axis: int, n: Side, m: Side, align_corners: bool
) -> tuple[Array, None]:
    return _along(x, axis, n, m, align_corners), None


def _along_backward(
    axis: int, n: int, m: int, align_corners: bool, _: None, g: Array
) -> tuple[Array]:
    """The transposed matrix: no scatter, so the gradient is the same bits every time."""
    if n == m:
        return (g,)
    matrix = _matrix(n, m, align_corners)
    readers = int(np.count_nonzero(matrix, axis=0).max())  # outputs that read the same input
    if readers > MOST_READERS or (axis == 1 and height_is_sharded()):
        indices = 'bmwc,mn->bnwc' if axis == 1 else 'bhmc,mn->bhnc'
        found = jnp.einsum(indices, g, jnp.asarray(matrix, g.dtype))
        # Where rows are shared, add up the small map and do not gather g.
        return (whole_height(found) if axis == 1 and n < m else found,)
    return (_sum_of_readers(g, axis, matrix, readers),)


def _sum_of_readers(g: Array, axis: int, matrix: np.ndarray, readers: int) -> Array:
    """g times the matrix along `axis`: each input adds up what its readers got."""
    order = np.argsort(matrix == 0, axis=0, kind='stable')[:readers]  # readers come first
    weights = np.take_along_axis(matrix, order, axis=0)  # 0 where an input has fewer
    shape = [1] * g.ndim
    shape[axis] = -1
    total = jnp.zeros((), jnp.float32)
    for reader, weight in zip(order, weights, strict=True):
        total += jnp.take(g, reader, axis).astype(jnp.float32) * weight.reshape(shape)
    return total.astype(g.dtype)


_along.defvjp(_along_forward, _along_backward)
