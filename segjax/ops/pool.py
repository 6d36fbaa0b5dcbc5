"""Pooling: the maximum or the mean of windows.

Where the windows lie, in both:
  Torch, TensorFlow 'VALID'   padding=p, rounding='floor'   the last whole window is the last
  Caffe, Torch's ceil_mode    padding=p, rounding='ceil'    one more hangs over the edge
  TensorFlow 'SAME'           padding='same'                ceil(side / stride), odd pixel behind
"""

from __future__ import annotations

from functools import partial, reduce
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from segjax.ops.conv import Padding, Side, explicit_padding

Rounding = Literal['floor', 'ceil']


def max_pool(
    x: Float[Array, 'b h w c'],
    *,
    window: int = 2,
    stride: int = 2,
    padding: Padding = 0,
    rounding: Rounding = 'floor',
) -> Float[Array, 'b oh ow c']:
    """Maximum over `window x window` pixels, every `stride` pixels.

    `y[i, j] = max_{a, b} x[i*stride + a - p, j*stride + b - p]`, over the real pixels alone: what
    is added beyond the border is minus infinity. The output side is `(h + 2p - window) / stride +
    1`, rounded down or up. The gradient goes to the first maximum of a window in row-major order.

    Args:
      padding: p, at most half a window so that every window sees a real pixel; 'valid' is 0; 'same'
        as TensorFlow.
      rounding: of the output side, 'ceil' as Caffe (the last window then hangs over the edge; one
        that would see no pixel is left out). 'same' leaves nothing to round.

    Raises:
      ValueError: `padding` is more than half a window.
    """
    size = x.shape[1:3]
    pads = _window_pads(size, window, stride, padding, rounding)
    lowest = jnp.asarray(-jnp.inf, x.dtype)
    known = all(isinstance(n, int) for n in size)  # not so while exporting for any size
    if known and window == stride == 2 and pads[0][0] == pads[1][0] == 0:
        # The odd row behind: filled up for a window that hangs over, else cut off.
        edges = [(n + back) // 2 * 2 - n for n, (_, back) in zip(size, pads, strict=True)]
        fit = ((0, 0, 0), *((0, edge, 0) for edge in edges), (0, 0, 0))
        return _max_pool_2x2(lax.pad(x, lowest, fit) if any(edges) else x)
    fill = ((0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0))
    return _max_pool(lax.pad(x, lowest, fill), window, stride)


def avg_pool(
    x: Float[Array, 'b h w c'],
    *,
    window: int = 2,
    stride: int = 2,
    padding: Padding = 0,
    rounding: Rounding = 'floor',
    count_padding: bool = False,
) -> Float[Array, 'b oh ow c']:
    """Mean over `window x window` pixels, every `stride` pixels.

    `y[i, j] = sum_{a, b} x[i*stride + a - p, j*stride + b - p] / count`, where the sum runs over
    real pixels and `count` is their number. Added up in float32, returned in the type of `x`.

    Args:
      padding, rounding: as `max_pool`.
      count_padding: zeros of the padding count as pixels, as in Caffe and by default in Torch, so
        that means at the border are smaller. Those of 'same' never do, as in TensorFlow, and the
        part of a window that hangs over beyond the padding does nowhere.

    Raises:
      ValueError: `padding` is more than half a window.
    """
    pads = _window_pads(x.shape[1:3], window, stride, padding, rounding)
    dims = (1, window, window, 1), (1, stride, stride, 1)
    wide = x.astype(jnp.float32)
    total = lax.reduce_window(wide, 0.0, lax.add, *dims, ((0, 0), *pads, (0, 0)))
    zeros = padding if count_padding and isinstance(padding, int) else 0
    counts = []
    for n, (front, back) in zip(x.shape[1:3], pads, strict=True):
        counted = jnp.pad(jnp.ones(n + 2 * zeros), (front - zeros, back - zeros))
        counts.append(lax.reduce_window(counted, 0.0, lax.add, (window,), (stride,), 'VALID'))
    return (total / jnp.outer(*counts)[None, :, :, None]).astype(x.dtype)


def _window_pads(
    size: tuple[Side, ...], window: int, stride: int, padding: Padding, rounding: Rounding
) -> list[tuple[Side, Side]]:
    """The rows and columns to add in front and behind, the part that hangs over among them."""
    if padding == 'same':
        return explicit_padding('same', (window, window), stride, 1, size)
    p = 0 if padding == 'valid' else padding
    if 2 * p > window:
        raise ValueError(f'padding {p} is more than half of the window, {window}')
    return [(p, p + _overhang(n, window, stride, p, rounding)) for n in size]


def _overhang(n: Side, window: int, stride: int, padding: int, rounding: str) -> Side:
    """Rows that the last window reaches beyond the padded image."""
    if rounding == 'floor':
        return 0
    last = -(-(n + 2 * padding - window) // stride)  # symbols stay short in this form, not as %
    over = last * stride + window - n - 2 * padding
    last_start = last * stride - padding  # in rows of the image
    return over if last_start < n else 0


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool(x: Array, window: int, stride: int) -> Array:
    """Without padding: along rows, then along columns; faster than XLA's (README.md, Speed)."""
    for axis in (2, 1):
        covered = x.shape[axis] - window + 1
        views = [lax.slice_in_dim(x, at, at + covered, stride, axis=axis) for at in range(window)]
        x = reduce(jnp.maximum, views)
    return x


def _max_pool_forward(x: Array, window: int, stride: int) -> tuple[Array, tuple[Array, Array]]:
    y = _max_pool(x, window, stride)
    return y, (x, y)  # type: ignore[return-value]  # JAX does not type a custom_vjp with options


def _max_pool_backward(
    window: int, stride: int, saved: tuple[Array, Array], g: Array
) -> tuple[Array]:
    """For each place in a window: the pixels there that are the first maximum take the gradient.

    Pixel `stride * m + a` is place `a + stride * q` of window `m - q`: the gradient is added up for
    each a by itself, in maps of about the output's size, which are interleaved at the end.
    """
    x, y = saved
    (b, h, w, c), (oh, ow) = x.shape, y.shape[1:3]
    tall, wide = -(-h // stride), -(-w // stride)
    taken, zero = jnp.zeros(y.shape, bool), jnp.zeros((), g.dtype)
    phases = [[jnp.zeros((b, tall, wide, c), g.dtype)] * stride for _ in range(stride)]
    for i, j in np.ndindex(window, window):
        end = (b, i + (oh - 1) * stride + 1, j + (ow - 1) * stride + 1, c)
        first = (lax.slice(x, (0, i, j, 0), end, (1, stride, stride, 1)) == y) & ~taken
        taken |= first
        part = jnp.where(first, g, jnp.zeros_like(g))
        (q, row), (r, column) = divmod(i, stride), divmod(j, stride)
        shifts = ((0, 0, 0), (q, tall - oh - q, 0), (r, wide - ow - r, 0), (0, 0, 0))
        phases[row][column] += lax.pad(part, zero, shifts)
    whole = jnp.stack([jnp.stack(row, axis=3) for row in phases], axis=2)
    return (whole.reshape(b, tall * stride, wide * stride, c)[:, :h, :w],)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


@jax.custom_vjp
def _max_pool_2x2(x: Array) -> Array:
    """Four strided views and their maximum; on a CPU faster than XLA's (README.md, Speed)."""
    top = jnp.maximum(x[:, ::2, ::2], x[:, ::2, 1::2])
    bottom = jnp.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2])
    return jnp.maximum(top, bottom)


def _forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    y = _max_pool_2x2(x)
    return y, (x, y)


def _backward(saved: tuple[Array, Array], g: Array) -> tuple[Array]:
    x, y = saved
    b, h, w, c = x.shape
    tiles = x.reshape(b, h // 2, 2, w // 2, 2, c)
    taken = jnp.zeros(y.shape, bool)
    rows = []
    for i in (0, 1):
        row = []
        for j in (0, 1):
            first = (tiles[:, :, i, :, j] == y) & ~taken
            taken |= first
            row.append(jnp.where(first, g, jnp.zeros_like(g)))
        rows.append(jnp.stack(row, axis=3))
    return (jnp.stack(rows, axis=2).reshape(x.shape),)


_max_pool_2x2.defvjp(_forward, _backward)
