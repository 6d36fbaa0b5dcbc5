"""One picture, several forward passes: tile by tile, turned, and at several scales.

A network without padding (`margin` > 0) predicts a tile from the picture around it, and the tiles
fit together without a seam: they are what one pass over the whole picture would give (U-Net, figure
2, the overlap-tile strategy). A network that pads knows less at a tile's border; there tiles
overlap, and a Gaussian weighs each one's probabilities, as nnU-Net does.

In both ways the network's own memory is that of one tile, whatever the size of the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from segjax import ops
from segjax.data.pipeline import EvalPipeline
from segjax.types import Array

Predict = Callable[[Array], Array]  # b h w c -> b h-2margin w-2margin k, probabilities
Size = tuple[int, int]

_GAUSSIAN = 1 / 8  # sigma, in sides of a tile; nnU-Net's


class Inference(NamedTuple):
    """How the probabilities of a picture come about; see data.pipeline.EvalPipeline."""

    tile: Size = (0, 0)
    overlap: float = 0.5
    orientations: int = 1
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    @classmethod
    def of(cls, how: EvalPipeline) -> Inference:
        """What the fields of an experiment say."""
        return cls(how.tile, how.overlap, how.orientations, how.scales, how.flip)


ONE_PASS = Inference()


def _predict_whole(model: nn.Module, predict: Predict, image: Array) -> Array:
    """One pass; the image is mirrored beyond its border as far as the model needs."""
    h, w = image.shape[1:3]
    need = model.input_size((h, w))
    if need != (h, w):
        before = model.margin
        pads = [(before, n - side - before) for n, side in zip(need, (h, w), strict=True)]
        image = ops.mirror_pad(image, *pads)
    return predict(image)[:, :h, :w]


def _canvas(predict: Predict, window: Array, size: Size) -> Array:
    """Zeros `b h w k` for the probabilities of windows like this one."""
    found = jax.eval_shape(predict, window)
    return jnp.zeros((found.shape[0], *size, found.shape[3]), found.dtype)


def _visit(step: Callable, canvas: Array, starts: np.ndarray) -> Array:
    """The canvas after `step(canvas, y, x)` for each of the starts `n 2`.

    A loop, whose turns share their memory: written out, they would be computed side by side.
    """
    scan = lambda canvas, start: (step(canvas, start[0], start[1]), None)
    return lax.scan(scan, canvas, jnp.asarray(starts, jnp.int32))[0]


def _grid(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """All pairs, `n 2`."""
    return np.stack(np.meshgrid(rows, columns, indexing='ij'), -1).reshape(-1, 2)


def _unit(model: nn.Module) -> int:
    """The step from one valid input side to the next: windows shifted by it pool alike."""
    least = model.input_size((1, 1))[0]
    return model.input_size((least - 2 * model.margin + 1,) * 2)[0] - least


def _overlap_tile(model: nn.Module, predict: Predict, image: Array, tile: Size) -> Array:
    """Tiles side by side, each predicted with a margin of its surroundings."""
    h, w = image.shape[1:3]
    margin, unit = model.margin, _unit(model)
    side = lambda tile, size: min(max(tile, unit), size)
    need = model.input_size((side(tile[0], h), side(tile[1], w)))
    out = [n - 2 * margin for n in need]
    stride = [max(o // unit, 1) * unit for o in out]
    count = [1 + max(0, -(-(s - o) // t)) for s, o, t in zip((h, w), out, stride, strict=True)]
    size = [(n - 1) * t + o for n, t, o in zip(count, stride, out, strict=True)]
    pads = [(margin, n + margin - s) for n, s in zip(size, (h, w), strict=True)]
    image = ops.mirror_pad(image, *pads)
    window = lambda y, x: lax.dynamic_slice(
        image, (0, y, x, 0), (image.shape[0], *need, image.shape[3])
    )

    def step(canvas: Array, y: Array, x: Array) -> Array:
        return lax.dynamic_update_slice(canvas, predict(window(y, x)), (0, y, x, 0))

    starts = _grid(*(np.arange(n) * t for n, t in zip(count, stride, strict=True)))
    canvas = _canvas(predict, window(0, 0), (size[0], size[1]))
    return _visit(step, canvas, starts)[:, :h, :w]


def _starts(size: int, window: int, overlap: float) -> np.ndarray:
    """Evenly spaced from 0 to `size - window`, neighbours sharing `overlap` of a window or more."""
    stride = max(1, int(window * (1 - overlap)))
    count = 1 + -(-(size - window) // stride)
    return np.rint(np.linspace(0, size - window, count)).astype(int)


def _importance(window: Size) -> np.ndarray:
    """The Gaussian over a window, 1 in the middle; `h w` float32."""
    lines = [(np.arange(n) + 0.5) / n - 0.5 for n in window]
    y, x = (np.exp(-0.5 * (line / _GAUSSIAN) ** 2) for line in lines)
    return np.outer(y, x).astype(np.float32)


def _slide(model: nn.Module, predict: Predict, image: Array, tile: Size, overlap: float) -> Array:
    """Overlapping windows; each pixel's probabilities are their mean under the Gaussian."""
    h, w = image.shape[1:3]
    need = model.input_size((min(tile[0], h), min(tile[1], w)))
    size = (max(h, need[0]), max(w, need[1]))
    image = ops.mirror_pad(image, (0, size[0] - h), (0, size[1] - w))
    starts = _grid(_starts(size[0], need[0], overlap), _starts(size[1], need[1], overlap))
    importance, total = _importance(need), np.zeros(size, np.float32)
    for y, x in starts:
        total[y : y + need[0], x : x + need[1]] += importance
    window = lambda y, x: lax.dynamic_slice(
        image, (0, y, x, 0), (image.shape[0], *need, image.shape[3])
    )
    weight = jnp.asarray(importance)[None, :, :, None]

    def step(canvas: Array, y: Array, x: Array) -> Array:
        found = predict(window(y, x)) * weight
        before = lax.dynamic_slice(canvas, (0, y, x, 0), found.shape)
        return lax.dynamic_update_slice(canvas, before + found, (0, y, x, 0))

    canvas = _visit(step, _canvas(predict, window(0, 0), size), starts)
    return (canvas / jnp.asarray(total)[None, :, :, None])[:, :h, :w]


def _orient(image: Array, number: int) -> Array:
    """One of the eight orientations of `b h w c`: 0 to 3 quarter turns, from 4 on mirrored."""
    image = image[:, :, ::-1] if number >= 4 else image
    return jnp.rot90(image, number, axes=(1, 2))


def _orient_back(image: Array, number: int) -> Array:
    image = jnp.rot90(image, -number, axes=(1, 2))
    return image[:, :, ::-1] if number >= 4 else image


def _scaled(image: Array, scale: float) -> Array:
    """`b h w c` to the nearest whole sides, at least 1; not antialiased."""
    if scale == 1:
        return image
    h, w = (max(1, round(side * scale)) for side in image.shape[1:3])
    return ops.resize_bilinear(image, (h, w))


def _after(total: Array, image: Array) -> Array:
    """The image, but known only when `total` is; NaN where that is.

    Passes that may run side by side share no memory, and XLA's CPU backend drops an
    optimization_barrier before it orders the work.
    """
    first = total[:, :1, :1, :1].astype(image.dtype)
    return jnp.where(jnp.isnan(first), first, image)


def predict_picture(
    model: nn.Module, predict: Predict, image: Array, inference: Inference
) -> Array:
    """Probabilities `b h w k` for every pixel of images `b h w c` of any size.

    Of several scales and orientations the probabilities are averaged, each brought back to the
    image's own pixels first; DeepLab, section 4.3 of version 3. The passes run one after another
    and need the memory of the largest.

    Args:
      predict: one forward pass, on sizes that `model.input_size` gives.
      inference: a picture within one tile is predicted in one pass; a tile is turned with the
        picture, not scaled with it.
    """

    def tiled(image: Array, tile: Size) -> Array:
        if not any(tile) or all(s <= t for s, t in zip(image.shape[1:3], tile, strict=True)):
            return _predict_whole(model, predict, image)
        if model.margin:
            return _overlap_tile(model, predict, image, tile)
        return _slide(model, predict, image, tile, inference.overlap)

    h, w = inference.tile
    numbers = (0, 4) if inference.flip else range(inference.orientations)
    passes = [(scale, number) for scale in inference.scales for number in numbers]
    total = None
    for scale, number in passes:
        if total is not None:
            image = _after(total, image)
        turned = _orient(_scaled(image, scale), number)
        found = _orient_back(tiled(turned, (h, w) if number % 2 == 0 else (w, h)), number)
        found = found if scale == 1 else ops.resize_bilinear(found, image.shape[1:3])
        total = found if total is None else total + found
    assert total is not None  # there is a scale
    return total / len(passes) if len(passes) > 1 else total
