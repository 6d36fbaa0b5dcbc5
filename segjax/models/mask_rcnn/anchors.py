"""Anchors: boxes of fixed sizes and shapes about every cell of a map.

Ren et al., "Faster R-CNN", section 3.1.1. A ratio is height over width; the area is the square of
the size. The first cell's anchors lie about the point (0, 0), not about the cell's centre.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from segjax.models.mask_rcnn.valid_area import padded_size

Flavor = Literal['torchvision', 'detectron2']


def cell_anchors(
    sizes: tuple[int, ...], ratios: tuple[float, ...], flavor: Flavor
) -> Float[np.ndarray, 'a 4']:
    """The anchors about (0, 0).

    'torchvision' rounds them to whole pixels and counts through the sizes first, 'detectron2' does
    neither.
    """
    tall = np.sqrt(np.asarray(ratios, np.float32))
    scale = np.asarray(sizes, np.float32)
    if flavor == 'torchvision':
        heights, widths = tall[:, None] * scale[None], (1 / tall)[:, None] * scale[None]
    else:
        heights, widths = scale[:, None] * tall[None], scale[:, None] / tall[None]
    h, w = heights.reshape(-1), widths.reshape(-1)
    anchors = np.stack([-w, -h, w, h], axis=-1) / 2
    return np.round(anchors) if flavor == 'torchvision' else anchors


def level_strides(size: Array, stride: int, flavor: Flavor) -> Array:
    """Vertical and horizontal distance of the cells of a level in pixels, float32 `2`.

    torchvision divides the padded picture by the cells that fit: 800 rows have 13 cells at stride
    64, which then are 61 apart.

    Args:
      size: int `2`, height and width of the picture.
    """
    if flavor == 'detectron2':
        return jnp.full(2, stride, jnp.float32)
    padded = padded_size(size[None])[0]
    cells = -(-padded // stride)
    return (padded // cells).astype(jnp.float32)


def level_anchors(
    size: Array, cells: tuple[int, int], stride: int, about_zero: np.ndarray, flavor: Flavor
) -> Float[Array, 'n 4']:
    """The anchors of a level in the order (row, column, anchor).

    Args:
      size: int `2`, height and width of the picture.
      cells: of the level, those of the whole canvas.
      about_zero: `cell_anchors`.
    """
    down, right = level_strides(size, stride, flavor)
    y = jnp.arange(cells[0], dtype=jnp.float32) * down
    x = jnp.arange(cells[1], dtype=jnp.float32) * right
    centre_y, centre_x = jnp.meshgrid(y, x, indexing='ij')
    centres = jnp.stack([centre_x, centre_y, centre_x, centre_y], axis=-1)  # h w 4
    return (centres[:, :, None] + jnp.asarray(about_zero)[None, None]).reshape(-1, 4)
