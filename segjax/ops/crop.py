"""Cutting and mirroring borders."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Shaped

from segjax.ops.conv import Side


def center_crop(x: Shaped[Array, 'b h w *c'], size: tuple[int, ...]) -> Shaped[Array, 'b oh ow *c']:
    """The middle `size` of an image or label: what is left of it under unpadded convolutions."""
    top, left = (x.shape[1] - size[0]) // 2, (x.shape[2] - size[1]) // 2
    return x[:, top : top + size[0], left : left + size[1]]


def mirror_pad(
    x: Shaped[Array, 'b h w c'], rows: tuple[Side, Side], columns: tuple[Side, Side]
) -> Shaped[Array, 'b oh ow c']:
    """Continue an image beyond its border by mirroring, as often as it takes.

    The border pixel itself is not repeated: `d c b | a b c d | c b a` (U-Net, figure 2).
    """
    if all(isinstance(n, int) for n in (*rows, *columns, *x.shape[1:3])):
        return jnp.pad(x, ((0, 0), rows, columns, (0, 0)), mode='reflect')
    for axis, ends in ((1, rows), (2, columns)):  # while exporting for any size
        x = jnp.take(x, _mirrored(x.shape[axis], *ends), axis=axis)
    return x


def _mirrored(side: Side, front: Side, back: Side) -> Array:
    """The pixels of a line of `side` that the mirrored one is made of, int32."""
    steps = jnp.arange(front + side + back) - jnp.asarray(front, jnp.int32)
    last = jnp.asarray(side, jnp.int32) - 1
    period = jnp.maximum(2 * last, 1)
    return last - jnp.abs(last - steps % period)
