"""Convolution and pooling, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from segjax import ops
from segjax.tools.figures.grids import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VIOLET,
    WHITE,
    Grid,
    ramp,
    sheet,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS = np.array([[1, 2, 0, 3], [5, 3, 1, 2], [0, 1, 4, 4], [6, 0, 2, 1]], np.float32)
EDGES = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], np.float32)


def image(x: np.ndarray) -> jnp.ndarray:
    """`h w` as an image of one channel."""
    return jnp.asarray(x, jnp.float32)[None, :, :, None]


def plane(x: jnp.ndarray) -> np.ndarray:
    """The first channel of the first image."""
    return np.asarray(x)[0, :, :, 0]


def first_of(shape: tuple[int, int], height: int, width: int, step: int = 1) -> np.ndarray:
    """Blue where the first window lies: `height x width` squares, `step` apart."""
    tints = np.full(shape, WHITE)
    tints[: height * step : step, : width * step : step] = BLUE
    return tints


def convolution() -> Figure:
    """A 3x3 kernel on 4x4 pixels: each output is a window times the kernel, summed."""
    y = plane(ops.conv(image(PIXELS), jnp.asarray(EDGES)[..., None, None], padding='valid'))
    return sheet(
        [
            Grid(PIXELS, 'input 4x4', first_of((4, 4), 3, 3)),
            '*',
            Grid(EDGES, 'kernel 3x3', BLUE),
            '=',
            Grid(y, 'output 2x2', first_of((2, 2), 1, 1)),
        ]
    )


def stride() -> Figure:
    """The same kernel every second pixel, with a border of zeros."""
    x, kernel = ramp(5, 5), np.full((3, 3), 1 / 9, np.float32)
    options = {'stride': 2, 'padding': 1}
    y = plane(ops.conv(image(x), jnp.asarray(kernel)[..., None, None], **options))
    tints = np.full((7, 7), GREY)
    tints[1:-1, 1:-1] = WHITE
    tints[2:5, 2:5] = BLUE
    out = np.full((3, 3), WHITE)
    out[1, 1] = BLUE
    return sheet(
        [
            Grid(np.pad(x, 1), 'input 5x5, padding=1', tints),
            '→',
            Grid(y, 'mean of 3x3, stride=2', out),
        ]
    )


def dilated() -> Figure:
    """What one output reads at three rates: the same nine weights, further apart."""
    grids = []
    for rate in (1, 2, 3):
        tints = np.full((7, 7), WHITE)
        taps = 3 + rate * np.array([-1, 0, 1])
        tints[np.ix_(taps, taps)] = BLUE
        side = 2 * rate + 1
        grids.append(Grid(np.full((7, 7), np.nan), f'dilation={rate}: {side}x{side}', tints))
    return sheet(grids)


def pooling() -> Figure:
    """Four windows of 2x2: their maxima and their means."""
    quarters = np.array([[BLUE, ORANGE], [GREEN, VIOLET]])
    maxima, means = ops.max_pool(image(PIXELS)), ops.avg_pool(image(PIXELS))
    return sheet(
        [
            Grid(PIXELS, 'input', np.kron(quarters, np.ones((2, 2), int))),
            '→',
            Grid(plane(maxima), 'max_pool', quarters),
            Grid(plane(means), 'avg_pool', quarters),
        ]
    )


def pool_padding() -> Figure:
    """Windows of three pixels, every two, on a line of six: where five conventions put them."""
    line = np.arange(1, 7)[None]
    rows = []
    for name, padding, rounding, before, after in [
        ('Torch', 0, 'floor', 0, 0),
        ('Caffe', 0, 'ceil', 0, 1),
        ('Torch, padding=1', 1, 'floor', 1, 1),
        ('Caffe, padding=1', 1, 'ceil', 1, 2),
        ("TensorFlow 'SAME'", 'same', 'floor', 0, 1),
    ]:
        # Windows are squares: equal rows, of whose results one is shown.
        x = image(np.repeat(line, 7, axis=0))
        y = plane(ops.max_pool(x, window=3, padding=padding, rounding=rounding))[1]
        seen = np.pad(line.astype(float), ((0, 0), (before, after)), constant_values=np.nan)
        tints = np.where(np.isnan(seen), GREY, WHITE)
        spans = [(2 * i, 2 * i + 2) for i in range(len(y))]
        rows.append([Grid(seen, name, tints, spans), '→', Grid(y[None], 'max_pool')])
    return sheet(*rows)
