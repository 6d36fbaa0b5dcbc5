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


def first_of(
    shape: tuple[int, int], height: int, width: int, step: int = 1, tint: int = BLUE
) -> np.ndarray:
    """Tinted where the first window lies: `height x width` squares, `step` apart."""
    tints = np.full(shape, WHITE)
    tints[: height * step : step, : width * step : step] = tint
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


def grouped() -> Figure:
    """Which input channels (columns) each output channel (row) reads, with 1, 2 and 4 groups."""
    grids = []
    for groups, title in [(1, 'groups=1'), (2, 'groups=2'), (4, 'depthwise_conv')]:
        one_each = jnp.eye(4)[:, None, None]  # four images of one pixel
        y = ops.conv(one_each, jnp.ones((1, 1, 4 // groups, 4)), groups=groups)
        reads = np.asarray(y)[:, 0, 0].T
        grids.append(Grid(np.full((4, 4), np.nan), title, np.where(reads, BLUE, WHITE)))
    return sheet(grids)


def separable() -> Figure:
    """Two channels, a kernel for each, then their difference: a 1x1 convolution."""
    channels, kernels = np.stack([PIXELS, PIXELS[::-1]], -1), np.stack([EDGES, EDGES.T], -1)
    x, depthwise = jnp.asarray(channels)[None], jnp.asarray(kernels)[:, :, None]
    pointwise = jnp.asarray([1.0, -1.0]).reshape(1, 1, 2, 1)
    between = np.asarray(ops.depthwise_conv(x, depthwise, padding='valid'))[0]
    y = plane(ops.separable_conv(x, depthwise, pointwise, padding='valid'))
    tints = (BLUE, ORANGE)
    alone = [
        [
            Grid(channels[..., c], f'channel {c + 1}', first_of((4, 4), 3, 3, tint=tints[c])),
            '*',
            Grid(kernels[..., c], 'its kernel', tints[c]),
            '=',
            Grid(between[..., c], '', tints[c]),
        ]
        for c in (0, 1)
    ]
    mixed = [Grid(between[..., 0], '', BLUE), '-', Grid(between[..., 1], '', ORANGE), '=']
    return sheet(*alone, [*mixed, Grid(y, '1x1: 1, -1', GREEN)])


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
