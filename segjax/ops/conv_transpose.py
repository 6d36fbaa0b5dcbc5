"""Transposed convolution, as an ordinary one of the small image."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from segjax.ops.conv import conv, conv_by_matmul, lax_conv
from segjax.ops.partition import height_is_sharded


def conv_transpose(
    x: Float[Array, 'b h w c'],
    kernel: Float[Array, 'kh kw c m'],
    *,
    stride: int,
    padding: int = 0,
) -> Float[Array, 'b oh ow m']:
    """Transposed convolution: every input pixel adds a scaled copy of the kernel to the output.

    `y[i*stride + a - padding, j*stride + b - padding, m] += x[i, j, c] k[a, b, c, m]`, so that the
    output side is `(h - 1) * stride + kh - 2 * padding`. It is the transpose (the gradient with
    respect to the input) of a convolution with the same kernel, not its inverse. Torch's
    `ConvTranspose2d` with its kernel axes moved from `c m kh kw`.

    The definition spreads the image out, zeros between its pixels, and convolves that. XLA takes
    the gradients of such a convolution 20 to 40 times slower than Torch. Here each tile of stride x
    stride outputs is one pixel with stride^2 m channels of an ordinary convolution: Shi et al.,
    "Real-Time Single Image and Video Super-Resolution" (sub-pixel convolution), section 3.
    """
    (kh, kw, _, m), (b, h, w, _) = kernel.shape, x.shape
    tiles = _as_tiles(kernel, stride)
    rows, columns = tiles.shape[:2]  # of tiles that a copy of the kernel reaches over
    pads = [(rows - 1, rows - 1), (columns - 1, columns - 1)]
    if rows == columns == 1:  # copies do not overlap
        y = conv(x, tiles)
    elif height_is_sharded():
        y = lax_conv(x, tiles, 1, pads, 1, 1)
    else:
        y = conv_by_matmul(x, tiles, pads)
    y = y.reshape(b, h + rows - 1, w + columns - 1, stride, stride, m).swapaxes(2, 3)
    y = y.reshape(b, (h + rows - 1) * stride, (w + columns - 1) * stride, m)
    bottom, right = (h - 1) * stride + kh - padding, (w - 1) * stride + kw - padding
    return y[:, padding:bottom, padding:right]


def _as_tiles(kernel: Array, stride: int) -> Array:
    """Cut into tiles: `kh kw c m` to `kh/stride kw/stride c stride^2*m`, rounded up.

    Turned round, since output tile u is made of the input pixels u, u - 1, ...
    """
    kh, kw, c, m = kernel.shape
    rows, columns = -(-kh // stride), -(-kw // stride)
    fill = (0, rows * stride - kh), (0, columns * stride - kw), (0, 0), (0, 0)
    tiles = jnp.pad(kernel, fill).reshape(rows, stride, columns, stride, c, m)
    tiles = tiles[::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5)
    return tiles.reshape(rows, columns, c, stride**2 * m)
