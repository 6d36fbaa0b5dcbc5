"""A picture's own area inside the canvas of its batch.

Padding a picture with zeros is not enough to keep what surrounds it out: biases and normalisation
make the padding non-zero layer by layer, and 3x3 convolutions carry it inwards. Here every
convolution sees zeros outside of the picture, as at the border of a canvas. The area ends where
torchvision ends a picture that is alone in its batch, at multiples of 32 pixels; so an image gives
the same features in any canvas and beside any others. Only the statistics of a batch, where they
are trained, count the zeros, as torchvision's do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from segjax.layers import BatchNorm, Conv, FrozenBatchNorm

DIVISOR = 32  # torchvision's `size_divisible`, detectron2's `size_divisibility`


def padded_size(sizes: Int[Array, 'b 2']) -> Int[Array, 'b 2']:
    """Height and width of the pictures, rounded up to multiples of 32."""
    return -(-sizes // DIVISOR) * DIVISOR


def cells(sizes: Int[Array, 'b 2'], stride: int) -> Int[Array, 'b 2']:
    """Rows and columns of a map at `stride` that belong to areas of `sizes` pixels."""
    return -(-sizes // stride)


def inside(sizes: Int[Array, 'b 2'], shape: tuple[int, ...], stride: int) -> Bool[Array, 'b h w']:
    """Which cells of a map of `shape` (h, w) at `stride` belong to areas of `sizes` pixels."""
    ends = cells(sizes, stride)
    rows = jnp.arange(shape[0])[None] < ends[:, :1]
    columns = jnp.arange(shape[1])[None] < ends[:, 1:]
    return rows[:, :, None] & columns[:, None, :]


def stride_of(x: Array, canvas: tuple[int, int]) -> int:
    """The stride of a map, a power of two: its sides are the canvas' over it, rounded up."""
    covers = lambda stride: tuple(-(-side // stride) for side in canvas) == x.shape[1:3]
    return next(1 << k for k in range(8) if covers(1 << k))


def zero_outside(x: Array, sizes: Int[Array, 'b 2'], canvas: tuple[int, int]) -> Array:
    """The map `b h w c` with zeros outside of areas of `sizes` pixels of the canvas."""
    within = inside(sizes, x.shape[1:3], stride_of(x, canvas))
    return jnp.where(within[..., None], x, jnp.zeros((), x.dtype))


@contextmanager
def kept_inside(sizes: Int[Array, 'b 2'], canvas: tuple[int, int]) -> Iterator[None]:
    """While it is open, convolutions see zeros outside of the pictures' areas.

    So do the poolings behind a normalisation, whose outputs are zeroed for them: after ReLU a zero
    never wins against a pixel.
    """
    area = padded_size(sizes)

    def keep(next_fun: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if context.method_name != '__call__':
            return next_fun(*args, **kwargs)
        if isinstance(context.module, Conv):
            x, *rest = args
            return next_fun(zero_outside(x, area, canvas), *rest, **kwargs)
        output = next_fun(*args, **kwargs)
        if isinstance(context.module, BatchNorm | FrozenBatchNorm):
            return zero_outside(output, area, canvas)
        return output

    with nn.intercept_methods(keep):
        yield
