"""RoIAlign by reading the neighbours of every sample from one table of all maps.

The table has a row of channels for each cell, map after map. 16 reads a bin at 2 x 2 samples, of
which most stay in the cache; the gradient adds to the same rows.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from segjax.ops.roi_sampling import Grid, Maps, span, taps

CHUNK = 64  # boxes at a time on a device that does many things at once


class Reads(NamedTuple):
    """The rows and columns that each box reads, and their weights."""

    row: Int[Array, 'r p t']  # first place in the table of that row of the map
    row_weight: Float[Array, 'r p t']
    column: Int[Array, 'r p t']
    column_weight: Float[Array, 'r p t']


def gather(
    features: tuple[Array, ...],
    boxes: Array,
    levels: Array,
    areas: Array,
    maps: Maps,
    grid: Grid,
) -> Array:
    """`r p p c` in float32, of maps `h w c`, boxes `r 4`, the map of each, `r`, and areas `l 2`."""
    table = jnp.concatenate([x.reshape(-1, x.shape[-1]) for x in features])
    read = lambda box: _read(table, box)
    return lax.platform_dependent(
        _reads(boxes, levels, areas, maps, grid),
        cpu=lambda reads: lax.map(read, reads),
        default=lambda reads: lax.map(read, reads, batch_size=CHUNK),
    )


def scatter(
    g: Array, boxes: Array, levels: Array, areas: Array, maps: Maps, grid: Grid
) -> tuple[Array, ...]:
    """The transpose: from `r p p c` to the maps, `h w c` float32.

    Box after box and, on a CPU, row after row: the same bits every time. A GPU adds the rows of a
    box in any order.
    """
    cells = [h * w for h, w in maps.sizes]
    table = jnp.zeros((sum(cells), g.shape[-1]), jnp.float32)
    add = lambda table, box: (_add(table, *box), None)
    table, _ = lax.scan(add, table, (_reads(boxes, levels, areas, maps, grid), g))
    parts = jnp.split(table, np.cumsum(cells)[:-1])
    return tuple(part.reshape(*size, -1) for part, size in zip(parts, maps.sizes, strict=True))


def _reads(boxes: Array, levels: Array, areas: Array, maps: Maps, grid: Grid) -> Reads:
    first = np.cumsum([0, *(h * w for h, w in maps.sizes[:-1])])
    of_level = lambda values, dtype: jnp.asarray(values, dtype)[levels]
    width = of_level([w for _, w in maps.sizes], jnp.int32)
    area = areas[levels]
    scale = of_level(maps.scales, jnp.float32)
    x1, y1, x2, y2 = boxes.T
    row, row_weight = taps(span(y1, y2, scale, grid), grid, area[:, 0])
    column, column_weight = taps(span(x1, x2, scale, grid), grid, area[:, 1])
    row = of_level(first, jnp.int32)[:, None, None] + row * width[:, None, None]
    return Reads(row, row_weight, column, column_weight)


def _read(table: Array, box: Reads) -> Array:
    """One box, `p p c`: a pair of neighbours after the other, for all bins at once."""
    total = jnp.zeros((), jnp.float32)
    for i, j in np.ndindex(box.row.shape[1], box.column.shape[1]):
        place = box.row[:, None, i] + box.column[None, :, j]
        weight = box.row_weight[:, None, i] * box.column_weight[None, :, j]
        found = table.at[place].get(mode='promise_in_bounds').astype(jnp.float32)
        total += found * weight[..., None]
    return total


def _add(table: Array, box: Reads, g: Array) -> Array:
    """The transpose of `_read`."""
    place = box.row[:, :, None, None] + box.column[None, None]
    weight = box.row_weight[:, :, None, None] * box.column_weight[None, None]
    update = weight[..., None] * g.astype(jnp.float32)[:, None, :, None]
    return table.at[place].add(update, mode='promise_in_bounds')
