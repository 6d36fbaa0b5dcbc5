"""RoIAlign beside RoIPool, and non-maximum suppression, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np

from segjax import ops
from segjax.tools.figures.down import image
from segjax.tools.figures.grids import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RULE,
    TINTS,
    VIOLET,
    WHITE,
    Grid,
    ramp,
    sheet,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUARTERS = np.array([[BLUE, ORANGE], [GREEN, VIOLET]])
READ = (1.8, 1.2, 5.8, 4.2)  # in cells: bins of 2 x 1.5
BOXES = np.array(
    [
        [0.2, 0.2, 5.2, 5.2],
        [1.2, 0.8, 6.2, 5.8],  # overlaps the first and the third
        [2.2, 1.4, 7.2, 6.4],  # overlaps the second alone
        [8.0, 0.6, 10.6, 4.6],
        [8.3, 1.4, 10.9, 5.4],
    ],
    np.float32,
)
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32)
THRESHOLD = 0.5


class Region(NamedTuple):
    """A grid and the box that is read from it; with the bins and their samples, or without."""

    grid: Grid
    bins: bool

    @property
    def title(self) -> str:
        """Of the grid."""
        return self.grid.title

    @property
    def shape(self) -> tuple[float, float]:
        """Height and width."""
        return self.grid.shape

    def draw(self, axes: Axes, left: float, top: float) -> None:
        """With its corner at `left`, `top`."""
        from matplotlib.patches import Rectangle

        self.grid.draw(axes, left, top)
        (x1, y1, x2, y2), number = READ, 2 if self.bins else 1
        w, h = (x2 - x1) / number, (y2 - y1) / number
        for i, j in np.ndindex(number, number):
            color = TINTS[QUARTERS[i, j]] if self.bins else 'none'
            corner = left + x1 + j * w, top + y1 + i * h
            axes.add_patch(Rectangle(corner, w, h, facecolor=color, alpha=0.7, lw=0))
            axes.add_patch(Rectangle(corner, w, h, facecolor='none', edgecolor=INK, lw=1.3))
        if self.bins:
            across, down = (a + (b - a) * (np.arange(4) + 0.5) / 4 for a, b in ((x1, x2), (y1, y2)))
            x, y = np.meshgrid(left + across, top + down)
            axes.plot(x.ravel(), y.ravel(), 'o', color=INK, ms=2.6)


class Boxes(NamedTuple):
    """All of `BOXES` with their scores; those that are dropped only dotted."""

    title: str
    kept: np.ndarray

    @property
    def shape(self) -> tuple[float, float]:
        """Height and width."""
        return 6.6, 11.4

    def draw(self, axes: Axes, left: float, top: float) -> None:
        """With its corner at `left`, `top`, the best box above the others."""
        from matplotlib.patches import Rectangle

        for place in reversed(range(len(BOXES))):
            (x1, y1, x2, y2), kept = BOXES[place], self.kept[place]
            edge, line = (INK, '-') if kept else (RULE, ':')
            color = TINTS[BLUE] if kept else 'none'
            corner = left + x1, top + y1
            size = x2 - x1, y2 - y1
            axes.add_patch(Rectangle(corner, *size, facecolor=color, alpha=0.6, lw=0))
            axes.add_patch(
                Rectangle(corner, *size, facecolor='none', edgecolor=edge, ls=line, lw=1.3)
            )
            label = f'{SCORES[place]:.1f}'
            axes.text(left + x1 + 0.15, top + y1 + 0.45, label, va='center', size=7, color=INK)


def roi_align() -> Figure:
    """One box, read between the cells, and from whole cells."""
    x, boxes = ramp(6, 7), jnp.asarray([READ])
    align = ops.roi_align(image(x)[0], boxes, output_size=2, spatial_scale=1.0, aligned=True)
    pool = ops.roi_pool(image(x)[0], boxes, output_size=2, spatial_scale=1.0)
    # Rounded, the box has columns 2 to 6 and rows 1 to 4: the column in the middle is of two bins.
    tints = np.full_like(x, WHITE, int)
    tints[1:5, 2:7] = QUARTERS.repeat(2, 0).repeat((3, 2), 1)
    tints[1:5, 4] = GREY
    return sheet(
        [
            Region(Grid(np.full_like(x, np.nan), 'bins and samples'), bins=True),
            '→',
            Grid(np.asarray(align[0, ..., 0]), 'roi_align', QUARTERS),
            '  ',
            Region(Grid(x, 'whole cells', tints), bins=False),
            '→',
            Grid(np.asarray(pool[0, ..., 0]), 'roi_pool', QUARTERS),
        ]
    )


def nms() -> Figure:
    """Five boxes, how much they overlap, and the three that are kept."""
    boxes, scores = jnp.asarray(BOXES), jnp.asarray(SCORES)
    index, valid = ops.nms(boxes, scores, iou_threshold=THRESHOLD, max_outputs=len(BOXES))
    kept = np.isin(np.arange(len(BOXES)), np.asarray(index)[np.asarray(valid)])
    overlap = np.triu(np.asarray(ops.pairwise_iou(boxes, boxes)), 1)
    overlap[np.tril_indices(len(BOXES))] = np.nan
    tints = np.where(overlap > THRESHOLD, np.where(kept, BLUE, ORANGE)[:, None], WHITE)
    return sheet(
        [
            Boxes('boxes and scores', np.ones(len(BOXES), bool)),
            '→',
            Grid(overlap, 'pairwise_iou', tints),
            '→',
            Boxes(f'nms, iou_threshold={THRESHOLD}', kept),
        ]
    )


def mask_target() -> Figure:
    """The mask of an object as a box that misses a part of it sees it, and pasted back."""
    y, x = np.mgrid[:8, :11] + 0.5
    mask = (y - 4) ** 2 + (x - 5) ** 2 < 3.2**2
    left, top, right, bottom = corners = (3, 1, 10, 7)
    box = jnp.asarray([corners], jnp.float32)
    target = ops.mask_targets(
        jnp.asarray(mask)[None], box, jnp.zeros(1, jnp.int32), output_size=4, aligned=True
    )
    pasted = np.asarray(ops.paste_masks(target, box, size=mask.shape, flavor='detectron2'))[0]
    inside = np.zeros_like(mask)
    inside[top:bottom, left:right] = True
    bare = np.full(mask.shape, np.nan)

    def tinted(object_: np.ndarray) -> np.ndarray:
        return np.where(object_, BLUE, np.where(inside, GREY, WHITE))

    return sheet(
        [
            Grid(bare, 'object, and a box (gray)', tinted(mask)),
            '→',
            Grid(np.asarray(target)[0].round(2), 'target 4x4: shares'),
            '→',
            Grid(bare, 'pasted: at least a half', tinted(pasted >= 0.5)),
        ]
    )
