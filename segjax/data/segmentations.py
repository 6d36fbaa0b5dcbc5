"""COCO's outlines of an object: polygons or run lengths, to pixels and back.

pycocotools draws the polygons, so the pixels are those of COCO's own evaluation. What reaches it is
checked first: it is C code that follows any coordinate and trusts any run length.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from segjax.types import UserError

MAX_OUTSIDE = 10  # picture sizes that a coordinate may lie beyond the border


def _decode_counts(text: str) -> list[int]:
    """The run lengths in COCO's compressed text (rleFrString in maskApi.c).

    Five bits a character, the least significant first, bit 5 saying that more follow, the last
    character's bit 4 being the sign; from the third number on, differences to the last but one.
    """
    counts: list[int] = []
    position = 0
    while position < len(text):
        value = shift = 0
        while True:
            code = ord(text[position]) - 48
            if not 0 <= code < 64:
                raise ValueError(f'character {text[position]!r}')
            value |= (code & 31) << shift
            position, shift = position + 1, shift + 5
            if not code & 32:
                break
            if position == len(text) or shift > 60:
                raise ValueError('a number without end')
        if code & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts


def _decode_runs(segmentation: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Runs of 0 and 1 in turn, down the columns."""
    if tuple(segmentation['size']) != size:
        raise ValueError(f'run lengths of a picture of {segmentation["size"]}, not {list(size)}')
    counts = segmentation['counts']
    counts = _decode_counts(counts) if isinstance(counts, str) else counts
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError('run lengths that are no natural numbers')
    if sum(counts) != size[0] * size[1]:
        raise ValueError(f'run lengths of {sum(counts)} pixels')
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size, order='F')


def _draw_polygons(polygons: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    """The union; polygons of fewer than three corners have no pixels."""
    from pycocotools import mask as coco_mask

    drawn = []
    for polygon in polygons:
        corners = np.array(polygon, np.float64)
        if corners.ndim != 1 or len(corners) % 2:
            raise ValueError('a polygon that is no list of x, y, x, y, ...')
        low, high = -MAX_OUTSIDE * max(size), (MAX_OUTSIDE + 1) * max(size)
        if not ((low <= corners) & (corners <= high)).all():  # NaN is not either
            raise ValueError('a polygon far outside the picture')
        if len(corners) >= 6:
            drawn.append(corners.tolist())
    if not drawn:
        return np.zeros(size, bool)
    runs: Any = coco_mask.frPyObjects(drawn, *size)
    return np.any(coco_mask.decode(runs), axis=2)


def draw_segmentation(segmentation: Any, size: tuple[int, int], *, name: str) -> np.ndarray:
    """The pixels of an object, `h w` bool.

    Args:
      segmentation: a list of polygons `[x, y, x, y, ...]`, possibly empty, or run lengths
        `{'size': [h, w], 'counts': ...}` as a list or as compressed text.
      size: height and width of the picture.
      name: what messages call the object.

    Raises:
      UserError: it is neither, or does not fit the picture.
    """
    try:
        if isinstance(segmentation, dict):
            return _decode_runs(segmentation, size)
        return _draw_polygons(segmentation, size)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        reason = f'{error}' if isinstance(error, ValueError) else repr(error)
        raise UserError(f'{name}: the outline is broken ({reason[:200]}).') from None


def encode_mask(mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    """COCO's run lengths of an object, as a dictionary of `size` and compressed text `counts`.

    Args:
      mask: `h w`, cropped to the object.
      corner: x and y of its upper left pixel in the picture.
      size: height and width of the picture.
    """
    from pycocotools import mask as coco_mask

    canvas = np.zeros(size, np.uint8, order='F')
    x, y = corner
    canvas[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    runs: Any = coco_mask.encode(canvas)
    return {'size': list(size), 'counts': runs['counts'].decode()}
