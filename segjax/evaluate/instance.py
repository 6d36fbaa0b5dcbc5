"""Evaluation of detectors in the pixels of the original pictures, by COCO's rules.

Every picture is detected once, on its canvas; its boxes are scaled to its own size, its masks
pasted there and kept as run lengths at once: never are there more than a few whole masks. On a CPU
every picture goes through a program of its own, as in semantic.py.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from segjax import ops, processes
from segjax.data.dataset import Source
from segjax.evaluate.semantic import Evaluation
from segjax.metrics.coco import CocoScores, evaluate_detections
from segjax.sharding import Devices, RowByRow
from segjax.tasks import Instance
from segjax.types import Array, Batch, Detections, Instances

PASTED = 64 << 20  # most pixels of masks that are pasted at a time
ROUND_TO = 64  # pixels; the size of the canvas on which masks are pasted: fewer compilations
SHORT = ('ap', 'ap50', 'ap75')  # of COCO's twelve numbers, those that are always shown

RunLengths = dict[str, Any]  # COCO's: size, counts
Size = tuple[int, int]


class Found(NamedTuple):
    """The detections of a picture in its own pixels, best first."""

    boxes: np.ndarray  # n 4   float32
    scores: np.ndarray  # n    float32
    classes: np.ndarray  # n   int32
    masks: tuple[RunLengths, ...] | None  # None of a detector without masks


class InstanceSample(NamedTuple):
    """One picture with what is there and what was found, in its own pixels."""

    image: np.ndarray  # h w c
    known: Instances
    found: Found
    image_id: int


@functools.partial(jax.jit, static_argnames='size')
def _paste(masks: Array, boxes: Array, *, size: Size) -> Array:
    """`n h w` bool."""
    return ops.paste_masks(masks, boxes, size=size) >= 0.5


def encode_masks(masks: Array, boxes: np.ndarray, size: Size) -> tuple[RunLengths, ...]:
    """Masks `n m m` in their boxes `n 4`, pasted into a picture of this size, as run lengths."""
    from pycocotools import mask as coco_mask

    canvas = tuple(math.ceil(side / ROUND_TO) * ROUND_TO for side in size)
    rows = max(1, min(len(boxes), PASTED // math.prod(canvas)))
    found: list[RunLengths] = []
    for first in range(0, len(boxes), rows):
        # the last portion is filled up: one shape, one program
        portion = np.minimum(np.arange(first, first + rows), len(boxes) - 1)
        pasted = np.asarray(_paste(masks[portion], jnp.asarray(boxes[portion]), size=canvas))
        for canvas_mask in pasted[: len(boxes) - first, : size[0], : size[1]]:
            runs: Any = coco_mask.encode(np.asfortranarray(canvas_mask, np.uint8))
            found.append({'size': list(size), 'counts': runs['counts'].decode()})
    return tuple(found)


def rescale(detections: Detections, seen: Size, size: Size) -> Found:
    """The detections of one picture, as the network saw it, in the pixels of a picture of `size`.

    Boxes are clipped to the picture; those of which nothing is left are dropped.
    """
    (seen_h, seen_w), (h, w) = seen, size
    scale = np.array([w / seen_w, h / seen_h] * 2)
    boxes = np.asarray(detections.boxes, np.float64) * scale
    boxes = np.clip(boxes, 0, [w, h, w, h]).astype(np.float32)
    kept = np.asarray(detections.valid) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    boxes, masks = boxes[kept], None
    if detections.masks is not None:
        masks = encode_masks(np.asarray(detections.masks)[kept], boxes, size)
    scores, classes = np.asarray(detections.scores)[kept], np.asarray(detections.classes)[kept]
    return Found(boxes, scores, classes, masks)


def as_coco(found: Found, image_id: int) -> list[dict[str, Any]]:
    """The detections of a picture as COCO's results have them."""
    corners = found.boxes.astype(np.float64)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()
    parts = zip(boxes, found.scores.tolist(), found.classes.tolist(), strict=True)
    objects = [
        {'image_id': image_id, 'bbox': box, 'score': score, 'category_id': category}
        for box, score, category in parts
    ]
    for place, mask in enumerate(found.masks or ()):
        objects[place]['segmentation'] = mask
    return objects


def describe_dropped(number: int, candidates: int) -> str:
    """What is said of boxes that had no place among the candidates of their pictures."""
    return (
        f'{number} boxes, the worst of their pictures, did not enter the last suppression, which '
        f'takes --detection_candidates={candidates}'
    )


class InstanceEvaluator:
    """Gathers what is there and what was found; the order of the pictures does not matter.

    Args:
      num_classes: the background, class 0, among them.
      kinds: 'mask', 'box' or both.
      max_dets: detections of a picture that count, in rising order.
    """

    def __init__(self, num_classes: int, kinds: tuple[str, ...], max_dets: tuple[int, ...]):
        self.num_classes, self.kinds, self.max_dets = num_classes, kinds, max_dets
        self.images: dict[int, dict[str, Any]] = {}
        self.annotations: dict[int, list[dict[str, Any]]] = {}
        self.detections: dict[int, list[dict[str, Any]]] = {}
        self.losses: dict[int, dict[str, list[float]]] = {}  # name to sum and count
        self.dropped = 0  # boxes for which the last suppression had no room
        self.cut = 0  # objects for which the batch, so the loss, had none
        self._scores: dict[str, CocoScores] = {}  # of all pictures so far

    def update(
        self,
        image_id: int,
        size: Size,
        annotations: list[dict[str, Any]],
        detections: list[dict[str, Any]],
        *,
        losses: dict[str, list[float]] | None = None,
        dropped: int = 0,
        cut: int = 0,
    ) -> None:
        """Add a picture. Raises ValueError for one that came before."""
        if image_id in self.images:
            raise ValueError(f'image {image_id} came twice')
        self._scores.clear()
        self.images[image_id] = {'id': image_id, 'height': size[0], 'width': size[1]}
        self.annotations[image_id] = [{**a, 'image_id': image_id} for a in annotations]
        self.detections[image_id] = detections
        self.losses[image_id] = losses or {}
        self.dropped += dropped
        self.cut += cut

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All that was added, as `merge` of another evaluator takes it."""
        pictures = [self.images, self.annotations, self.detections, self.losses]
        parts = [*pictures, self.dropped, self.cut]
        return {'json': np.frombuffer(json.dumps(parts).encode(), np.uint8)}

    def merge(self, arrays: dict[str, np.ndarray]) -> None:
        """Add what another evaluator gathered. Raises ValueError for a picture that both saw."""
        *pictures, dropped, cut = json.loads(arrays['json'].tobytes())
        images, annotations, detections, losses = pictures
        for name, image in images.items():
            size = image['height'], image['width']
            own = annotations[name], detections[name]
            self.update(int(name), size, *own, losses=losses[name])
        self.dropped += dropped
        self.cut += cut

    def scores(self, kind: str, image_ids: Sequence[int] | None = None) -> CocoScores:
        """COCO's table of precisions, of some pictures or all; `kind` is 'mask' or 'box'."""
        if image_ids is not None:
            return self._count(kind, image_ids)
        if kind not in self._scores:
            self._scores[kind] = self._count(kind, self.images)
        return self._scores[kind]

    def _count(self, kind: str, image_ids: Iterable[int]) -> CocoScores:
        ids = sorted(image_ids)
        return evaluate_detections(
            [self.images[i] for i in ids],
            [o for i in ids for o in self.annotations[i]],
            [o for i in ids for o in self.detections[i]],
            kind='segm' if kind == 'mask' else 'bbox',
            class_ids=range(1, self.num_classes),
            max_dets=self.max_dets,
            backend='faster',
        )

    def compute(self) -> dict[str, float]:
        """`loss`; `mask_ap`, `box_ap`, ... and the rest of COCO's numbers as `mask/ap_small`."""
        found: dict[str, float] = {}
        if terms := self._loss_terms():
            found = {'loss': sum(terms.values()), **{f'loss/{n}': v for n, v in terms.items()}}
        for kind in self.kinds:
            for name, value in self.scores(kind).summary().items():
                found[f'{kind}_{name}' if name in SHORT else f'{kind}/{name}'] = value
        found['dropped/candidates'], found['dropped/objects'] = float(self.dropped), float(self.cut)
        return found

    def _loss_terms(self) -> dict[str, float]:
        names = next(iter(self.losses.values()), {})
        parts = {name: [self.losses[i][name] for i in sorted(self.losses)] for name in names}
        total = lambda part, place: math.fsum(pair[place] for pair in part)
        return {name: total(part, 0) / max(total(part, 1), 1) for name, part in parts.items()}


class InstanceEvaluation:
    """A compiled evaluation; each canvas is compiled once.

    Args:
      mean, std: normalisation of the image, in its own units.
      num_classes: of the data, the background among them.
      source: of the pictures: their sizes and objects.
      max_dets: detections of a picture that count in COCO's scores, in rising order.
      devices: default: all of this process.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Instance,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        num_classes: int,
        source: Source,
        max_dets: tuple[int, ...] = (1, 10, 100),
        devices: Devices | None = None,
    ):
        self._source = source
        kinds = ('mask', 'box') if getattr(model, 'with_mask', True) else ('box',)
        self._make = lambda: InstanceEvaluator(num_classes, kinds, max_dets)
        self.best_metric = f'{kinds[0]}_ap'

        def detect(variables: dict, batch: Batch) -> tuple[Detections, dict[str, Any]]:
            rows = batch._replace(image=ops.normalize(batch.image, mean, std))
            found = task.predict(model, variables, rows.image, sizes=rows.size)
            return found, task.losses(model, variables, rows)

        self._detect = RowByRow(detect, devices)

    def rows(self, batch_size: int) -> int:
        """How many images are computed at once: one a device on a CPU."""
        return self._detect.rows(batch_size)

    def __call__(
        self,
        variables: dict,
        batches: Iterable[Batch],
        *,
        sample_ids: frozenset[int] = frozenset(),
        host_scores: bool = True,
        check: Callable[[], object] = lambda: None,
    ) -> Evaluation:
        """Evaluate; each image of `batches` counts once.

        Args:
          batches: of `rows(...)` rows each.
          sample_ids: images whose detections are wanted.
          host_scores: for other tasks; all scores of this one are of the host.
          check: called between batches; may raise.
        """
        del host_scores
        variables = self._detect.place_state(variables)
        evaluator, samples = self._make(), []
        for batch in batches:
            check()
            found, losses = self._detect(variables, batch)
            found, losses = jax.tree.map(np.asarray, (found, losses))
            for row in np.flatnonzero(batch.valid).tolist():
                image_id, own = int(batch.image_id[row]), self._at_home(batch, found, row)
                self._update(evaluator, batch, own, found, losses, row)
                if image_id in sample_ids:
                    samples.append(self._sample(image_id, own))
        if jax.process_count() > 1:
            evaluator, samples = self._gather(evaluator, samples)
        return Evaluation(evaluator.compute(), evaluator, len(evaluator.images), samples, {})

    def _at_home(self, batch: Batch, found: Detections, row: int) -> Found:
        own = jax.tree.map(lambda part: part[row], found)
        h, w = (int(side) for side in batch.size[row])
        return rescale(own, (h, w), self._source.size(int(batch.image_id[row])))

    def _update(
        self, evaluator: InstanceEvaluator, batch: Batch, own: Found, found: Any, losses, row: int
    ) -> None:
        image_id, known = int(batch.image_id[row]), batch.instances
        evaluator.update(
            image_id,
            self._source.size(image_id),
            self._source.annotations(image_id),
            as_coco(own, image_id),
            losses={n: [float(s[row]), float(c[row])] for n, (s, c) in losses.items()},
            dropped=int(found.dropped[row]),
            cut=0 if known is None or known.cut is None else int(known.cut[row]),
        )

    def sample(self, evaluator: InstanceEvaluator, image_id: int) -> InstanceSample:
        """A picture, read again, with what an evaluator has of it."""
        return self._sample(image_id, from_coco(evaluator.detections[image_id]))

    def _sample(self, image_id: int, found: Found) -> InstanceSample:
        picture = self._source[image_id]
        assert picture.instances is not None
        return InstanceSample(picture.image, picture.instances, found, image_id)

    def _gather(
        self, evaluator: InstanceEvaluator, samples: list[InstanceSample]
    ) -> tuple[InstanceEvaluator, list[InstanceSample]]:
        """What all processes found, on each of them; samples are read again from the source."""
        everyone = self._make()
        for arrays in processes.gather(evaluator.arrays):
            everyone.merge(arrays)
        wanted = processes.gather_values([sample.image_id for sample in samples])
        return everyone, [self.sample(everyone, i) for ids in wanted for i in ids]


def from_coco(detections: Sequence[dict[str, Any]]) -> Found:
    """The detections of a picture from COCO's results, best first."""
    objects = sorted(detections, key=lambda o: -o['score'])
    corners = np.array([o['bbox'] for o in objects], np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    masks = tuple(o['segmentation'] for o in objects if 'segmentation' in o)
    return Found(
        boxes=corners.astype(np.float32),
        scores=np.array([o['score'] for o in objects], np.float32),
        classes=np.array([o['category_id'] for o in objects], np.int32),
        masks=masks if masks or not objects else None,
    )
