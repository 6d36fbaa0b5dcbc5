"""Cutting and mirroring borders."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Shaped


def center_crop(x: Shaped[Array, 'b h w *c'], size: tuple[int, ...]) -> Shaped[Array, 'b oh ow *c']:
    """The middle `size` of an image or label: what is left of it under unpadded convolutions."""
    top, left = (x.shape[1] - size[0]) // 2, (x.shape[2] - size[1]) // 2
    return x[:, top : top + size[0], left : left + size[1]]


def mirror_pad(
    x: Shaped[Array, 'b h w c'], rows: tuple[int, int], columns: tuple[int, int]
) -> Shaped[Array, 'b oh ow c']:
    """Continue an image beyond its border by mirroring, as often as it takes.

    The border pixel itself is not repeated: `d c b | a b c d | c b a` (U-Net, figure 2).
    """
    return jnp.pad(x, ((0, 0), rows, columns, (0, 0)), mode='reflect')
