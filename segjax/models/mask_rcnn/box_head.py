"""From the features of regions to classes and boxes: Fast R-CNN's half.

Girshick, "Fast R-CNN"; with FPN two fully connected layers (Lin et al., section 5.2), in
torchvision's version 2 four convolutions and one fully connected layer.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from segjax import ops
from segjax.models.mask_rcnn.anchors import Flavor
from segjax.models.mask_rcnn.fpn import XAVIER
from segjax.models.mask_rcnn.layers import TORCH_LINEAR, ConvTower, FullyConnected

CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
SMALLEST_SIDE = 1e-2  # torchvision's `min_size` of a detection, in pixels


class BoxHead(nn.Module):
    """The features of a region as a vector.

    Attributes:
      features: of the fully connected layers.
      conv_features: of the convolutions, where there are any.
      kind: 'mlp' is fc6 and fc7; 'conv' is four normalised convolutions and fc6.
    """

    features: int = 1024
    conv_features: int = 256
    kind: Literal['mlp', 'conv'] = 'mlp'
    flavor: Flavor = 'torchvision'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: Float[Array, 'n p p c'], *, train: bool) -> Float[Array, 'n m']:
        init = TORCH_LINEAR if self.flavor == 'torchvision' else XAVIER
        if self.kind == 'conv':
            tower = ConvTower(self.conv_features, 4, 'batch', dtype=self.dtype, name='tower')
            x = tower(x, train=train)
        for name in ('fc6',) if self.kind == 'conv' else ('fc6', 'fc7'):
            x = nn.relu(FullyConnected(self.features, init, self.dtype, name=name)(x))
        return x


class BoxPredictor(nn.Module):
    """Class logits `n k`, and the codes `n (k-1) 4` of a box for each class but the background.

    torchvision predicts a box for the background too, which nobody asks for.
    """

    num_classes: int
    flavor: Flavor = 'torchvision'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: Float[Array, 'n c']) -> tuple[Array, Array]:
        torchvision = self.flavor == 'torchvision'
        normal = nn.initializers.normal
        cls_init, box_init = (TORCH_LINEAR,) * 2 if torchvision else (normal(0.01), normal(0.001))
        boxes = self.num_classes if torchvision else self.num_classes - 1
        logits = FullyConnected(self.num_classes, cls_init, self.dtype, name='cls_score')(x)
        codes = FullyConnected(4 * boxes, box_init, self.dtype, name='bbox_pred')(x)
        codes = codes.reshape(-1, boxes, 4)[:, 1 if torchvision else 0 :]
        return logits.astype(jnp.float32), codes.astype(jnp.float32)


class Found(NamedTuple):
    """The detections of a picture, best first.

    Attributes:
      dropped: how many boxes above the score threshold did not fit into the candidates. They were
        the worst; unless fewer boxes than asked for came out, nothing is lost.
    """

    boxes: Float[Array, 'd 4']
    scores: Float[Array, 'd']
    classes: Int[Array, 'd']
    valid: Bool[Array, 'd']
    dropped: Int[Array, '']


def select_detections(
    logits: Float[Array, 'r k'],
    codes: Float[Array, 'r k1 4'],
    rois: Float[Array, 'r 4'],
    valid: Bool[Array, 'r'],
    size: Int[Array, '2'],
    *,
    score_threshold: float,
    nms_threshold: float,
    candidates: int,
    max_detections: int,
    flavor: Flavor,
) -> Found:
    """The best boxes of one picture: each region may become an object of any class.

    Boxes that score above `score_threshold` after softmax are clipped to the picture, thinned out
    class by class, and the best `max_detections` of all classes are left.

    Args:
      size: height and width of the picture.
      candidates: how many boxes enter the suppression at most, the best.
    """
    scores = jax.nn.softmax(logits)[:, 1:]  # without the background
    num_classes = scores.shape[1]
    boxes = ops.clip_boxes(ops.decode_boxes(codes, rois[:, None], weights=CODE_WEIGHTS), size)
    sides = boxes[..., 2:] - boxes[..., :2]
    allowed = valid[:, None] & (scores > score_threshold)
    if flavor == 'torchvision':
        allowed &= jnp.all(sides >= SMALLEST_SIDE, axis=-1)
    flat = jnp.where(allowed, scores, -jnp.inf).reshape(-1)
    best, at = lax.top_k(flat, min(candidates, len(flat)))
    boxes, classes = boxes.reshape(-1, 4)[at], 1 + (at % num_classes).astype(jnp.int32)
    kept, good, _ = ops.classwise_nms(
        boxes, best, classes, iou_threshold=nms_threshold, max_outputs=max_detections
    )
    return Found(
        boxes=jnp.where(good[:, None], boxes[kept], 0),
        scores=jnp.where(good, best[kept], 0),
        classes=jnp.where(good, classes[kept], 0),
        valid=good,
        dropped=jnp.maximum(jnp.sum(allowed) - len(best), 0).astype(jnp.int32),
    )
