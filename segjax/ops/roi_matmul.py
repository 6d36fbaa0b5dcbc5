"""RoIAlign as products of matrices, `out = Wy F Wx^T`, and its gradient `dF = sum Wy^T g Wx`.

No scatter: the gradient is the same bits every time, on every device. Boxes are sorted by map and
taken in chunks, so that each is multiplied with its own map alone.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from segjax.ops.roi_sampling import Grid, Maps, dense_weights, span

CHUNK = 16  # boxes at a time: bounds what lies between the two products


def multiply(
    features: tuple[Array, ...],
    boxes: Array,
    levels: Array,
    areas: Array,
    maps: Maps,
    grid: Grid,
) -> Array:
    """`r p p c` in float32, of maps `h w c`, boxes `r 4`, the map of each, `r`, and areas `l 2`."""
    order, boxes, levels = _by_level(boxes, levels)
    shape = grid.side, grid.side, features[0].shape[-1]
    out = jnp.zeros((len(boxes), *shape), jnp.float32)
    for level, x in enumerate(features):

        def add(chunk: Array, out: Array, level: int = level, x: Array = x) -> Array:
            wy, wx = _weights(chunk, boxes, levels, areas, level, maps, grid)
            found = _einsum('rqw,rpwc->rpqc', wx, _einsum('rph,hwc->rpwc', wy, x))
            start = chunk * CHUNK
            found += lax.dynamic_slice_in_dim(out, start, CHUNK)  # other maps' boxes of the chunk
            return lax.dynamic_update_slice_in_dim(out, found, start, 0)

        out = lax.fori_loop(*_chunks(levels, level), add, out)
    return jnp.zeros((len(order), *shape), jnp.float32).at[order].set(out[: len(order)])


def multiply_transposed(
    g: Array, boxes: Array, levels: Array, areas: Array, maps: Maps, grid: Grid
) -> tuple[Array, ...]:
    """The transpose: from `r p p c` to the maps, `h w c` float32."""
    order, boxes, levels = _by_level(boxes, levels)
    g = jnp.pad(g[order], ((0, len(boxes) - len(order)), (0, 0), (0, 0), (0, 0)))
    found = []
    for level, size in enumerate(maps.sizes):

        def add(chunk: Array, total: Array, level: int = level) -> Array:
            wy, wx = _weights(chunk, boxes, levels, areas, level, maps, grid)
            part = lax.dynamic_slice_in_dim(g, chunk * CHUNK, CHUNK)
            return total + _einsum('rph,rpwc->hwc', wy, _einsum('rqw,rpqc->rpwc', wx, part))

        zeros = jnp.zeros((*size, g.shape[-1]), jnp.float32)
        found.append(lax.fori_loop(*_chunks(levels, level), add, zeros))
    return tuple(found)


def _by_level(boxes: Array, levels: Array) -> tuple[Array, Array, Array]:
    """The order of the maps; boxes and maps in it, filled up to whole chunks."""
    order = jnp.argsort(levels, stable=True)
    fill = -len(boxes) % CHUNK
    boxes = jnp.pad(boxes[order], ((0, fill), (0, 0)))
    return order, boxes, jnp.pad(levels[order], (0, fill), constant_values=-1)


def _chunks(levels: Array, level: int) -> tuple[Array, Array]:
    """The first chunk with a box of this map, and the one behind the last."""
    mine = levels == level
    first = jnp.argmax(mine).astype(jnp.int32)
    count = jnp.sum(mine, dtype=jnp.int32)
    behind = (first + count + CHUNK - 1) // CHUNK
    return first // CHUNK, jnp.where(count > 0, behind, 0)


def _weights(
    chunk: Array,
    boxes: Array,
    levels: Array,
    areas: Array,
    level: int,
    maps: Maps,
    grid: Grid,
) -> tuple[Array, Array]:
    """`r p h` and `r p w` of a chunk; zeros for boxes of other maps."""
    part = lambda x: lax.dynamic_slice_in_dim(x, chunk * CHUNK, CHUNK)
    x1, y1, x2, y2 = part(boxes).T
    (height, width), scale = maps.sizes[level], jnp.full(CHUNK, maps.scales[level], jnp.float32)
    wy = dense_weights(span(y1, y2, scale, grid), grid, height, areas[level, 0])
    wx = dense_weights(span(x1, x2, scale, grid), grid, width, areas[level, 1])
    return jnp.where((part(levels) == level)[:, None, None], wy, 0), wx


def _einsum(indices: str, weights: Array, x: Array) -> Array:
    """Added up in float32; float32 is multiplied as such, narrower types as they are."""
    precision = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    narrow = weights.astype(x.dtype)
    return jnp.einsum(
        indices, narrow, x, precision=precision, preferred_element_type=jnp.float32
    ).astype(jnp.float32)
