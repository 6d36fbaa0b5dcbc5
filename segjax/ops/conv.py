"""Convolution, transposed convolution, and what they cost.

One public function each; the plain `lax` form is the definition, and a faster formulation is taken
only where shapes allow it and the result is the same.
"""

from __future__ import annotations

from typing import Any, Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from segjax.ops.partition import height_is_sharded

Padding = Literal['same', 'valid'] | int
Side = Any  # int, but for images of any size, whose sides are symbols while a model is exported


def explicit_padding(
    padding: Padding, kernel: tuple[int, ...], stride: int, dilation: int, size: tuple[Side, ...]
) -> list[tuple[Side, Side]]:
    """The rows and columns to add in front and behind; 'same' as TensorFlow: the odd one behind."""
    if isinstance(padding, int):
        return [(padding, padding)] * 2
    if padding == 'valid':
        return [(0, 0)] * 2
    pads = []
    for k, n in zip(kernel, size, strict=True):
        total = max((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0)
        pads.append((total // 2, total - total // 2))
    return pads


def conv(
    x: Float[Array, 'b h w c'],
    kernel: Float[Array, 'kh kw ci m'],
    *,
    stride: int = 1,
    padding: Padding = 'same',
    dilation: int = 1,
    groups: int = 1,
) -> Float[Array, 'b oh ow m']:
    """Cross-correlation, as every deep-learning library understands "convolution".

    `y[i, j, m] = sum_{a, b, c} x[i*stride + a*dilation - p, j*stride + b*dilation - p, c] k[a, b,
    c, m]`

    Args:
      kernel: `kh kw c/groups m`.
      padding: 'same' (output side = ceil(side / stride), the odd pixel behind, as TensorFlow),
        'valid', or the number of zeros on each of the four sides, as Torch and Caffe.
      dilation: distance between taps; 2 and more is atrous convolution.
      groups: channels fall into that many independent groups.
    """
    if (
        kernel.shape[:2] == (1, 1)
        and stride == 1
        and groups == 1
        and padding in ('same', 'valid', 0)
    ):
        # A 1x1 convolution is a matrix product, and XLA's CPU backend is twice as fast with it.
        return jnp.einsum('bhwc,cm->bhwm', x, kernel[0, 0])
    pads = explicit_padding(padding, kernel.shape[:2], stride, dilation, x.shape[1:3])
    plain = lambda x, kernel: lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        feature_group_count=groups,
    )
    wide = min(kernel.shape[:2]) >= 5 and stride == dilation == groups == 1
    if wide and not height_is_sharded():
        return lax.platform_dependent(
            x, kernel, cpu=lambda x, kernel: _conv_by_matmul(x, kernel, pads), default=plain
        )
    return plain(x, kernel)


def _conv_by_matmul(x: Array, kernel: Array, pads: list[tuple[int, int]]) -> Array:
    """Every window as a row, times the kernel as a matrix.

    XLA's CPU backend is a hundred times slower with a wide kernel on a small map, such as FCN's fc6
    (7x7 kernel, 8x6 map: 4 s against 0.04 s). With rows on several devices each of the windows
    would be exchanged by itself.
    """
    kh, kw, c, m = kernel.shape
    x = lax.optimization_barrier(jnp.pad(x, ((0, 0), *pads, (0, 0))))
    h, w = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    windows = [x[:, i : i + h, j : j + w] for i in range(kh) for j in range(kw)]
    rows = jnp.concatenate(windows, axis=-1)  # b h w kh*kw*c
    return jnp.einsum('bhwc,cm->bhwm', rows, kernel.reshape(kh * kw * c, m))


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
    """
    if kernel.shape[:2] == (stride, stride) and padding == 0:
        return _tile_transpose(x, kernel)
    kh, kw = kernel.shape[:2]
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        [(kh - 1 - padding,) * 2, (kw - 1 - padding,) * 2],
        lhs_dilation=(stride, stride),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )


def _tile_transpose(x: Array, kernel: Array) -> Array:
    """Kernel side == stride: the copies do not overlap, each output tile is one matrix product."""
    b, h, w, _ = x.shape
    kh, kw, _, m = kernel.shape
    tiles = jnp.einsum('bhwc,ijcm->bhiwjm', x, kernel)
    return tiles.reshape(b, h * kh, w * kw, m)


def conv_cost(
    kernel: tuple[int, int],
    in_features: int,
    out_features: int,
    size: tuple[int, int],
    *,
    groups: int = 1,
) -> int:
    """Multiply-accumulates of a convolution: `kh kw (c / groups) m h w`.

    `size` is the output's for a convolution and the input's for a transposed one. Exact by formula:
    taps that fall on padding count, as in every published table.
    """
    (kh, kw), (h, w) = kernel, size
    return kh * kw * (in_features // groups) * out_features * h * w
