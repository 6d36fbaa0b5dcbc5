"""Convolution as the matrix it is."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from segjax.ops.conv import Padding, explicit_padding


def conv_matrix(
    kernel: Float[Array, 'kh kw *features'],
    size: tuple[int, int],
    *,
    stride: int = 1,
    padding: Padding = 'valid',
    dilation: int = 1,
) -> Float[Array, 'outputs inputs']:
    """The matrix M with `conv(x, kernel).ravel() = M @ x.ravel()` for one image x of `size`.

    A row an output, a column an input, both in row-major order `h w c`. A 3x3 kernel on 4x4 pixels
    is a 4x16 matrix: each row holds the nine numbers of the kernel and seven zeros. Its transpose
    is `conv_transpose` with the same kernel (channels swapped) and takes 2x2 pixels to 4x4; with a
    stride of 2 the matrix for 5x5 pixels takes them to 2x2, its transpose 2x2 to 5x5. Dumoulin and
    Visin, "A guide to convolution arithmetic for deep learning", section 4.1.

    Args:
      kernel: `kh kw` for one channel, or `kh kw c m`.
      size: height and width of x.
      stride, padding, dilation: as `conv`.

    Raises:
      ValueError: the kernel has neither two nor four axes.
    """
    if kernel.ndim not in (2, 4):
        raise ValueError(f'a kernel is `kh kw` or `kh kw c m`, not of shape {kernel.shape}')
    full = kernel[:, :, None, None] if kernel.ndim == 2 else kernel
    side = full.shape[:2]
    pads = explicit_padding(padding, side, stride, dilation, size)
    taps = (_taps(*axis, stride, dilation) for axis in zip(size, side, pads, strict=True))
    rows, columns = (jnp.asarray(tap, kernel.dtype) for tap in taps)
    matrix = jnp.einsum('iar,jbq,abcm->ijmrqc', rows, columns, full)
    outputs = matrix.shape[0] * matrix.shape[1] * matrix.shape[2]
    return matrix.reshape(outputs, -1)


def _taps(n: int, side: int, pads: tuple[int, int], stride: int, dilation: int) -> np.ndarray:
    """Along one axis, `outputs side n`: 1 where output i reads input r through tap a, else 0."""
    outputs = (n + sum(pads) - (side - 1) * dilation - 1) // stride + 1
    read = np.arange(outputs)[:, None] * stride + np.arange(side) * dilation - pads[0]
    return read[:, :, None] == np.arange(n)  # what lies in the padding is no input
