"""Region Proposal Network: Ren et al., "Faster R-CNN", section 3, on every level of a pyramid.

p2 ... p6 --RPNHead--> logit and code of each anchor --select_proposals--> about 1000 boxes
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from segjax import ops
from segjax.layers import Conv
from segjax.models.mask_rcnn.anchors import Flavor
from segjax.models.mask_rcnn.layers import ConvTower

SMALL_NORMAL = nn.initializers.normal(0.01)
SMALLEST_SIDE = 1e-3  # torchvision's `min_size` of a proposal, in pixels


class Levels(NamedTuple):
    """What the RPN says of every anchor; the anchors of level i are `n_i` in a row.

    Attributes:
      logits: of being an object.
      codes: of the box that is meant (`ops.encode_boxes`).
      anchors: see anchors.py.
      inside: whether the anchor's cell belongs to the picture; others are no anchors.
    """

    logits: Float[Array, 'n']
    codes: Float[Array, 'n 4']
    anchors: Float[Array, 'n 4']
    inside: Bool[Array, 'n']


class Boxes(NamedTuple):
    """Boxes of a picture, best first."""

    boxes: Float[Array, 'r 4']
    logits: Float[Array, 'r']
    valid: Bool[Array, 'r']


class RPNHead(nn.Module):
    """A convolution that all levels share, then a logit and a code for each anchor of a cell.

    Attributes:
      num_anchors: of a cell.
      features: of the convolutions.
      depth: how many; torchvision's version 2 has two.
    """

    num_anchors: int
    features: int
    depth: int = 1
    dtype: str = 'float32'

    def setup(self):
        """The shared convolutions and the two predictors."""
        self.tower = ConvTower(
            self.features, self.depth, kernel_init=SMALL_NORMAL, dtype=self.dtype
        )
        predict = lambda outputs: Conv(outputs, 1, kernel_init=SMALL_NORMAL, dtype=self.dtype)
        self.cls_logits = predict(self.num_anchors)
        self.bbox_pred = predict(4 * self.num_anchors)

    def __call__(self, x: Float[Array, 'b h w c']) -> tuple[Array, Array]:
        """Logits `b n` and codes `b n 4` in the order (row, column, anchor), float32."""
        x = self.tower(x, train=False)
        logits = self.cls_logits(x).astype(jnp.float32)
        codes = self.bbox_pred(x).astype(jnp.float32)
        return logits.reshape(len(x), -1), codes.reshape(len(x), -1, 4)


def _best_of_level(
    level: Levels, size: Int[Array, '2'], *, candidates: int, threshold: float, flavor: Flavor
) -> Boxes:
    """The boxes of the best anchors of a level without those that overlap better ones."""
    logits = jnp.where(level.inside, level.logits, -jnp.inf)
    best, at = lax.top_k(logits, min(candidates, len(logits)))
    boxes = ops.decode_boxes(level.codes[at], level.anchors[at])
    boxes = ops.clip_boxes(boxes, size)
    sides = boxes[:, 2:] - boxes[:, :2]
    large = sides >= SMALLEST_SIDE if flavor == 'torchvision' else sides > 0
    allowed = jnp.isfinite(best) & jnp.all(large, axis=-1)
    scores = jnp.where(allowed, best, -jnp.inf)
    kept, valid = ops.nms(boxes, scores, iou_threshold=threshold, max_outputs=len(best))
    return Boxes(boxes[kept], best[kept], valid)


def select_proposals(
    levels: tuple[Levels, ...],
    size: Int[Array, '2'],
    *,
    candidates: int,
    outputs: int,
    threshold: float,
    flavor: Flavor,
) -> Boxes:
    """The best boxes of all levels of one picture.

    On each level the best `candidates` anchors become boxes, which are clipped to the picture and
    thinned out by non-maximum suppression; the best `outputs` of what is left of all levels are the
    proposals. No gradient passes. torchvision compares levels by the sigmoid of their logits, in
    float32, where high ones tie; detectron2 by the logits.

    Args:
      size: height and width of the picture.
      threshold: IoU above which the worse of two boxes of a level is dropped.
    """
    levels = lax.stop_gradient(levels)
    found = [
        _best_of_level(level, size, candidates=candidates, threshold=threshold, flavor=flavor)
        for level in levels
    ]
    boxes, logits, valid = (jnp.concatenate(parts) for parts in zip(*found, strict=True))
    order = jax.nn.sigmoid(logits) if flavor == 'torchvision' else logits
    _, at = lax.top_k(jnp.where(valid, order, -jnp.inf), min(outputs, len(order)))
    return Boxes(boxes[at], logits[at], valid[at])
