"""Sheets of grids: numbers in squares, beside each other, with a word above and signs between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, RULE = '#222228', '#b4b4ba', '#8d8d95'
WHITE, BLUE, ORANGE, GREEN, VIOLET, GREY, DEEP = range(7)
TINTS = ('#ffffff', '#cfe2f6', '#fbdcb8', '#cdebd3', '#e2d3f3', '#e6e6ea', '#8fbbe8')

INCHES = 0.27  # side of a square
DPI = 110
LETTER = 0.235  # width of a letter of a title, in squares
SPAN = 0.32  # from one bracket to the next, in squares


class Grid(NamedTuple):
    """Squares with numbers.

    Attributes:
      values: `h w`; NaN leaves a square empty.
      title: above it.
      tints: `h w` of the constants above, or one for all squares.
      spans: first and last column of brackets below, as under the windows of a pooling.
    """

    values: np.ndarray
    title: str = ''
    tints: np.ndarray | int = WHITE
    spans: Sequence[tuple[int, int]] = ()

    @property
    def shape(self) -> tuple[float, float]:
        """Height and width."""
        return self.values.shape[0] + SPAN * len(self.spans), float(self.values.shape[1])

    def draw(self, axes: Axes, left: float, top: float) -> None:
        """With its corner at `left`, `top`."""
        from matplotlib.patches import Rectangle

        tints = np.broadcast_to(self.tints, self.values.shape)
        for (i, j), value in np.ndenumerate(self.values):
            x, y = left + j, top + i
            color = TINTS[int(tints[i, j])]
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=color, edgecolor=RULE, lw=0.6))
            if not np.isnan(value):
                text = f'{value:.2f}'.rstrip('0').rstrip('.')
                ink = FAINT if value == 0 else INK
                size = 8 if len(text) < 4 else 6
                axes.text(x + 0.5, y + 0.53, text, ha='center', va='center', size=size, color=ink)
        for row, (first, last) in enumerate(self.spans):
            x, y = np.array([first + 0.1, last + 0.9]) + left, top + len(self.values)
            y += SPAN * (row + 0.8)
            axes.plot(x, [y, y], color=INK, lw=1.2, solid_capstyle='butt')


class Picture(NamedTuple):
    """Pixels without numbers: gray (`h w` of 0..1) or RGB (uint8), `side` squares wide."""

    pixels: np.ndarray
    title: str
    side: float

    @property
    def shape(self) -> tuple[float, float]:
        """Height and width."""
        return self.side * self.pixels.shape[0] / self.pixels.shape[1], self.side

    def draw(self, axes: Axes, left: float, top: float) -> None:
        """With its corner at `left`, `top`."""
        h, w = self.shape
        extent = (left, left + w, top + h, top)
        axes.imshow(self.pixels, cmap='gray', vmin=0, vmax=1, extent=extent, aspect='auto')


class Drawing(Protocol):
    """What a sheet can hold: a grid, a picture, or something with the same three."""

    @property
    def title(self) -> str:
        """Above it."""
        ...

    @property
    def shape(self) -> tuple[float, float]:
        """Height and width, in squares."""
        ...

    def draw(self, axes: Axes, left: float, top: float) -> None:
        """With its corner at `left`, `top`."""


Part = Drawing | str


def ramp(h: int, w: int) -> np.ndarray:
    """1, 2, 3, ... row by row, `h w` float32."""
    return np.arange(1, h * w + 1, dtype=np.float32).reshape(h, w)


def bare_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of so many squares, its axis y pointing down."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * INCHES, height * INCHES), dpi=DPI, facecolor='white')
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis('off')
    return figure, axes


def sheet(*rows: Sequence[Part]) -> Figure:
    """Rows of grids, pictures and signs, each row centred on its tallest part."""
    heights = [max(part.shape[0] for part in row if not isinstance(part, str)) for row in rows]
    widths = [[_width(part) for part in row] for row in rows]
    gap = 0.6
    total = max(sum(row) + gap * (len(row) + 1) for row in widths)
    figure, axes = bare_axes(total, sum(heights) + 1.9 * len(rows))
    top = 1.4
    for row, row_widths, height in zip(rows, widths, heights, strict=True):
        left = gap
        for part, width in zip(row, row_widths, strict=True):
            middle = top + height / 2
            if isinstance(part, str):
                axes.text(left + width / 2, middle, part, ha='center', va='center', size=11)
            else:
                h, w = part.shape
                part.draw(axes, left + (width - w) / 2, middle - h / 2)
                title = left + width / 2, middle - h / 2 - 0.3
                axes.text(*title, part.title, ha='center', va='bottom', size=8, color=INK)
            left += width + gap
        top += height + 1.9
    axes.set(xlim=(0, axes.get_xlim()[1]), ylim=(axes.get_ylim()[0], 0))
    return figure


def _width(part: Part) -> float:
    if isinstance(part, str):
        return 0.6 + 0.3 * len(part)
    return max(part.shape[1], LETTER * max(map(len, part.title.split('\n'))))
