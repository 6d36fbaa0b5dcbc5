"""Masks of boxes into pictures, as products with interpolation matrices."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from segjax.ops.roi_sampling import neighbour_weights

Flavor = Literal['torchvision', 'detectron2']


def paste_masks(
    masks: Float[Array, 'n m m'],
    boxes: Float[Array, 'n 4'],
    *,
    size: tuple[int, int],
    flavor: Flavor = 'torchvision',
) -> Float[Array, 'n h w']:
    """Each mask stretched over its box in an otherwise empty picture: `Wy M Wx^T`.

    Args:
      masks: probabilities in the box.
      boxes: `x1 y1 x2 y2` in pixels of the picture; what lies outside is cut off.
      size: height and width of the picture.
      flavor: 'torchvision' puts a border of one zero around the mask, lets the box grow with it,
        cuts its corners to whole pixels, both included, and interpolates in between. 'detectron2'
        reads the mask at the middle of each pixel inside the true box, zeros around it.

    Returns:
      Probabilities, a picture a mask; where that is too much, see `paste_binary_masks`.
    """
    x1, y1, x2, y2 = boxes.astype(jnp.float32).T
    side = masks.shape[-1]
    matrix = _torchvision_matrix if flavor == 'torchvision' else _detectron2_matrix
    wy, wx = matrix(y1, y2, side, size[0]), matrix(x1, x2, side, size[1])
    masks, precision = masks.astype(jnp.float32), lax.Precision.HIGHEST
    rows = jnp.einsum('nhi,nij->nhj', wy, masks, precision=precision)
    return jnp.einsum('nhj,nwj->nhw', rows, wx, precision=precision)


def paste_binary_masks(
    masks: Float[Array, 'n m m'],
    boxes: Float[Array, 'n 4'],
    *,
    size: tuple[int, int],
    threshold: float = 0.5,
    flavor: Flavor = 'torchvision',
) -> Bool[Array, 'n h w']:
    """`paste_masks(...) >= threshold`, one picture at a time: a byte a pixel and mask."""
    paste = lambda mask, box: paste_masks(mask[None], box[None], size=size, flavor=flavor)[0]
    return lax.map(lambda pair: paste(*pair) >= threshold, (masks, boxes))


def _torchvision_matrix(
    low: Float[Array, 'n'], high: Float[Array, 'n'], side: int, pixels: int
) -> Float[Array, 'n p m']:
    """Weights of the mask's cells in each pixel of one axis."""
    half = (high - low) * 0.5 * ((side + 2) / side)
    middle = (high + low) * 0.5
    # Towards zero, as the conversion to an integer does.
    first, last = jnp.trunc(middle - half), jnp.trunc(middle + half)
    length = jnp.maximum(last - first + 1, 1)
    pixel = jnp.arange(pixels, dtype=jnp.float32)[None]
    place = pixel - first[:, None]
    source = (place + 0.5) * ((side + 2) / length)[:, None] - 0.5
    inside = (place >= 0) & (pixel <= last[:, None])
    weights = neighbour_weights(jnp.clip(source, 0, side + 1), side + 2)
    return jnp.where(inside[..., None], weights, 0)[..., 1:-1]  # the border is zeros


def _detectron2_matrix(
    low: Float[Array, 'n'], high: Float[Array, 'n'], side: int, pixels: int
) -> Float[Array, 'n p m']:
    """Weights of the mask's cells in each pixel of one axis."""
    middle = jnp.arange(pixels, dtype=jnp.float32)[None] + 0.5
    length = jnp.where(high > low, high - low, jnp.inf)[:, None]  # nothing of an empty box
    source = (middle - low[:, None]) / length * side - 0.5
    return jnp.where((high > low)[:, None, None], neighbour_weights(source, side), 0)
