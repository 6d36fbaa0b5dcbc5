"""What U-Net is trained with, drawn: weights between cells, and elastic deformation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from segjax.data.resample import Warp, warp_image, warp_label, warp_weight
from segjax.data.transforms import Elastic
from segjax.data.weight_map import separation_weights
from segjax.tools.figures.grids import Picture, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELLS = ((32, 30, 24), (34, 84, 26), (90, 52, 28), (92, 108, 14))  # row, column, radius
SIDE = 128


def _cells() -> np.ndarray:
    """Four cells, the first two nearly touching: `h w`, each a number of its own."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    objects = np.zeros((SIDE, SIDE), int)
    for number, (row, column, radius) in enumerate(CELLS, start=1):
        objects[np.hypot(rows - row, columns - column) < radius] = number
    return objects


def weight_map() -> Figure:
    """Cells, and the weights that keep them apart."""
    objects = _cells()
    weights = separation_weights(objects)
    return sheet(
        [
            Picture((objects > 0).astype(float), 'label', 7),
            '→',
            Picture(weights / weights.max(), f'weights, 1 to {weights.max():.0f}', 7),
        ]
    )


def elastic() -> Figure:
    """One field bends image, label and weights alike."""
    objects = _cells()
    grid = (np.arange(SIDE) % 16 == 0) | (np.arange(SIDE) % 16 == 15)
    image = np.where(grid | grid[:, None], 255, 90 + 90 * (objects > 0)).astype(np.uint8)
    label, weight = (objects > 0).astype(np.int32), separation_weights(objects)
    warp = Elastic().warp(Warp.identity((SIDE, SIDE)), np.random.default_rng(3))
    shades = lambda weight: weight / separation_weights(objects).max()
    bent = warp_image(image[..., None], warp, border='reflect').reshape(SIDE, SIDE)
    return sheet(
        [
            Picture(image / 255, 'image', 6),
            '→',
            Picture(bent / 255, 'bent image', 6),
            Picture(warp_label(label, warp, border='reflect').astype(float), 'bent label', 6),
            Picture(shades(warp_weight(weight, warp, border='reflect')), 'bent weights', 6),
        ]
    )
