"""Unpooling, interpolation, transposed convolution and deconvolution, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from segjax import ops
from segjax.tools.figures.down import image, plane
from segjax.tools.figures.grids import (
    BLUE,
    DEEP,
    GREEN,
    GREY,
    ORANGE,
    VIOLET,
    WHITE,
    Grid,
    Picture,
    ramp,
    sheet,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SQUARE = ramp(2, 2)
QUARTERS = np.array([[BLUE, ORANGE], [GREEN, VIOLET]])
NINE = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32)


def unpooling() -> Figure:
    """Repeated pixels, and pixels in a bed of zeros."""
    nails = ops.bed_of_nails(image(SQUARE))
    tints = plane(ops.bed_of_nails(image(QUARTERS))).astype(int)
    return sheet(
        [
            Grid(SQUARE, 'input', QUARTERS),
            '→',
            Grid(
                plane(ops.nearest_unpool(image(SQUARE))),
                'nearest_unpool',
                np.kron(QUARTERS, np.ones((2, 2), int)),
            ),
            Grid(plane(nails), 'bed_of_nails', tints),
        ]
    )


def max_unpool() -> Figure:
    """The places of the maxima, kept on the way down, used on the way up."""
    x = np.array([[1, 2, 6, 3], [5, 3, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]], np.float32)
    y, indices = ops.max_pool_with_indices(image(x))
    places = plane(ops.max_unpool(image(QUARTERS), indices, size=(4, 4))).astype(int)
    back = ops.max_unpool(image(SQUARE / 10), indices, size=(4, 4))
    return sheet(
        [
            Grid(x, 'input', places),
            '→',
            Grid(plane(y), 'maxima', QUARTERS),
            Grid(plane(indices), 'indices', QUARTERS),
            '...',
            Grid(SQUARE / 10, 'features', QUARTERS),
            '→',
            Grid(plane(back), 'max_unpool', places),
        ]
    )


def resize_bilinear() -> Figure:
    """2x2 to 4x4 with pixels as areas, and with the corners as fixed points."""
    x = np.array([[0, 12], [24, 36]], np.float32)
    resized = [
        Grid(
            plane(ops.resize_bilinear(image(x), (4, 4), align_corners=aligned)),
            f'align_corners={aligned}',
        )
        for aligned in (False, True)
    ]
    return sheet([Grid(x, 'input'), '→', *resized])


def conv_transpose() -> Figure:
    """Each pixel adds a copy of the kernel, two pixels further: where they meet, they add up."""
    kernel = jnp.asarray(NINE)[..., None, None]
    y = plane(ops.conv_transpose(image(SQUARE), kernel, stride=2))
    ones = ops.conv_transpose(image(np.ones((2, 2))), jnp.ones_like(kernel), stride=2)
    tints = np.choose(plane(ones).astype(int), [WHITE, WHITE, BLUE, WHITE, DEEP])
    return sheet(
        [
            Grid(SQUARE, 'input 2x2'),
            '*',
            Grid(NINE, 'kernel 3x3'),
            '→',
            Grid(y, 'stride=2: 5x5', tints),
        ]
    )


def conv_matrix() -> Figure:
    """3x3 on 4x4 as 4x16, and with a stride of 2 on 5x5 as 4x25."""
    kernel, tints = ramp(3, 3), np.repeat([[BLUE], [ORANGE], [GREEN]], 3, axis=1)
    rows = []
    for size, stride in [(4, 1), (5, 2)]:
        options = {'stride': stride}
        matrix = np.asarray(ops.conv_matrix(jnp.asarray(kernel), (size, size), **options))
        painted = np.asarray(
            ops.conv_matrix(jnp.asarray(tints, jnp.float32), (size, size), **options)
        )
        title = f'on {size}x{size}, stride={stride}: 4x{size * size}'
        rows.append([Grid(kernel, 'kernel', tints), Grid(matrix, title, painted.astype(int))])
    return sheet(*rows)


def bilinear_kernel() -> Figure:
    """A transposed convolution that interpolates: only at the border zeros are mixed in."""
    x = np.array([[16, 16, 48], [16, 16, 48], [48, 48, 80]], np.float32)
    kernel = ops.bilinear_kernel(2)
    y = ops.conv_transpose(image(x), jnp.asarray(kernel)[..., None, None], stride=2, padding=1)
    tints = np.pad(np.full((4, 4), BLUE), 1, constant_values=GREY)
    return sheet(
        [
            Grid(x, 'input'),
            '*',
            Grid(kernel * 16, '16 x bilinear_kernel(2)'),
            '→',
            Grid(plane(y), 'conv_transpose', tints),
            Grid(plane(ops.resize_bilinear(image(x), (6, 6))), 'resize_bilinear', BLUE),
        ]
    )


def deconvolve() -> Figure:
    """Blurred, transposed and truly inverted; and what rounding to 8 bits does to the inverse."""
    x = image(_scene(56))
    line = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.8**2))
    kernel = jnp.asarray(np.outer(line, line) / line.sum() ** 2, jnp.float32)[..., None, None]
    y = ops.conv(x, kernel)
    pictures = [
        (x, 'x'),
        (y, 'y = conv(x)'),
        (ops.conv_transpose(y, kernel, stride=1, padding=2), 'conv_transpose(y)'),
        (ops.deconvolve(y, kernel), 'deconvolve(y)'),
        (ops.deconvolve(jnp.round(y * 255) / 255, kernel), 'of y in 8 bits'),
    ]
    return sheet([Picture(plane(picture), title, 6) for picture, title in pictures])


def _scene(side: int) -> np.ndarray:
    """A ring, a disc and bars that get finer, 0..1."""
    rows, columns = np.mgrid[:side, :side] / side
    distance = np.hypot(rows - 0.35, columns - 0.35)
    ring = (distance < 0.28) & (distance > 0.2)
    disc = np.hypot(rows - 0.3, columns - 0.8) < 0.12
    bars = (rows > 0.72) & (np.sin(40 * columns**2) > 0)
    return 0.15 + 0.75 * (ring | disc | bars)
