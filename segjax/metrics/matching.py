"""The objects of one picture against what was detected in it: who finds whom, and how well.

COCO's average precision is of many pictures; this tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

MATCH = 0.5  # IoU from which a detection has found an object


class Objects(NamedTuple):
    """What is there, or what was detected, best first."""

    shapes: Sequence[Any]  # n of COCO's: compressed run lengths, or boxes [x, y, width, height]
    classes: np.ndarray  # n int
    crowd: np.ndarray  # n bool; False of detections


class Matching(NamedTuple):
    """Whom each detection found."""

    partner: np.ndarray  # of m detections the number of the object, -1 for none
    iou: np.ndarray  # m, with it; 0 for none
    spared: np.ndarray  # m bool, in a crowd of its class: neither right nor wrong
    missed: np.ndarray  # of n objects whether nobody found it; never a crowd

    @property
    def right(self) -> int:
        """Detections that found an object."""
        return int((self.partner >= 0).sum())

    @property
    def wrong(self) -> int:
        """Detections that found none and are in no crowd."""
        return int(((self.partner < 0) & ~self.spared).sum())

    @property
    def quality(self) -> float:
        """Panoptic quality of the picture, all classes together; NaN where nothing is there and
        nothing was found.

        sum of the IoU of the right ones / (right + wrong / 2 + missed / 2), Kirillov et al.,
        "Panoptic Segmentation", CVPR 2019. Detections may overlap, so each object takes one only.
        """
        weight = self.right + (self.wrong + int(self.missed.sum())) / 2
        return float(self.iou.sum() / weight) if weight else float('nan')


def compressed(segmentation: Any, size: tuple[int, int]) -> Any:
    """Compressed run lengths of what COCO's annotations hold: those, plain ones, or polygons.

    Args:
      size: height and width of the picture.
    """
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, dict) and isinstance(segmentation['counts'], str | bytes):
        return segmentation
    runs: Any = coco_mask.frPyObjects(segmentation, *size)  # pyright: ignore
    return coco_mask.merge(runs) if isinstance(runs, list) else runs


def _overlaps(known: Objects, found: Objects) -> np.ndarray:
    """IoU of objects and detections of one class, `n m`; of a crowd, the part that it covers."""
    from pycocotools import mask as coco_mask

    same = known.classes[:, None] == found.classes[None]
    if not same.size:
        return np.zeros(same.shape)
    crowd = known.crowd.astype(int).tolist()
    iou: Any = coco_mask.iou(list(found.shapes), list(known.shapes), crowd)
    return np.asarray(iou, np.float64).T * same


def match_objects(known: Objects, found: Objects) -> Matching:
    """Each detection, best first, finds the object of its class with the largest IoU among those
    left, from MATCH on; else it may lie in a crowd, of which any number has room."""
    iou = _overlaps(known, found)
    spared = (iou[known.crowd] >= MATCH).any(axis=0)
    left = np.where(known.crowd[:, None], -1.0, iou)
    partner, best = np.full(iou.shape[1], -1), np.zeros(iou.shape[1])
    for column in range(iou.shape[1] if len(left) else 0):
        row = int(np.argmax(left[:, column]))
        if left[row, column] >= MATCH:
            partner[column], best[column] = row, left[row, column]
            left[row] = -1
    missed = ~known.crowd & ~np.isin(np.arange(len(known.crowd)), partner)
    return Matching(partner, best, spared & (partner < 0), missed)
