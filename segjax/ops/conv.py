"""Convolution, and what it costs.

`lax_conv` is the definition. Where XLA's CPU backend is slow with it, a formulation that gives the
same result is taken instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from segjax.ops.depthwise import depthwise_by_shifts
from segjax.ops.partition import height_is_sharded

Padding = Literal['same', 'valid'] | int
Side = Any  # int, but for images of any size, whose sides are symbols while a model is exported
Pads = Sequence[tuple[Side, Side]]  # in front and behind, of rows and of columns


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


def lax_conv(x: Array, kernel: Array, stride: int, pads: Pads, dilation: int, groups: int) -> Array:
    """The definition of `conv`, with its padding written out."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        feature_group_count=groups,
    )


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
        # A 1x1 convolution is a matrix product, whose gradients are faster on a CPU.
        return jnp.einsum('bhwc,cm->bhwm', x, kernel[0, 0])
    pads = tuple(explicit_padding(padding, kernel.shape[:2], stride, dilation, x.shape[1:3]))
    plain = lambda x, kernel: lax_conv(x, kernel, stride, pads, dilation, groups)
    known_size = all(isinstance(n, int) for n in x.shape[1:3])
    if height_is_sharded() or not known_size:
        return plain(x, kernel)
    if 1 < groups == x.shape[-1] == kernel.shape[-1]:
        faster = lambda x, kernel: depthwise_by_shifts(x, kernel, stride, pads, dilation)
    elif stride == dilation == groups == 1 and _is_wide_on_a_small_map(x, kernel):
        faster = lambda x, kernel: conv_by_matmul(x, kernel, pads)
    elif stride == groups == 1 and 3 * dilation > min(x.shape[1:3]) and dilation > 1:
        faster = lambda x, kernel: conv_by_taps(x, kernel, pads, dilation)
    else:
        return plain(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=faster, default=plain)


def _is_wide_on_a_small_map(x: Array, kernel: Array) -> bool:
    """Whether `conv_by_matmul` pays: its copies of a pixel must serve many channels out."""
    return min(kernel.shape[:2]) >= 5 and x.shape[1] * x.shape[2] <= kernel.shape[3]


def conv_by_matmul(x: Array, kernel: Array, pads: Pads) -> Array:
    """Every window as a row, times the kernel as a matrix.

    XLA's CPU backend is a hundred times slower with a wide kernel on a small map, such as FCN's fc6
    (7x7 kernel, 8x6 map: 4 s against 0.04 s). On a large one, such as SegNet-Basic's, it is ten
    times faster than this, which copies every pixel 49 times. With rows on several devices each of
    the windows would be exchanged by itself.
    """
    kh, kw, c, m = kernel.shape
    x = lax.optimization_barrier(jnp.pad(x, ((0, 0), *pads, (0, 0))))
    h, w = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    windows = [x[:, i : i + h, j : j + w] for i in range(kh) for j in range(kw)]
    rows = jnp.concatenate(windows, axis=-1)  # b h w kh*kw*c
    return jnp.einsum('bhwc,cm->bhwm', rows, kernel.reshape(kh * kw * c, m))


def conv_by_taps(x: Array, kernel: Array, pads: Pads, dilation: int) -> Array:
    """Each tap times the part of the image that it sees, summed in float32.

    Taps far from the centre of a wide atrous kernel lie beyond the border more often than not:
    61 % of them in DeepLab's 3x3 with a dilation of 18 on a 32x32 map. XLA multiplies the zeros.
    """
    (b, h, w, _), (kh, kw, _, m) = x.shape, kernel.shape
    oh, ow = (
        n + sum(p) - (k - 1) * dilation for n, p, k in zip((h, w), pads, (kh, kw), strict=True)
    )
    y = jnp.zeros((b, oh, ow, m), jnp.float32)
    for i, j in np.ndindex(kh, kw):
        down, right = i * dilation - pads[0][0], j * dilation - pads[1][0]  # from output to input
        rows, columns = (max(0, -down), min(oh, h - down)), (max(0, -right), min(ow, w - right))
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            continue
        seen = x[:, rows[0] + down : rows[1] + down, columns[0] + right : columns[1] + right]
        part = jnp.einsum('bhwc,cm->bhwm', seen, kernel[i, j], preferred_element_type=jnp.float32)
        around = (rows[0], oh - rows[1]), (columns[0], ow - columns[1])
        y += jnp.pad(part, ((0, 0), *around, (0, 0)))
    return y.astype(x.dtype)


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
