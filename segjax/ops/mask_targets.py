"""What a mask head is to predict in a box: its object's mask, read as RoIAlign reads features."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from segjax.ops.roi_sampling import Grid, dense_weights, span

CHUNK = 8  # masks in float32 at a time


def mask_targets(
    masks: Shaped[Array, 'g h w'],
    boxes: Float[Array, 'n 4'],
    index: Int[Array, 'n'],
    *,
    output_size: int,
    aligned: bool,
) -> Float[Array, 'n p p']:
    """Shares 0..1 of each bin, of masks on whole pictures.

    RoIAlign with as many samples as a bin has pixels: "the intersection between an RoI and its
    associated ground-truth mask", He et al., "Mask R-CNN", section 3.1. torchvision takes the
    shares as they are, with `aligned=False`; detectron2 `share >= 0.5`, with `aligned=True`.

    Args:
      masks: 0 and 1, or False and True.
      boxes: in pixels of the pictures.
      index: the mask of each box.
    """
    grid, (height, width) = Grid(output_size, 0, aligned), masks.shape[1:]
    x1, y1, x2, y2 = boxes.astype(jnp.float32).T
    scale = jnp.ones(len(boxes), jnp.float32)
    wy = dense_weights(span(y1, y2, scale, grid), grid, height, height)
    wx = dense_weights(span(x1, x2, scale, grid), grid, width, width)

    def read(box: tuple[Array, Array, Array]) -> Array:
        rows, columns, i = box
        mask, precision = masks[i].astype(jnp.float32), lax.Precision.HIGHEST
        return jnp.einsum('ph,hw,qw->pq', rows, mask, columns, precision=precision)

    return lax.map(read, (wy, wx, index), batch_size=CHUNK)


def cropped_mask_targets(
    masks: Shaped[Array, 'g m m'],
    mask_boxes: Float[Array, 'g 4'],
    boxes: Float[Array, 'n 4'],
    index: Int[Array, 'n'],
    *,
    output_size: int,
    aligned: bool,
) -> Float[Array, 'n p p']:
    """`mask_targets` of masks that are cropped to their own boxes and resampled to `m m`.

    Equal to that of the whole picture as far as the crop is as fine as the picture was: each bin is
    its mean over cells of the crop. Outside of the crop is background.

    Args:
      mask_boxes: what each crop shows, in the pixels of `boxes`.
      aligned: False moves the boxes by half a pixel, as RoIAlign of a whole picture does then.
    """
    side = masks.shape[-1]
    corner, size = mask_boxes[:, :2], mask_boxes[:, 2:] - mask_boxes[:, :2]
    scale = side / jnp.maximum(size, 1e-6)
    shift = 0.0 if aligned else 0.5
    # In cells of the crop, behind a border of one zero.
    twice = lambda x: jnp.tile(x[index], (1, 2))
    inside = (boxes + shift - twice(corner)) * twice(scale) + 1
    padded = jnp.pad(masks, ((0, 0), (1, 1), (1, 1)))
    return mask_targets(padded, inside, index, output_size=output_size, aligned=True)
