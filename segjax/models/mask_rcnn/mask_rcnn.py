"""Mask R-CNN: He, Gkioxari, Dollar and Girshick, "Mask R-CNN", figures 1 and 4.

    image --ResNet--> c2..c5 --FPN--> p2..p6 --RPN--> proposals          (rpn.py, anchors.py)
                                       |                  |
                                    p2..p5 --RoIAlign-----+--> 7x7   --box head-->  classes, boxes
                                       |                  |                             |
                                       +-----RoIAlign-----|--> 14x14 --mask head--> 28x28 masks

Everything has a fixed size: so many proposals, so many detections, each with a flag whether it is
one. Training passes through `proposals` and `heads`, between which tasks/instance.py samples
regions; `__call__` goes from pixels to detections. With `with_mask=False` it is Faster R-CNN.

`trunk='c4'` is the network of figure 4, left: regions are taken from c4, and the last stage of the
ResNet is the head that boxes and masks share. `trunk='c5'` takes them from c5 at stride 32 (table
2d), with the heads of FPN.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from segjax.backbones import ResNet
from segjax.backbones.atrous import Sampling
from segjax.backbones.resnet import BLOCKS, HE_NORMAL_OUT, Stage
from segjax.layers import BatchNorm, Conv, FrozenBatchNorm, round_up
from segjax.models.mask_rcnn.anchors import Flavor, cell_anchors, level_anchors
from segjax.models.mask_rcnn.box_head import BoxHead, BoxPredictor, Found, select_detections
from segjax.models.mask_rcnn.fpn import FPN
from segjax.models.mask_rcnn.mask_head import MaskHead, mask_probabilities
from segjax.models.mask_rcnn.roi_features import RoiOp, roi_features
from segjax.models.mask_rcnn.rpn import Levels, RPNHead, select_proposals
from segjax.models.mask_rcnn.valid_area import (
    DIVISOR,
    inside,
    kept_inside,
    padded_size,
    zero_outside,
)
from segjax.types import Detections, UserError, check_ranges

DEPTHS: dict[str, Literal[18, 34, 50, 101]] = {
    'resnet18': 18,
    'resnet34': 34,
    'resnet50': 50,
    'resnet101': 101,
}
STRIDES = {'fpn': (4, 8, 16, 32, 64), 'c4': (16,), 'c5': (32,)}

_POSITIVE = (
    *('backbone_width', 'width', 'fc_features', 'anchor_sizes', 'max_detections'),
    *('pre_nms_train', 'pre_nms', 'post_nms_train', 'post_nms', 'detection_candidates'),
)
_SHARES = ('rpn_nms_threshold', 'score_threshold', 'nms_threshold', 'norm_epsilon')
_RANGES: dict[str, tuple[float, float]] = {
    'num_classes': (2, math.inf),
    'anchor_ratios': (0.01, 100),
    **dict.fromkeys(_POSITIVE, (1, math.inf)),
    **dict.fromkeys(_SHARES, (0, 1)),
}


def _whole(image: Array) -> Int[Array, 'b 2']:
    """The sizes of pictures that fill their canvas."""
    return jnp.broadcast_to(jnp.asarray(image.shape[1:3], jnp.int32)[None], (len(image), 2))


class Proposals(NamedTuple):
    """The first stage's result for a batch.

    Attributes:
      features: maps from which regions are taken, the finest first.
      rpn: what the RPN says of every anchor of all levels in a row.
      boxes, valid: the proposals, best first.
    """

    features: tuple[Float[Array, 'b h w c'], ...]
    rpn: Levels  # with a leading b
    boxes: Float[Array, 'b r 4']
    valid: Bool[Array, 'b r']


class Heads(NamedTuple):
    """The second stage's result for `b r` regions, and for the first s of each picture their masks.

    Attributes:
      logits: of the classes.
      codes: of a box for each class but the background.
      masks: logits, of the class that was asked for or, where classes compete, of all.
    """

    logits: Float[Array, 'b r k']
    codes: Float[Array, 'b r k1 4']
    masks: Float[Array, 'b s m m k2'] | None


class MaskRCNN(nn.Module):
    """Mask R-CNN over a ResNet.

    Attributes:
      num_classes: with the background, which is class 0.
      version: torchvision's: 2 normalises batches everywhere, has two convolutions in the RPN and
        four in the box head.
      flavor: whose rules hold: rounding of anchors, strides, RoIAlign's sampling, losses, first
        values. Anchors of 'torchvision' are rounded.
      with_mask: False is Faster R-CNN.
      trunk: see the head of this file.
      backbone, backbone_width: a ResNet with so many channels in its stem.
      width: channels of FPN and of the heads' convolutions.
      fc_features: of the heads' fully connected layers.
      norm: of the backbone; 'version' is 'frozen' in version 1 and 'batch' in version 2.
      norm_epsilon: of the backbone's normalisation; torchvision's published weights of version 1
        want 0.
      roi_op: RoIAlign, Fast R-CNN's RoIPool or MNC's RoIWarp (table 2c).
      mask_head: convolutional or fully connected (table 2e).
      mask_loss: a mask of its own for each class, or classes that compete for pixels (table 2b).
      class_agnostic_mask: one mask whatever the class.
      anchor_sizes: in pixels: one for each level of FPN, all of them on a single map.
      anchor_ratios: height over width.
      pre_nms_train, pre_nms: anchors of a level that become boxes, in training and else.
      post_nms_train, post_nms: boxes that leave the RPN; detectron2's FPN has 1000 in training.
      rpn_nms_threshold: IoU above which the worse of two boxes of a level is dropped.
      score_threshold, nms_threshold: of detections; IoU counts within a class.
      max_detections: of a picture; there is no other limit.
      detection_candidates: boxes that enter the last suppression; `Detections.dropped` counts what
        did not fit.
      remat: recompute the backbone's blocks in the backward pass.
      dtype: compute type; boxes, overlaps and logits are float32.

    Raises:
      UserError: fields that do not go together.
    """

    num_classes: int
    version: Literal[1, 2] = 1
    flavor: Flavor = 'torchvision'
    with_mask: bool = True
    trunk: Literal['fpn', 'c4', 'c5'] = 'fpn'
    backbone: Literal['resnet18', 'resnet34', 'resnet50', 'resnet101'] = 'resnet50'
    backbone_width: int = 64
    width: int = 256
    fc_features: int = 1024
    norm: Literal['version', 'frozen', 'batch'] = 'version'
    norm_epsilon: float = 1e-5
    roi_op: RoiOp = 'align'
    mask_head: Literal['fcn', 'mlp'] = 'fcn'
    mask_loss: Literal['sigmoid', 'softmax'] = 'sigmoid'
    class_agnostic_mask: bool = False
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    pre_nms_train: int = 2000
    pre_nms: int = 1000
    post_nms_train: int = 2000
    post_nms: int = 1000
    rpn_nms_threshold: float = 0.7
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    max_detections: int = 100
    detection_candidates: int = 4096
    remat: bool = False
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    def setup(self):
        """The parts of the figure; c4 has the last stage of its ResNet as the head."""
        self._check_fields()
        fpn, c4 = self.trunk == 'fpn', self.trunk == 'c4'
        heads_norm = 'batch' if self.version == 2 else 'none'
        self.body = self._backbone()
        if fpn:
            self.fpn = FPN(self.width, heads_norm, self.dtype)
        anchors = len(self.anchor_ratios) * (1 if fpn else len(self.anchor_sizes))
        rpn_width = self.width if fpn else self._channels(4 if c4 else 5)
        self.rpn = RPNHead(anchors, rpn_width, self.version, self.dtype)
        if c4:
            self.layer4 = self._last_stage()
        else:
            kind = 'conv' if self.version == 2 else 'mlp'
            self.box_head = BoxHead(self.fc_features, self.width, kind, self.flavor, self.dtype)
        self.box_predictor = BoxPredictor(self.num_classes, self.flavor, self.dtype)
        if self.with_mask:
            self.mask_branch = MaskHead(
                self.num_classes,
                'res5' if c4 else self.mask_head,
                self.mask_loss,
                self.class_agnostic_mask,
                self.width,
                self.fc_features,
                heads_norm,
                self.flavor,
                self.dtype,
                name='mask_head',
            )

    def _check_fields(self) -> None:
        check_ranges(self, **_RANGES)
        if not (self.anchor_sizes and self.anchor_ratios):
            name = 'anchor_ratios' if self.anchor_sizes else 'anchor_sizes'
            raise UserError(f'--{name}=: must be one number or more.')
        levels = len(STRIDES['fpn'])
        if self.trunk == 'fpn' and len(self.anchor_sizes) != levels:
            given = ','.join(map(str, self.anchor_sizes))
            raise UserError(
                f'anchor_sizes={given}: FPN has {levels} levels, p2 to p6, with a size for each'
            )
        if self.trunk == 'c4' and self.mask_head != 'fcn':
            raise UserError(
                'mask_head=mlp is a field of --trunk=fpn and c5; the masks of c4 come from layer4'
            )

    @property
    def _norm(self) -> Literal['frozen', 'batch']:
        if self.norm == 'version':
            return 'frozen' if self.version == 1 else 'batch'
        return self.norm

    def _channels(self, k: int) -> int:
        """Of cK."""
        return self.backbone_width * 2 ** (k - 2) * (4 if DEPTHS[self.backbone] >= 50 else 1)

    def _backbone(self) -> nn.Module:
        return ResNet(
            DEPTHS[self.backbone],
            width=self.backbone_width,
            bn_epsilon=self.norm_epsilon,
            remat=self.remat,
            dtype=self.dtype,
            stages=3 if self.trunk == 'c4' else 4,
            norm=self._norm,
            name=self.backbone,
        )

    def _last_stage(self) -> nn.Module:
        """The ResNet's layer4, which in C4 networks follows RoIAlign."""
        norm = FrozenBatchNorm if self._norm == 'frozen' else BatchNorm
        first, later = Sampling(2, 1, 1), Sampling(1, 1, 1)
        return Stage(
            8 * self.backbone_width,
            (first,) + (later,) * (BLOCKS[DEPTHS[self.backbone]][3] - 1),
            DEPTHS[self.backbone] >= 50,
            self.remat,
            partial(Conv, use_bias=False, kernel_init=HE_NORMAL_OUT, dtype=self.dtype),
            partial(norm, epsilon=self.norm_epsilon, dtype=self.dtype),
        )

    def _levels(self, image: Array, train: bool) -> tuple[Array, ...]:
        """The maps that the RPN looks at."""
        maps = self.body(image, train=train)
        return self.fpn(maps, train=train) if self.trunk == 'fpn' else (maps[self.trunk],)

    def proposals(
        self,
        image: Float[Array, 'b h w c'],
        *,
        sizes: Int[Array, 'b 2'] | None = None,
        train: bool,
    ) -> Proposals:
        """The first stage: from pixels to boxes that may hold an object.

        Args:
          image: normalised; sides that are no multiples of 32 are filled up with zeros.
          sizes: height and width of each picture in its canvas; default: the whole of it.
        """
        size = image.shape[1], image.shape[2]
        h, w = canvas = round_up(size, DIVISOR)
        x = jnp.pad(image, ((0, 0), (0, h - size[0]), (0, w - size[1]), (0, 0)))
        with nullcontext() if sizes is None else kept_inside(sizes, canvas):
            if sizes is not None:
                x = zero_outside(x, sizes, canvas)
            maps = self._levels(x, train)
            found = [self.rpn(level) for level in maps]
        if sizes is None:
            sizes = _whole(image)
        levels = tuple(
            Levels(logits, codes, *self._anchors(sizes, i, (level.shape[1], level.shape[2])))
            for i, (level, (logits, codes)) in enumerate(zip(maps, found, strict=True))
        )
        select = partial(
            select_proposals,
            candidates=self.pre_nms_train if train else self.pre_nms,
            outputs=self.post_nms_train if train else self.post_nms,
            threshold=self.rpn_nms_threshold,
            flavor=self.flavor,
        )
        boxes = jax.vmap(select)(levels, sizes)
        every = Levels(*(jnp.concatenate(parts, axis=1) for parts in zip(*levels, strict=True)))
        return Proposals(maps[:4], every, boxes.boxes, boxes.valid)

    def _anchors(self, sizes: Array, level: int, cells: tuple[int, int]) -> tuple[Array, Array]:
        """`b n 4` and `b n`: the anchors of a level, and whether they belong to the picture."""
        fpn, stride = self.trunk == 'fpn', STRIDES[self.trunk][level]
        of_level = self.anchor_sizes[level : level + 1] if fpn else self.anchor_sizes
        about_zero = cell_anchors(of_level, self.anchor_ratios, self.flavor)
        place = lambda size: level_anchors(size, cells, stride, about_zero, self.flavor)
        within = inside(padded_size(sizes), cells, stride).reshape(len(sizes), -1)
        return jax.vmap(place)(sizes), jnp.repeat(within, len(about_zero), axis=1)

    def heads(
        self,
        features: tuple[Array, ...],
        rois: Float[Array, 'b r 4'],
        classes: Int[Array, 'b s'],
        *,
        sizes: Int[Array, 'b 2'] | None,
        train: bool,
    ) -> Heads:
        """The second stage: from regions to classes, boxes and masks.

        Args:
          features: those of `proposals`.
          rois: regions in pixels of the canvas.
          classes: of the first s regions: whose masks are wanted, and of which class.
          sizes: see `proposals`.
        """
        maps = self._box_maps(features, rois, sizes, train)
        logits, codes = self._classes_and_codes(maps, rois.shape[:2], train)
        if not self.with_mask:
            return Heads(logits, codes, None)
        slots = classes.shape[1]
        if self.trunk == 'c4':
            maps = maps.reshape(*rois.shape[:2], *maps.shape[1:])[:, :slots]
            maps = maps.reshape(-1, *maps.shape[2:])
        else:
            maps = self._regions(features, rois[:, :slots], sizes, 14)
        masks = self.mask_branch(maps, classes.reshape(-1), train=train)
        return Heads(logits, codes, masks.reshape(*classes.shape, *masks.shape[1:]))

    def __call__(
        self,
        image: Float[Array, 'b h w c'],
        *,
        sizes: Int[Array, 'b 2'] | None = None,
        train: bool = False,
    ) -> Detections:
        """From pixels to the objects of each picture, their boxes in pixels of the canvas.

        Args:
          image, sizes: see `proposals`.
        """
        found = self.proposals(image, sizes=sizes, train=train)
        shape = found.boxes.shape[:2]
        if sizes is None:
            sizes = _whole(image)
        maps = self._box_maps(found.features, found.boxes, sizes, train)
        logits, codes = self._classes_and_codes(maps, shape, train)
        select = partial(
            select_detections,
            score_threshold=self.score_threshold,
            nms_threshold=self.nms_threshold,
            candidates=self.detection_candidates,
            max_detections=self.max_detections,
            flavor=self.flavor,
        )
        best = jax.vmap(select)(logits, codes, found.boxes, found.valid, sizes)
        masks = None
        if self.with_mask:
            masks = self._mask_probabilities(found.features, best, sizes, train)
        return Detections(best.boxes, best.scores, best.classes, masks, best.valid, best.dropped)

    def _box_maps(
        self, features: tuple[Array, ...], rois: Array, sizes: Array | None, train: bool
    ) -> Array:
        """`n 7 7 c`, what the box head sees of all regions; in C4 networks the mask head, too."""
        if self.trunk == 'c4':
            return self.layer4(self._regions(features, rois, sizes, 14), train)
        return self._regions(features, rois, sizes, 7)

    def _classes_and_codes(
        self, maps: Array, shape: tuple[int, ...], train: bool
    ) -> tuple[Array, Array]:
        """Class logits `b r k` and codes `b r k-1 4`."""
        if self.trunk == 'c4':
            vectors = jnp.mean(maps, axis=(1, 2))
        else:
            vectors = self.box_head(maps, train=train)
        logits, codes = self.box_predictor(vectors)
        return logits.reshape(*shape, -1), codes.reshape(*shape, -1, 4)

    def _mask_probabilities(
        self, features: tuple[Array, ...], best: Found, sizes: Array, train: bool
    ) -> Array:
        """`b d m m` of detections."""
        if self.trunk == 'c4':
            maps = self._box_maps(features, best.boxes, sizes, train)
        else:
            maps = self._regions(features, best.boxes, sizes, 14)
        of_each = best.classes.reshape(-1)
        logits = self.mask_branch(maps, of_each, train=train)
        found = mask_probabilities(logits, of_each, self.mask_loss, self.class_agnostic_mask)
        return found.reshape(*best.classes.shape, *found.shape[1:])

    def _regions(
        self, features: tuple[Array, ...], rois: Array, sizes: Array | None, side: int
    ) -> Array:
        """`n side side c`, the features of all regions of all pictures."""
        regions = roi_features(
            features,
            rois,
            strides=STRIDES[self.trunk],
            side=side,
            op=self.roi_op,
            flavor=self.flavor,
            sizes=sizes,
        )
        return regions.reshape(-1, *regions.shape[2:])


class FasterRCNN(MaskRCNN):
    """Ren et al., "Faster R-CNN": Mask R-CNN without masks."""

    with_mask: bool = False
