"""What came before RoIAlign, for the paper's comparison: RoIPool and RoIWarp.

Both round a box to whole cells, up to half a cell (8 pixels at stride 16) away from where it is. Of
the map they see the first rows and columns that `area` says, by default all.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from segjax.ops.roi_sampling import neighbour_weights


def roi_pool(
    features: Float[Array, 'h w c'],
    boxes: Float[Array, 'n 4'],
    *,
    output_size: int,
    spatial_scale: float,
    area: Int[Array, '2'] | None = None,
) -> Float[Array, 'n p p c']:
    """The maximum of the cells of each bin, in boxes and bins of whole cells.

    Corners are rounded, both included; bin i reaches from `floor(i b)` to `ceil((i + 1) b)`, so
    that bins may share cells. A bin without a cell of the map is zero. Girshick, "Fast R-CNN",
    section 2.1. The gradient goes to the maximum; equal maxima share it.
    """
    (y1, height), (x1, width) = _whole_cells(boxes, spatial_scale)
    h, w = _ends(features, area)
    rows = _members(y1, height / output_size, output_size, features.shape[0], h)
    columns = _members(x1, width / output_size, output_size, features.shape[1], w)

    def pool(box: tuple[Array, Array]) -> Array:
        return _largest(_largest(features, box[0], 0), box[1], 1)

    found = lax.map(pool, (rows, columns))
    return jnp.where(jnp.isneginf(found), 0, found)  # an empty bin


def roi_warp(
    features: Float[Array, 'h w c'],
    boxes: Float[Array, 'n 4'],
    *,
    output_size: int,
    spatial_scale: float,
    area: Int[Array, '2'] | None = None,
) -> Float[Array, 'n p p c']:
    """One interpolated value a bin, at its corner, in boxes of whole cells.

    Corners are rounded as in `roi_pool`; the sample of bin i is at `start + i b`, and zero more
    than half a cell outside of the map. Dai, He, Sun, "Instance-aware Semantic Segmentation via
    Multi-task Network Cascades", section 3.2, as its CUDA code has it.
    """
    (y1, height), (x1, width) = _whole_cells(boxes, spatial_scale)
    bins = jnp.arange(output_size, dtype=jnp.float32)[None]

    def weights(start: Array, length: Array, cells: int, end: Array) -> Array:
        position = start[:, None] + bins * (length / output_size)[:, None]
        inside = (position > -0.5) & (position < end - 0.5)
        settled = jnp.where(inside, jnp.clip(position, 0, end - 1), 0)
        return jnp.where(inside[..., None], neighbour_weights(settled, cells), 0)

    h, w = _ends(features, area)
    wy = weights(y1, height, features.shape[0], h)
    wx = weights(x1, width, features.shape[1], w)

    def read(box: tuple[Array, Array]) -> Array:
        x, precision = features.astype(jnp.float32), lax.Precision.HIGHEST
        return jnp.einsum('ph,hwc,qw->pqc', box[0], x, box[1], precision=precision)

    return lax.map(read, (wy, wx)).astype(features.dtype)


def _ends(features: Array, area: Array | None) -> Array:
    """Rows and columns of the area, `2` float32."""
    return jnp.asarray(features.shape[:2] if area is None else area, jnp.float32)


def _whole_cells(boxes: Array, scale: float) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """First row and height, first column and width, in cells: `n` float32 each."""
    scaled = lax.stop_gradient(boxes.astype(jnp.float32)) * scale
    # Halves away from zero, as C rounds.
    x1, y1, x2, y2 = (jnp.sign(scaled) * jnp.floor(jnp.abs(scaled) + 0.5)).T
    return (y1, jnp.maximum(y2 - y1 + 1, 1)), (x1, jnp.maximum(x2 - x1 + 1, 1))


def _members(start: Array, size: Array, bins: int, cells: int, end: Array) -> Array:
    """Which cells of an axis, up to `end`, belong to which bin: `n p cells` bool."""
    place = jnp.arange(bins, dtype=jnp.float32)[None]
    first = start[:, None] + jnp.floor(place * size[:, None])
    behind = jnp.minimum(start[:, None] + jnp.ceil((place + 1) * size[:, None]), end)
    cell = jnp.arange(cells, dtype=jnp.float32).reshape(1, 1, cells)
    return (cell >= first[..., None]) & (cell < behind[..., None])


def _largest(x: Array, members: Array, axis: int) -> Array:
    """The maximum along one axis of `h w c`, for each bin of members `p cells`."""
    shape = [1, 1, 1]
    shape[axis] = -1
    of_bin = lambda member: jnp.max(jnp.where(member.reshape(shape), x, -jnp.inf), axis=axis)
    return jnp.stack([of_bin(member) for member in members], axis=axis)
