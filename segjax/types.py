"""What travels between the rooms of segjax. Imports no JAX: the data pipeline uses it too.

Dimension letters, everywhere in segjax:
  b batch      h w height, width   c channels   k classes   n instances or boxes
  m side of a cropped mask         l supervised heads       d slices of a stack

Images are `h w c`, labels int32 `h w` with `IGNORE_LABEL` where no class is asked for. Boxes are
`xyxy` in float32 absolute pixels, continuous: pixel i covers [i, i + 1).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

IGNORE_LABEL = 255

Array = Any  # numpy.ndarray on the host, jax.Array on a device


class Instances(NamedTuple):
    """The objects of an image, padded to a fixed number n.

    masks are cropped to their own box and resampled to `m m`, unless full canvases `h w` are asked
    for by the pipeline.
    """

    boxes: Array  # b n 4    float32
    classes: Array  # b n    int32, 1.. (0 is background)
    masks: Array  # b n m m  uint8 0/1
    crowd: Array  # b n      bool, a region of many objects
    valid: Array  # b n      bool, False for padding
    cut: Array = None  # b   int32, further objects, for which n had no place


class Batch(NamedTuple):
    """What a model, a task and a step are given. A *sample* is a Batch without the leading b.

    Parts that a task does not need are None. 8- and 16-bit images stay integers until the device
    normalises them; float32 images are passed through.
    """

    image: Array  # b h w c           uint8 | uint16 | float32
    label: Array = None  # b h w    int32, IGNORE_LABEL where nothing is asked
    weight: Array = None  # b h w   float32, loss weight of each pixel
    instances: Instances | None = None
    size: Array = None  # b 2       int32, height and width of the picture in its canvas
    image_id: Array = None  # b     int32, index of the record in its split
    valid: Array = None  # b        bool, False for rows that only fill up the batch


class SegmentationOutput(NamedTuple):
    """What every semantic model returns; the type never depends on a field of the model."""

    logits: Array  # b h w k  float32, unnormalised
    aux: tuple[Array, ...] = ()  # the other supervised heads, from shallow to deep


class Detections(NamedTuple):
    """A fixed number n of detections an image, best first."""

    boxes: Array  # b n 4    float32
    scores: Array  # b n     float32
    classes: Array  # b n    int32
    masks: Array  # b n m m  float32, probabilities in the box; None of a model without masks
    valid: Array  # b n      bool
    dropped: Array = None  # b  int32, boxes that a fixed capacity had no room for


class UserError(Exception):
    """A mistake that the user can mend; the message says what, where and how. Exit code 2."""


def _numbers(value: Any) -> list[float]:
    """A number, or those of a tuple of numbers or tuples."""
    return [n for part in value for n in _numbers(part)] if isinstance(value, tuple) else [value]


def check_ranges(fields: object, **ranges: tuple[float, float]) -> None:
    """Compare fields, numbers or tuples of them, with their least and greatest values.

    Raises:
      UserError: one is outside; NaN always is.
    """
    for name, (least, greatest) in ranges.items():
        values = _numbers(getattr(fields, name))
        if not all(least <= value <= greatest for value in values):
            given = ','.join(map(str, values))
            open_ended = greatest == math.inf
            allowed = f'at least {least:g}' if open_ended else f'from {least:g} to {greatest:g}'
            raise UserError(f'--{name}={given}: must be {allowed}.')
