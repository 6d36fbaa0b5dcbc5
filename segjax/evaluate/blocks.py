"""A picture of any size in bounded memory: block by block, on the host.

`predict_picture` keeps the probabilities of every class at every pixel, which for 10,000 x 10,000
pixels and 21 classes are 8 GB. Here each block is predicted together with the pixels around it, its
halo, and only the class ids of the block are kept.

Detectors need none of it: they see a picture of any size resized to their canvas, and its masks are
pasted one after another and kept as run lengths (instance.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

WINDOW = 1024  # side of what is predicted at once: a block and its halo on both sides
HALO = 128  # pixels; as far as the surroundings of a pixel are made sure to count
_UNIT = 64  # blocks begin at multiples of it, so that networks pool them like the whole picture

Size = tuple[int, int]


def _mirrored(start: int, stop: int, size: int) -> np.ndarray:
    """Rows start..stop of a picture of `size` rows that is continued by mirroring:
    `d c b | a b c d | c b a`."""
    period = max(2 * (size - 1), 1)
    index = np.arange(start, stop) % period
    return np.where(index < size, index, period - index)


def _cuts(size: int, window: int, halo: int) -> tuple[range, int]:
    """Where the blocks of one axis begin, and the halo: one block without where all fits."""
    if size <= window:
        return range(1), 0
    return range(0, size, window - 2 * halo), halo


def predict_in_blocks(
    image: np.ndarray, predict: Callable[[np.ndarray], np.ndarray], *, margin: int = 0
) -> np.ndarray:
    """Class ids `h w` of a picture `h w c`.

    Windows are all of one shape, so one program predicts them; at the picture's border they are
    filled up by mirroring. A network that pads nothing gives what it would give at once.

    Args:
      predict: class ids `h w` of a window `h w c` of at most WINDOW pixels a side.
      margin: border that the model eats; the halo is never narrower.
    """
    halo = max(HALO, -(-margin // _UNIT) * _UNIT)
    window = max(WINDOW, 2 * halo + _UNIT)
    (rows, top), (columns, left) = (_cuts(side, window, halo) for side in image.shape[:2])
    shape = [min(side, window) for side in image.shape[:2]]
    label = None
    for y, x in itertools.product(rows, columns):
        part = image[
            np.ix_(
                _mirrored(y - top, y - top + shape[0], image.shape[0]),
                _mirrored(x - left, x - left + shape[1], image.shape[1]),
            )
        ]
        found = predict(part)
        if label is None:
            label = np.empty(image.shape[:2], found.dtype)
        block = label[y : y + shape[0] - 2 * top, x : x + shape[1] - 2 * left]
        block[...] = found[top : top + block.shape[0], left : left + block.shape[1]]
    assert label is not None
    return label
