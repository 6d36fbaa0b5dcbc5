"""Where RoIAlign reads a feature map, one axis at a time: positions, neighbours, weights.

RoIAlign is separable: `out = Wy F Wx^T` with a matrix for each axis of a box. Here are the rows of
such matrices, as two neighbours a sample (`taps`) or in full (`dense_weights`). The order of
operations is that of the C++ kernels, because a position that is rounded otherwise may fall on the
other side of a border.

Letters: r boxes, p bins a side, s samples a bin, t = 2 s neighbours, n cells of the map.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Grid(NamedTuple):
    """What is read in each box.

    Attributes:
      side: bins along either axis.
      samples: a bin and axis; 0 for as many as a bin has cells, rounded up.
      aligned: pixel centres lie at half integers, where `features[0]` is at 0.5; otherwise at
        integers, and a box is at least one cell wide.
    """

    side: int
    samples: int
    aligned: bool


class Maps(NamedTuple):
    """The maps that are read: height and width of each, and its cells a pixel of the image."""

    sizes: tuple[tuple[int, int], ...]
    scales: tuple[float, ...]


class Span(NamedTuple):
    """The extent of boxes along one axis, in cells of their map: `r` float32 each."""

    start: Float[Array, 'r']
    bin: Float[Array, 'r']


def span(
    low: Float[Array, 'r'], high: Float[Array, 'r'], scale: Float[Array, 'r'], grid: Grid
) -> Span:
    """From sides in image pixels."""
    offset = 0.5 if grid.aligned else 0.0
    start = low * scale - offset
    length = high * scale - offset - start
    return Span(start, (length if grid.aligned else jnp.maximum(length, 1)) / grid.side)


def taps(
    extent: Span, grid: Grid, area: Int[Array, 'r']
) -> tuple[Int[Array, 'r p t'], Float[Array, 'r p t']]:
    """Cells that the samples of each bin lie between, and their share in the mean of the bin.

    Args:
      area: the first so many cells of each box's map are the image's; samples end with them.
    """
    position = _fixed_samples(extent, grid)
    last = area[:, None, None].astype(jnp.float32) - 1
    inside, position = _settle(position, last)
    low = jnp.floor(position)
    fraction = position - low
    weights = [jnp.where(inside, x, 0) / grid.samples for x in (1 - fraction, fraction)]
    index = [low, jnp.minimum(low + 1, last)]
    return jnp.concatenate(index, -1).astype(jnp.int32), jnp.concatenate(weights, -1)


def dense_weights(
    extent: Span, grid: Grid, cells: int, area: Int[Array, ''] | int
) -> Float[Array, 'r p n']:
    """The matrix of each box: what each cell contributes to the mean of each bin.

    `w[p, h] = 1/S sum_s max(0, 1 - |y_ps - h|)`, y moved into the area; samples more than a cell
    away from it count as zeros.

    Args:
      cells: n, of the whole map.
      area: the first so many of them are the image's.
    """
    if grid.samples:
        position, counted = _fixed_samples(extent, grid)[:, :, None], jnp.ones((), bool)
        number = jnp.asarray(grid.samples, jnp.float32)
    else:
        position, counted, number = _adaptive_samples(extent, grid, cells)
        number = number[:, None, None]
    inside, position = _settle(position, jnp.asarray(area - 1, jnp.float32))
    apart = jnp.abs(position - _column(cells))
    return jnp.sum(jnp.where(inside & counted, jnp.maximum(1 - apart, 0), 0), axis=-1) / number


def neighbour_weights(position: Float[Array, 'r p'], cells: int) -> Float[Array, 'r p n']:
    """`max(0, 1 - |position - cell|)`: linear interpolation, zeros further than a cell away."""
    return jnp.maximum(1 - jnp.abs(position[..., None] - _column(cells)[..., 0]), 0)


def _settle(position: Array, last: Array) -> tuple[Array, Array]:
    """Which samples count, and all of them moved into the area, which ends with the cell `last`.

    From -1 to `last + 1`, both included, a sample takes the nearest cell where it has no two;
    beyond, or where a box is no number, it is zero.
    """
    inside = (position >= -1) & (position <= last + 1)
    return inside, jnp.where(inside, jnp.clip(position, 0, last), 0)


def _fixed_samples(extent: Span, grid: Grid) -> Float[Array, 'r p s']:
    start, size = _bin_starts(extent, grid), extent.bin[:, None, None]
    middles = jnp.arange(grid.samples, dtype=jnp.float32) + 0.5
    return start + middles[None, None] * size / grid.samples


def _adaptive_samples(
    extent: Span, grid: Grid, cells: int
) -> tuple[Float[Array, 'r p n e'], Array, Float[Array, 'r']]:
    """For each cell the samples that may lie within one cell of it, and the number of all.

    `ceil(bin)` samples a bin are more than half a cell apart unless there is only one, so that at
    most 5 lie that near, and 8 in a row surely hold them: no bound on the size of a box is needed.

    Returns:
      Positions, which of them are samples of the bin, and the samples of a bin, at least 1.
    """
    size = extent.bin[:, None, None, None]
    real = size > 0  # else there is no sample
    number = jnp.where(real, jnp.ceil(size), 1)
    step = jnp.where(real, size / number, 1)
    start = _bin_starts(extent, grid)[..., None]
    before = (_column(cells) - 1 - start) / step - 0.5
    first = jnp.clip(jnp.floor(before) - 1, 0, number - 1)
    place = first + jnp.arange(8, dtype=jnp.float32).reshape(1, 1, 1, 8)
    position = start + (place + 0.5) * size / number
    return position, real & (place < number), number.reshape(-1)


def _bin_starts(extent: Span, grid: Grid) -> Float[Array, 'r p 1']:
    bins = jnp.arange(grid.side, dtype=jnp.float32)[None, :, None]
    return extent.start[:, None, None] + bins * extent.bin[:, None, None]


def _column(cells: int) -> Array:
    """The cells as `1 1 n 1`."""
    return jnp.arange(cells, dtype=jnp.float32).reshape(1, 1, cells, 1)
