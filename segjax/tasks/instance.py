"""Detection of objects, with masks or without: how Mask R-CNN meets a batch.

Ren et al., "Faster R-CNN", section 3.1.2; He et al., "Mask R-CNN", section 3. What is left open
there follows the model's flavour:

                      torchvision                          detectron2
    RPN's logits      mean over the sampled anchors        sum / (256 pictures)
    RPN's codes       smooth L1, beta 1/9, likewise        L1, likewise
    classes           mean over the sampled regions        the same
    codes of boxes    smooth L1, beta 1/9, likewise        L1, likewise
    masks             mean over pixels of foreground       the same, of targets 0 and 1
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from segjax import ops
from segjax.losses import smooth_l1
from segjax.models.mask_rcnn import Heads, Proposals
from segjax.models.mask_rcnn.box_head import CODE_WEIGHTS
from segjax.models.mask_rcnn.rpn import Levels
from segjax.tasks.semantic import Step, Terms, Variables
from segjax.types import Array, Batch, Detections, Instances, check_ranges


class Objects(NamedTuple):
    """The objects of a picture that are looked for."""

    boxes: Float[Array, 'g 4']
    classes: Int[Array, 'g']
    valid: Bool[Array, 'g']


class Anchors(NamedTuple):
    """The anchors of a picture that are trained."""

    index: Int[Array, 'm']
    foreground: Bool[Array, 'm']
    sampled: Bool[Array, 'm']
    boxes: Float[Array, 'm 4']  # of the object each one is to find


class Regions(NamedTuple):
    """The regions of a picture that are trained; the foreground comes first."""

    rois: Float[Array, 'r 4']
    classes: Int[Array, 'r']  # 0: background
    sampled: Bool[Array, 'r']
    object: Int[Array, 'r']  # which one it is to find


def choose_anchors(
    key: PRNGKeyArray,
    rpn: Levels,
    objects: Objects,
    *,
    overlaps: tuple[float, float],
    size: int,
    max_foreground: int,
) -> Anchors:
    """A balanced sample of a picture's anchors.

    Args:
      overlaps: from which IoU an anchor is foreground, below which it is background.
    """
    iou = jnp.where(rpn.inside[None], ops.pairwise_iou(objects.boxes, rpn.anchors), -1)
    found = ops.match(
        iou, objects.valid, foreground=overlaps[0], background=overlaps[1], low_quality=True
    )
    sample = ops.sample_balanced(
        key,
        found.foreground & rpn.inside,
        found.background & rpn.inside,
        size=size,
        max_foreground=max_foreground,
    )
    wanted = objects.boxes[found.index[sample.index]]
    return Anchors(sample.index, sample.foreground, sample.foreground | sample.background, wanted)


def choose_regions(
    key: PRNGKeyArray,
    proposals: Float[Array, 'p 4'],
    valid: Bool[Array, 'p'],
    objects: Objects,
    *,
    overlap: float,
    size: int,
    max_foreground: int,
) -> Regions:
    """A balanced sample of a picture's proposals, its objects' own boxes among them."""
    boxes = lax.stop_gradient(jnp.concatenate([proposals, objects.boxes]))
    valid = jnp.concatenate([valid, objects.valid])
    found = ops.match(
        ops.pairwise_iou(objects.boxes, boxes),
        objects.valid,
        foreground=overlap,
        background=overlap,
    )
    sample = ops.sample_balanced(
        key,
        found.foreground & valid,
        found.background & valid,
        size=size,
        max_foreground=max_foreground,
    )
    of_object = found.index[sample.index]
    classes = jnp.where(sample.foreground, objects.classes[of_object], 0)
    return Regions(boxes[sample.index], classes, sample.foreground | sample.background, of_object)


def _box_loss(codes: Array, boxes: Array, beside: Array, weights: Any, flavor: str) -> Array:
    """The loss of each code `n 4` that is to lead from the boxes `beside` to `boxes`."""
    beta = 1 / 9 if flavor == 'torchvision' else 0.0
    wanted = ops.encode_boxes(boxes, beside, weights=weights)
    return jnp.sum(smooth_l1(codes - wanted, beta=beta), axis=-1)


def _total(values: Array, chosen: Array) -> Array:
    """The sum of the chosen; what the others are, infinities too, makes no difference."""
    return jnp.sum(jnp.where(chosen, values, 0))


def rpn_terms(rpn: Levels, anchors: Anchors, *, flavor: str, size: int) -> Terms:
    """Sums and counts of the first stage, of a picture; `size` is that of a full sample."""
    logits, codes = rpn.logits[anchors.index], rpn.codes[anchors.index]
    target = anchors.foreground.astype(jnp.float32)
    of_logits = optax.sigmoid_binary_cross_entropy(logits, target)
    weights = (1.0, 1.0, 1.0, 1.0)
    of_codes = _box_loss(codes, anchors.boxes, rpn.anchors[anchors.index], weights, flavor)
    count = jnp.sum(anchors.sampled, dtype=jnp.float32)
    if flavor == 'detectron2':
        count = jnp.full((), size, jnp.float32)
    return {
        'rpn_class': (_total(of_logits, anchors.sampled), count),
        'rpn_box': (_total(of_codes, anchors.foreground), count),
    }


def head_terms(heads: Heads, regions: Regions, objects: Objects, *, flavor: str) -> Terms:
    """Sums and counts of classes and boxes, of a picture."""
    of_classes = optax.softmax_cross_entropy_with_integer_labels(heads.logits, regions.classes)
    foreground = regions.classes > 0
    place = jnp.maximum(regions.classes - 1, 0)  # there is no code for the background
    codes = jnp.take_along_axis(heads.codes, place[:, None, None], axis=1)[:, 0]
    wanted = objects.boxes[regions.object]
    of_codes = _box_loss(codes, wanted, regions.rois, CODE_WEIGHTS, flavor)
    count = jnp.sum(regions.sampled, dtype=jnp.float32)
    return {
        'class': (_total(of_classes, regions.sampled), count),
        'box': (_total(of_codes, foreground), count),
    }


def mask_targets(
    instances: Instances, regions: Regions, *, slots: int, side: int, whole: bool, flavor: str
) -> Float[Array, 's m m']:
    """What the masks of the first `slots` regions of a picture are to be.

    Args:
      whole: the instances' masks are those of the whole canvas, not cropped to their boxes.
    """
    rois, of_object = regions.rois[:slots], regions.object[:slots]
    aligned = flavor == 'detectron2'
    options: Any = {'output_size': side, 'aligned': aligned}
    if whole:
        shares = ops.mask_targets(instances.masks, rois, of_object, **options)
    else:
        masks, boxes = instances.masks, instances.boxes
        shares = ops.cropped_mask_targets(masks, boxes, rois, of_object, **options)
    return (shares >= 0.5).astype(jnp.float32) if aligned else shares


def mask_terms(
    logits: Float[Array, 's m m k'],
    target: Float[Array, 's m m'],
    classes: Int[Array, 's'],
    *,
    agnostic: bool,
) -> Terms:
    """Sum and count of the masks of a picture's regions, of those whose class is not 0.

    With one channel the classes do not compete: binary cross-entropy. With several each pixel is of
    the region's class or of the background: cross-entropy after softmax (table 2b).
    """
    if logits.shape[-1] == 1:
        of_pixels = optax.sigmoid_binary_cross_entropy(logits[..., 0], target)
    else:
        wanted = jnp.where(agnostic, 1, classes)[:, None, None]
        label = jnp.where(target >= 0.5, wanted, 0)
        of_pixels = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    foreground = classes > 0
    area = logits.shape[1] * logits.shape[2]
    total = _total(jnp.sum(of_pixels, axis=(1, 2)), foreground)
    return {'mask': (total, area * jnp.sum(foreground, dtype=jnp.float32))}


@dataclasses.dataclass(frozen=True)
class Instance:
    """The task of Mask R-CNN and Faster R-CNN.

    Attributes:
      anchor_foreground, anchor_background: from which IoU with an object an anchor is to find it,
        below which it is to find nothing; those between are not trained.
      anchors: sampled of each picture.
      anchor_share: of them foreground at most.
      roi_foreground: from which IoU a proposal is to find an object; below it is background.
      rois: sampled of each picture.
      roi_share: of them foreground at most; so many masks are trained.
    """

    anchor_foreground: float = 0.7
    anchor_background: float = 0.3
    anchors: int = 256
    anchor_share: float = 0.5
    roi_foreground: float = 0.5
    rois: int = 512
    roi_share: float = 0.25

    def __post_init__(self):
        check_ranges(self, anchors=(1, math.inf), rois=(1, math.inf))
        shares = ('anchor_foreground', 'anchor_background', 'roi_foreground')
        check_ranges(self, **dict.fromkeys((*shares, 'anchor_share', 'roi_share'), (0, 1)))

    def loss(
        self, model: nn.Module, variables: Variables, batch: Batch, key: Array, step: Step = 0
    ) -> tuple[Terms, Variables]:
        """The loss terms as (sum, count) over this batch, and the updated non-parameter variables.

        Which anchors and proposals are sampled depends on the key and on the pictures' ids, not on
        their places in the batch. Crowds are no objects; what overlaps them is background.
        """
        del step
        terms, updates = self._terms(model, variables, batch, key, train=True)
        return {n: (jnp.sum(s), jnp.sum(c)) for n, (s, c) in terms.items()}, updates

    def losses(self, model: nn.Module, variables: Variables, batch: Batch) -> Terms:
        """The terms of each picture, `b` sums and counts, of a model that does not train.

        The samples are always the same, so that evaluations can be compared.
        """
        return self._terms(model, variables, batch, jax.random.key(0), train=False)[0]

    def predict(
        self, model: nn.Module, variables: Variables, image: Array, *, sizes: Array | None = None
    ) -> Detections:
        """The objects in pictures, in pixels of the canvas; `sizes` as for the model."""
        found: Any = model.apply(variables, image, sizes=sizes, train=False)
        return found

    def _terms(
        self, model: Any, variables: Variables, batch: Batch, key: Array, *, train: bool
    ) -> tuple[Terms, Variables]:
        mutable = [name for name in variables if name != 'params' and train]
        given = batch.instances
        assert given is not None, 'a detector is trained with the objects of its pictures'
        present = jnp.ones(len(batch.image), bool) if batch.valid is None else batch.valid
        real = given.valid & ~given.crowd & present[:, None]
        objects = Objects(given.boxes, given.classes, real)
        ids = jnp.arange(len(present)) if batch.image_id is None else batch.image_id
        keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(ids)
        first, updates = model.apply(
            variables, batch.image, sizes=batch.size, train=train, method='proposals',
            mutable=mutable,
        )  # fmt: skip
        anchors = jax.vmap(self._choose_anchors)(keys[:, 0], first.rpn, objects)
        regions = jax.vmap(self._choose_regions)(keys[:, 1], first, objects)
        slots = self._most(self.rois, self.roi_share)
        heads, updates = model.apply(
            {**variables, **updates}, first.features, regions.rois, regions.classes[:, :slots],
            sizes=batch.size, train=train, method='heads', mutable=mutable,
        )  # fmt: skip
        whole = given.masks is not None and given.masks.shape[2:] == batch.image.shape[1:3]
        of_picture = partial(self._of_picture, model, whole)
        terms = jax.vmap(of_picture)(first.rpn, anchors, heads, regions, objects, given)
        weigh = lambda x: jnp.where(present, x, 0)
        return jax.tree.map(weigh, terms), dict(updates)

    def _of_picture(
        self,
        model: Any,
        whole: bool,
        rpn: Levels,
        anchors: Anchors,
        heads: Heads,
        regions: Regions,
        objects: Objects,
        instances: Instances,
    ) -> Terms:
        flavor = model.flavor
        terms = rpn_terms(rpn, anchors, flavor=flavor, size=self.anchors)
        terms |= head_terms(heads, regions, objects, flavor=flavor)
        if heads.masks is not None:
            slots, side = heads.masks.shape[:2]
            target = mask_targets(
                instances, regions, slots=slots, side=side, whole=whole, flavor=flavor
            )
            classes = regions.classes[:slots]
            agnostic = model.class_agnostic_mask
            terms |= mask_terms(heads.masks, target, classes, agnostic=agnostic)
        return terms

    def _most(self, size: int, share: float) -> int:
        return max(int(size * share), 1)

    def _choose_anchors(self, key: Array, rpn: Levels, objects: Objects) -> Anchors:
        return choose_anchors(
            key,
            rpn,
            objects,
            overlaps=(self.anchor_foreground, self.anchor_background),
            size=self.anchors,
            max_foreground=self._most(self.anchors, self.anchor_share),
        )

    def _choose_regions(self, key: Array, first: Proposals, objects: Objects) -> Regions:
        return choose_regions(
            key,
            first.boxes,
            first.valid,
            objects,
            overlap=self.roi_foreground,
            size=self.rois,
            max_foreground=self._most(self.rois, self.roi_share),
        )
