"""Objects as a program: `Detector.predict` on the device.

The array of a program is as large as its name says; a picture of that size fills it, a smaller one
lies in its upper left. The canvas of the network is the one on which the largest picture is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from segjax import ops
from segjax.data.detection import DetectionEval
from segjax.export.feed import fill_color, inside, resample, standardize
from segjax.predictor import Network
from segjax.pretrained.safetensors_io import nested
from segjax.tasks import Instance
from segjax.types import Array

Size = tuple[int, int]
Found = dict[str, Array]

OUTPUT = {
    'boxes': 'n 4 float32: left, top, right, bottom in pixels of the picture',
    'scores': 'n float32, the best first',
    'classes': 'n int32, places in class_names',
    'valid': 'n bool: which rows are objects',
    'masks': 'n m m float32: probabilities in the box; see the programs .mask',
}
CAPACITIES = ('max_detections', 'detection_candidates', 'pre_nms', 'post_nms')
THRESHOLDS = ('score_threshold', 'nms_threshold', 'rpn_nms_threshold')


def _resizes(pipeline: DetectionEval, largest: Size) -> bool:
    """Whether a picture of this size, or a smaller one, is seen at another than its own."""
    return pipeline.short > 0 or max(largest) > pipeline.long


def _fitted(pipeline: DetectionEval, size: Array, canvas: Size) -> tuple[Array, Array]:
    """`DetectionEval.fitted` of a size `2`, and the pixels a new pixel, a side, rounded down.

    A picture that is then larger than the canvas, as an upright one may be on a canvas that lies,
    is made as much smaller as it must be.
    """
    # In 64 bits, as the host calculates: 97 * (800 / 97) is less than 800.
    with jax.enable_x64(True):
        sides, limit = size.astype(jnp.float64), jnp.asarray(canvas, jnp.float64)
        shorter, longer = jnp.min(sides), jnp.max(sides)
        short = float(pipeline.short) if pipeline.short else shorter
        wanted = sides * jnp.minimum(short / shorter, pipeline.long / longer)
        wanted = jnp.floor(wanted + (0.5 if pipeline.rounding == 'nearest' else 0.0))
        reduced = jnp.floor(sides * jnp.min(limit / sides))
        found = jnp.maximum(jnp.where(jnp.all(wanted <= limit), wanted, reduced), 1)
        factor = jnp.maximum(jnp.sqrt(jnp.prod(sides) / jnp.prod(found)) + 1e-6, 1)
        return found.astype(jnp.int32), factor.astype(jnp.int32)


def feed(network: Network, image: Array, size: Array) -> tuple[Array, Array]:
    """`Network.feed` of the picture of `size` in the upper left of `h w c`.

    Returns:
      The canvas, and the height and width `2` that the picture has in it.
    """
    pipeline, largest = network.pipeline, image.shape[:2]
    assert isinstance(pipeline, DetectionEval)
    canvas = pipeline.canvas(largest)
    if network.normalize == 'zscore':
        image = standardize(image, inside(largest, (size[0], size[1])))
    if _resizes(pipeline, largest):
        seen, factor = _fitted(pipeline, size, canvas)
        found = resample(image, canvas, (size[0], size[1]), (seen[0], seen[1]), factor)
    else:
        seen = size
        pads = ((0, canvas[0] - largest[0]), (0, canvas[1] - largest[1]), (0, 0))
        found = jnp.pad(image, pads)
    color = fill_color(network, image.dtype)
    return jnp.where(inside(canvas, (seen[0], seen[1])), found, color), seen


def _rescale(boxes: Array, seen: Array, size: Array) -> tuple[Array, Array]:
    """`evaluate.instance.rescale` of boxes `n 4`; and of which of them something is left."""
    with jax.enable_x64(True):
        scale = (size.astype(jnp.float64) / seen.astype(jnp.float64))[jnp.array([1, 0, 1, 0])]
        limit = size.astype(jnp.float64)[jnp.array([1, 0, 1, 0])]
        scaled = jnp.clip(boxes.astype(jnp.float64) * scale[None], 0, limit[None])
        scaled = scaled.astype(jnp.float32)
    return scaled, jnp.all(scaled[:, 2:] > scaled[:, :2], axis=1)


def program(network: Network) -> Callable[[dict[str, Array], Array, Array], Found]:
    """(weights by name, picture `h w c`, its own height and width) -> its objects, best first.

    `boxes` `n 4` are in pixels of the picture, `masks` `n m m` in their boxes, `valid` `n` says
    which of the n rows are objects.
    """
    assert isinstance(network.task, Instance)

    def detect(weights: dict[str, Array], image: Array, size: Array) -> Found:
        fed, seen = feed(network, image, size)
        found = network.detections(nested(weights)['0'], fed, seen)
        boxes, some = _rescale(found.boxes, seen, size)
        parts = {
            'boxes': boxes,
            'scores': found.scores,
            'classes': found.classes,
            'valid': found.valid & some,
        }
        return parts if found.masks is None else parts | {'masks': found.masks}

    return detect


def paste(size: Size) -> Callable[[Array, Array], Array]:
    """(mask `m m`, its box `4`) -> the pixels of the object, `h w` bool."""

    def program(mask: Array, box: Array) -> Array:
        return ops.paste_masks(mask[None], box[None], size=size)[0] >= 0.5

    return program


def about(network: Network, sizes: Sequence[Size]) -> dict[str, Any]:
    """What the programs of a detector give, and how much of it."""
    model: Any = network.model
    given = [name for name in OUTPUT if name != 'masks' or model.with_mask]
    return {
        'size': 'int32 2: height and width of the picture in the upper left of the input',
        'output': {name: OUTPUT[name] for name in given},
        'capacities': {name: getattr(model, name) for name in CAPACITIES},
        'thresholds': {name: getattr(model, name) for name in THRESHOLDS},
        'canvases': {f'{h}x{w}': network.pipeline.canvas((h, w)) for h, w in sizes},
    }
