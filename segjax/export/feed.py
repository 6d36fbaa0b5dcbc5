"""From a picture to what a network is fed, on the device: `EvalPipeline.place_image` and `zscore`.

Sizes are numbers, symbols of a program for any size, or scalars that are known when it runs.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from segjax.data import normalize
from segjax.predictor import Network
from segjax.types import Array

Size = tuple[Any, Any]


def fill_color(network: Network, dtype: np.dtype) -> Array:
    """What lies beyond a picture, as it is before normalisation; `1 1 c`."""
    color = np.asarray(normalize.fill(network.normalize, dtype, channels=network.channels))
    color = np.rint(color) if dtype.kind in 'iu' else color
    return jnp.asarray(color.astype(dtype))[None, None]


def standardize(image: Array, within: Array | None = None) -> Array:
    """`data.normalize.zscore`.

    Args:
      within: bool `h w 1`, which pixels are the picture's; default: all.
    """
    pixels = image.astype(jnp.float32)
    mean = jnp.mean(pixels, axis=(0, 1), keepdims=True, where=within)
    std = jnp.std(pixels, axis=(0, 1), keepdims=True, where=within)
    return (pixels - mean) / jnp.maximum(std, jnp.asarray(1e-8, jnp.float32))


def inside(canvas: Size, size: tuple[Any, Any]) -> Array:
    """Which pixels of a canvas have their centres in a picture of `size`; bool `h w 1`."""
    rows, columns = (
        jnp.arange(side, dtype=jnp.float32) + 0.5 <= jnp.asarray(limit, jnp.float32)
        for side, limit in zip(canvas, size, strict=True)
    )
    return (rows[:, None] & columns[None, :])[:, :, None]


def _line_matrix(pixels: int, lines: int, n: Any, m: Any, factor: Any) -> Array:
    """How m pixels of a line are made of n: means of blocks of `factor`, then bilinear.

    The last pixel is repeated until it fills its block.

    Returns:
      `lines pixels`, of which the first m rows and n columns count.
    """
    n, m, factor = (jnp.asarray(number, jnp.int32) for number in (n, m, factor))
    blocks = -(-n // factor)
    real = lambda number: number.astype(jnp.float32)
    centre = (jnp.arange(lines, dtype=jnp.float32) + 0.5) * real(n) / real(m) / real(factor) - 0.5
    centre = jnp.clip(centre, 0, real(blocks - 1))
    pixel = jnp.arange(pixels, dtype=jnp.int32)
    block = real(pixel // factor)
    near = jnp.maximum(1 - jnp.abs(block[None] - centre[:, None]), 0)
    often = jnp.where(pixel == n - 1, blocks * factor - n + 1, jnp.where(pixel < n, 1, 0))
    return near * real(often)[None] / real(factor)


def resample(image: Array, canvas: Size, size: Size, new_size: Size, factor: Any) -> Array:
    """`data.resample.warp_image` of a whole picture, but for roundings: within a grey level.

    Args:
      image: `h w c`, in whose upper left a picture of `size` lies.
      canvas: of the result, in whose upper left it has `new_size`.
      factor: pixels a new pixel, a side, rounded down; at least 1.
    """
    (h, w), precision = image.shape[:2], lax.Precision.HIGHEST
    rows = _line_matrix(h, canvas[0], size[0], new_size[0], factor)
    columns = _line_matrix(w, canvas[1], size[1], new_size[1], factor)
    pixels = image.astype(jnp.float32)
    found = jnp.einsum('ih,hwc,jw->ijc', rows, pixels, columns, precision=precision)
    return jnp.rint(found).astype(image.dtype) if image.dtype.kind in 'iu' else found
