"""Boxes `x1 y1 x2 y2` in continuous pixels: area, overlap, and the code of a box beside another.

Everything is computed in float32, whatever comes in: at 1000 pixels bfloat16 is 4 pixels coarse.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Real

CodeWeights = tuple[float, float, float, float]

LONGEST_STEP = math.log(1000 / 16)  # of dw and dh: a box grows at most 62.5 times
SMALLEST_SIDE = 1e-6  # pixels; keeps the code of an empty box finite


def box_area(boxes: Float[Array, '*n 4']) -> Float[Array, '*n']:
    """`(x2 - x1) (y2 - y1)`, in square pixels."""
    x1, y1, x2, y2 = _sides(boxes)
    return (x2 - x1) * (y2 - y1)


def clip_boxes(boxes: Float[Array, '*n 4'], size: Real[Array, '2']) -> Float[Array, '*n 4']:
    """The part inside an image of height and width `size`, which may be known at run time only."""
    height, width = size.astype(jnp.float32)
    x1, y1, x2, y2 = _sides(boxes)
    across, down = (lambda x: jnp.clip(x, 0, width)), (lambda y: jnp.clip(y, 0, height))
    return jnp.stack([across(x1), down(y1), across(x2), down(y2)], axis=-1)


def pairwise_iou(a: Float[Array, 'n 4'], b: Float[Array, 'm 4']) -> Float[Array, 'n m']:
    """Intersection over union of every box of `a` with every box of `b`; 0 where both are empty.

    No pixel is added to a side: a box from 1 to 3 is 2 pixels wide.
    """
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = _sides(a[:, None]), _sides(b[None])
    width = jnp.maximum(jnp.minimum(ax2, bx2) - jnp.maximum(ax1, bx1), 0)
    height = jnp.maximum(jnp.minimum(ay2, by2) - jnp.maximum(ay1, by1), 0)
    shared = width * height
    union = box_area(a)[:, None] + box_area(b)[None] - shared
    return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1), 0)


def encode_boxes(
    boxes: Float[Array, '*n 4'],
    anchors: Float[Array, '*n 4'],
    *,
    weights: CodeWeights = (1.0, 1.0, 1.0, 1.0),
) -> Float[Array, '*n 4']:
    """What must be predicted at `anchors` to find `boxes`: `dx dy dw dh`.

    `dx = wx (x - xa) / wa` of the centres, `dw = ww log(w / wa)` of the sides; in y likewise.
    Ren et al., "Faster R-CNN", equation 2; the weights are those of Girshick's code (10, 10, 5, 5
    in the second stage).
    """
    (x, y, w, h), (xa, ya, wa, ha) = _centre_and_size(boxes), _centre_and_size(anchors)
    w, h, wa, ha = (jnp.maximum(side, SMALLEST_SIDE) for side in (w, h, wa, ha))
    wx, wy, ww, wh = weights
    step = (wx * (x - xa) / wa, wy * (y - ya) / ha, ww * jnp.log(w / wa), wh * jnp.log(h / ha))
    return jnp.stack(step, axis=-1)


def decode_boxes(
    codes: Float[Array, '*n 4'],
    anchors: Float[Array, '*#n 4'],
    *,
    weights: CodeWeights = (1.0, 1.0, 1.0, 1.0),
) -> Float[Array, '*n 4']:
    """The inverse of `encode_boxes`; `dw / ww` and `dh / wh` end at `LONGEST_STEP`, above alone.

    `anchors` may have sides of 1 where `codes` have classes: `n 1 4` beside `n k 4`.
    """
    x, y, w, h = _centre_and_size(anchors)
    dx, dy, dw, dh = (d / weight for d, weight in zip(_sides(codes), weights, strict=True))
    x, y = dx * w + x, dy * h + y
    half_w = 0.5 * (jnp.exp(jnp.minimum(dw, LONGEST_STEP)) * w)
    half_h = 0.5 * (jnp.exp(jnp.minimum(dh, LONGEST_STEP)) * h)
    return jnp.stack([x - half_w, y - half_h, x + half_w, y + half_h], axis=-1)


def _sides(boxes: Array) -> tuple[Array, ...]:
    return tuple(boxes[..., i].astype(jnp.float32) for i in range(4))


def _centre_and_size(boxes: Array) -> tuple[Array, ...]:
    """In torchvision's order of operations, to the last bit."""
    x1, y1, x2, y2 = _sides(boxes)
    w, h = x2 - x1, y2 - y1
    return x1 + 0.5 * w, y1 + 0.5 * h, w, h
