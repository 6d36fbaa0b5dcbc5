"""Receptive fields, costs and label maps, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from segjax import ops
from segjax.data.dataset import color_map
from segjax.tools.figures.grids import (
    BLUE,
    DEEP,
    GREY,
    INK,
    ORANGE,
    TINTS,
    WHITE,
    Grid,
    Picture,
    bare_axes,
    sheet,
)
from segjax.types import IGNORE_LABEL
from segjax.visualize import colorize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHAIN = [
    ('convolution 3', ops.Window(3)),
    ('pooling 2, stride 2', ops.Window(2, 2)),
    ('convolution 3', ops.Window(3)),
]


def receptive_field() -> Figure:
    """Two units behind three layers: what they see, layer by layer."""
    from matplotlib.patches import Polygon, Rectangle

    figure, axes = bare_axes(26, 9.2)
    fields = [ops.receptive_field([w for _, w in CHAIN[:n]]) for n in range(len(CHAIN) + 1)]
    left = lambda unit, n: 1 + fields[n].start + unit * fields[n].stride
    for depth, field in enumerate(fields):
        top = 7.8 - 2.2 * depth
        text = f'{CHAIN[depth - 1][0]}: {field.size} pixels, every {field.stride}'
        axes.text(16, top + 0.55, text if depth else 'image', va='center', size=8, color=INK)
        for unit in range((14 - field.size) // field.stride + 1):
            x = left(unit, depth) + (field.size - 1) / 2
            axes.add_patch(
                Rectangle((x, top), 1, 1, facecolor=TINTS[WHITE], edgecolor='#8d8d95', lw=0.6)
            )
    for unit, tint in [(0, BLUE), (2, ORANGE)]:
        span, last = (unit, unit), None
        for depth in range(len(CHAIN), -1, -1):
            top, middle = 7.8 - 2.2 * depth, (fields[depth].size - 1) / 2
            ends = left(span[0], depth) + middle, left(span[1], depth) + middle + 1
            shade = {'facecolor': TINTS[tint], 'alpha': 0.6, 'lw': 0}
            axes.add_patch(Rectangle((ends[0], top), ends[1] - ends[0], 1, **shade))
            if last is not None:
                above = [(last[0], top - 1.2), (last[1], top - 1.2)]
                below = [(ends[1], top), (ends[0], top)]
                axes.add_patch(Polygon(above + below, **{**shade, 'alpha': 0.3}))
            last = ends
            if depth:
                window = CHAIN[depth - 1][1]
                span = span[0] * window.stride, span[1] * window.stride + window.kernel - 1
    return figure


def cost() -> Figure:
    """Multiply-accumulates of one layer, 256 to 256 channels at 32x32, three ways."""
    c = 256
    size, depthwise = (32, 32), ops.conv_cost((3, 3), c, c, (32, 32), groups=c)
    bars = [
        ('1x1', 'C M', ops.conv_cost((1, 1), c, c, size), BLUE),
        ('standard 3x3', 'K K C M', ops.conv_cost((3, 3), c, c, size), DEEP),
        ('depthwise 3x3', 'K K C', depthwise, ORANGE),
        ('separable 3x3', 'K K C + C M', ops.separable_cost((3, 3), c, c, size), BLUE),
    ]
    figure, axes = bare_axes(26, 6.5)
    longest = max(macs for _, _, macs, _ in bars)
    for row, (name, formula, macs, tint) in enumerate(bars):
        y, length = 0.7 + 1.45 * row, 9 * macs / longest
        axes.barh(y + 0.5, length, left=10.6, height=1, color=TINTS[tint])
        axes.text(0.4, y + 0.5, name, va='center', size=8, color=INK)
        axes.text(5.4, y + 0.5, formula, va='center', size=8, color=INK)
        axes.text(10.9 + length, y + 0.5, f'{macs / 1e6:,.1f} MMAC', va='center', size=8, color=INK)
    axes.set(xlim=(0, 26), ylim=(6.5, 0))
    return figure


def label_map() -> Figure:
    """Scores of three classes to ids; a label with void to one channel a class."""
    scores = np.array(
        [[[7, 6, 1], [5, 1, 0]], [[2, 8, 9], [1, 2, 3]], [[1, 2, 3], [6, 9, 4]]], np.float32
    )
    predicted = ops.label_map(jnp.asarray(np.moveaxis(scores, 0, -1))[None])
    label = np.array([[0, 1, 1], [2, IGNORE_LABEL, 2]])
    channels = np.asarray(ops.one_hot(jnp.asarray(label)[None], num_classes=3))[0]
    palette = color_map(3)
    picture = lambda label: np.kron(label, np.ones((8, 8), int))
    return sheet(
        [
            *(Grid(plane, f'score {k}') for k, plane in enumerate(scores)),
            '→',
            Grid(np.asarray(predicted, float)[0], 'label_map', BLUE),
            Picture(colorize(picture(np.asarray(predicted)[0]), palette), 'palette', 3),
        ],
        [
            Grid(label.astype(float), 'label', np.where(label == IGNORE_LABEL, GREY, BLUE)),
            '→',
            *(Grid(channels[..., k], f'one_hot {k}') for k in range(3)),
            Picture(colorize(picture(label), palette), 'void hatched', 3),
        ],
    )
