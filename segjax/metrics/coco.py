"""COCO's average precision and recall of boxes and masks.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; the counting is that of
cocodataset/cocoapi (cocoeval.py), done by faster-coco-eval, with pycocotools as the reference that
tests compare with. What is averaged and printed is computed here, from its table of precisions:
cocoapi's own summary expects maxDets of 1, 10 and 100.

Ground truth and detections are dictionaries as in COCO's json files; class ids are whatever both
agree on.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

Kind = Literal['bbox', 'segm']
Annotation = dict[str, Any]

THRESHOLDS = tuple(k / 100 for k in range(50, 100, 5))  # of the IoU
AREAS = ('all', 'small', 'medium', 'large')  # of the objects; 32 and 96 squared pixels part them
RECALLS = np.linspace(0, 1, 101)  # at which precision is read


class CocoScores(NamedTuple):
    """Letters: t thresholds of the IoU, r recalls, k classes, a areas, m limits of detections.

    -1 stands where there is no ground truth.
    """

    precision: np.ndarray  # t r k a m, the best precision at this recall or a larger one
    recall: np.ndarray  # t k a m, the largest
    max_dets: tuple[int, ...]  # detections of an image that count, in rising order

    def ap(
        self,
        *,
        threshold: float | None = None,
        area: str = 'all',
        place: int | None = None,
    ) -> float:
        """Mean precision over recalls, classes and thresholds; NaN without ground truth.

        Args:
          threshold: one of THRESHOLDS; None for all.
          place: of a single class.
        """
        found = self.precision[:, :, :, AREAS.index(area), -1]
        return _mean(_part(found, threshold, place, axis=2))

    def ar(self, *, max_dets: int, area: str = 'all') -> float:
        """Mean of the largest recalls over classes and thresholds; NaN without ground truth."""
        return _mean(self.recall[:, :, AREAS.index(area), self.max_dets.index(max_dets)])

    def summary(self) -> dict[str, float]:
        """The twelve numbers of cocoapi, in its order, for any limits of detections."""
        found = {
            'ap': self.ap(),
            'ap50': self.ap(threshold=0.5),
            'ap75': self.ap(threshold=0.75),
        }
        found |= {f'ap_{area}': self.ap(area=area) for area in AREAS[1:]}
        found |= {f'ar{number}': self.ar(max_dets=number) for number in self.max_dets}
        most = self.max_dets[-1]
        return found | {f'ar_{area}': self.ar(max_dets=most, area=area) for area in AREAS[1:]}

    def curve(self, *, threshold: float) -> np.ndarray:
        """Precision over RECALLS, the mean of the classes that occur; `r`, NaN if none does."""
        found = self.precision[THRESHOLDS.index(threshold), :, :, 0, -1]
        occurs = (found > -1).all(axis=0)
        return found[:, occurs].mean(axis=1) if occurs.any() else np.full(len(RECALLS), np.nan)


def _part(found: np.ndarray, threshold: float | None, place: int | None, *, axis: int) -> Any:
    if threshold is not None:
        found = found[[THRESHOLDS.index(threshold)]]
    return found if place is None else found.take([place], axis=axis)


def _mean(values: np.ndarray) -> float:
    there = values[values > -1]
    return float(there.mean()) if there.size else float('nan')


def _classes(backend: str) -> tuple[Any, Any]:
    if backend == 'pycocotools':
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    from faster_coco_eval import COCO, COCOeval_faster

    return COCO, COCOeval_faster


def _index(make: Any, dataset: dict[str, Any]) -> Any:
    found = make()
    found.dataset = dataset
    found.createIndex()
    return found


def _numbered(objects: Sequence[Annotation], kind: Kind) -> list[Annotation]:
    """Detections as cocoeval wants them: ids from 1, areas of the boxes or of the masks."""
    if kind == 'bbox':
        area = [o['bbox'][2] * o['bbox'][3] for o in objects]
    else:
        from pycocotools import mask

        # one by one: pycocotools 2.0.11 cannot count more than 255 at once under NumPy 2
        area = [float(mask.area(o['segmentation'])) for o in objects]
    return [
        {**o, 'id': number, 'area': a, 'iscrowd': 0}
        for number, (o, a) in enumerate(zip(objects, area, strict=True), start=1)
    ]


def evaluate_detections(
    images: Sequence[Annotation],
    annotations: Sequence[Annotation],
    detections: Sequence[Annotation],
    *,
    kind: Kind,
    class_ids: Sequence[int],
    max_dets: tuple[int, ...],
    backend: Literal['faster', 'pycocotools'],
) -> CocoScores:
    """Match detections with ground truth and count.

    Args:
      images: `id`, `height`, `width`; those without objects or detections, too.
      annotations: `image_id`, `category_id`, `bbox` (x, y, w, h), `area`, `iscrowd`, and for 'segm'
        `segmentation` (run lengths or polygons).
      detections: `image_id`, `category_id`, `score`, and `bbox`, or for 'segm' `segmentation` as
        compressed run lengths.
      class_ids: the classes, in the order of the result.
      max_dets: rising; the last is the limit of the average precision.
      backend: who counts.
    """
    make, evaluation = _classes(backend)
    categories = [{'id': i, 'name': str(i)} for i in sorted(class_ids)]
    common = {'images': list(images), 'categories': categories, 'info': {}}
    # an id of 0 would stand for "not matched"
    known = [{**o, 'id': number} for number, o in enumerate(annotations, start=1)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        truth = _index(make, common | {'annotations': known})
        found = _index(make, common | {'annotations': _numbered(detections, kind)})
        counted = evaluation(truth, found, kind)
        counted.params.imgIds = sorted(image['id'] for image in images)
        counted.params.maxDets = list(max_dets)
        counted.evaluate()
        counted.accumulate()
    places = [sorted(class_ids).index(i) for i in class_ids]
    return CocoScores(
        precision=np.asarray(counted.eval['precision'])[:, :, places],
        recall=np.asarray(counted.eval['recall'])[:, places],
        max_dets=tuple(max_dets),
    )
