"""Objects against objects: average precision, aggregated Jaccard index, panoptic quality.

Label and prediction are maps `h w` of whole numbers, 0 the background, each object a number of its
own. An image in which neither has an object scores 1 in everything, one in which only one of them
has objects 0: a missed object never improves a mean.
"""

from __future__ import annotations

import heapq
from typing import Literal, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from segjax.metrics.components import find_components

THRESHOLDS = tuple(k / 100 for k in range(50, 100, 5))  # of the IoU: 0.5, 0.55, .. 0.95


def label_components(mask: np.ndarray, *, connectivity: Literal[4, 8] = 4) -> np.ndarray:
    """The connected parts of a mask `h w` bool, numbered from 1; int32."""
    return find_components(mask, connectivity=connectivity)[0]


def watershed(mask: np.ndarray, *, radius: int = 5, smoothing: float = 1.0) -> np.ndarray:
    """The parts of a mask `h w` bool, touching ones split at their necks; int32, numbered from 1.

    Seeds are the peaks of the smoothed distance to the background within `radius` pixels, and every
    connected part has one at least; the negative distance is flooded from them through the mask.

    Args:
      smoothing: standard deviation of the Gaussian, in pixels.
    """
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))  # beyond the border is background
    distance = ndimage.gaussian_filter(distance, smoothing)[1:-1, 1:-1]
    peaks = mask & (distance == ndimage.maximum_filter(distance, size=2 * radius + 1))
    seeds, number = find_components(peaks, connectivity=8)
    parts, _ = find_components(mask)
    without = mask & ~np.isin(parts, parts[peaks])
    seeds[without] = number + find_components(without)[0][without]
    return np.maximum(_flood(np.where(mask, seeds, -1), distance), 0).astype(np.int32)


def _flood(seeds: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Grow the seeds over the zeros around them, pixels of the largest distance first.

    Meyer, "Un algorithme optimal pour la ligne de partage des eaux", 1991; no lines are drawn.

    Args:
      seeds: `h w` int, negative where nothing may grow.
    """
    width = seeds.shape[1] + 2
    numbers = np.pad(seeds, 1, constant_values=-1).ravel().tolist()
    level = np.pad(-distance, 1).ravel().tolist()
    heap = [(level[p], p) for p, number in enumerate(numbers) if number > 0]
    heapq.heapify(heap)
    while heap:
        _, pixel = heapq.heappop(heap)
        for step in (-width, -1, 1, width):
            if numbers[pixel + step] == 0:
                numbers[pixel + step] = numbers[pixel]
                heapq.heappush(heap, (level[pixel + step], pixel + step))
    return np.array(numbers).reshape(-1, width)[1:-1, 1:-1]


class Overlaps(NamedTuple):
    """What n labelled and m predicted objects share."""

    both: np.ndarray  # n m, pixels of the intersections
    label: np.ndarray  # n, pixels of the labelled objects
    prediction: np.ndarray  # m

    @property
    def union(self) -> np.ndarray:
        """Pixels of the unions, `n m`."""
        return self.label[:, None] + self.prediction[None, :] - self.both

    @property
    def iou(self) -> np.ndarray:
        """`n m` float64."""
        return self.both / np.maximum(self.union, 1)


def overlaps(label: np.ndarray, prediction: np.ndarray) -> Overlaps:
    """The table of all pairs of objects, in the order of their numbers."""
    names, a = np.unique(label, return_inverse=True)
    found, b = np.unique(prediction, return_inverse=True)
    cell = a.reshape(-1).astype(np.int64) * len(found) + b.reshape(-1)
    counts = np.bincount(cell, minlength=len(names) * len(found))
    counts = counts.reshape(len(names), len(found))[:, found > 0]
    return Overlaps(
        both=counts[names > 0],
        label=np.bincount(a.reshape(-1), minlength=len(names))[names > 0],
        prediction=counts.sum(0),
    )


def count_matches(table: Overlaps, threshold: float) -> int:
    """Most pairs of one labelled and one predicted object whose IoU reaches the threshold.

    From 0.5 on a partner of the larger IoU is the only one, but for ties at 0.5.
    """
    rows, columns = linear_sum_assignment(table.iou >= threshold, maximize=True)
    return int((table.iou[rows, columns] >= threshold).sum())


def average_precision(table: Overlaps, *, thresholds: tuple[float, ...] = THRESHOLDS) -> np.ndarray:
    """`TP / (TP + FP + FN)` at each threshold of the IoU, as the Data Science Bowl 2018 has it."""
    n, m = table.both.shape
    if n + m == 0:
        return np.ones(len(thresholds))
    found = np.array([count_matches(table, threshold) for threshold in thresholds])
    return found / (n + m - found)


def aggregated_jaccard(table: Overlaps) -> float:
    """AJI: each labelled object meets the predicted one of the largest IoU.

    Intersections are added up, and unions; predicted objects that none met join the unions. Kumar
    et al., "A Dataset and a Technique for Generalized Nuclear Segmentation for Computational
    Pathology", IEEE TMI 2017, algorithm 1.
    """
    n, m = table.both.shape
    if n == 0 or m == 0:
        return float(n == m)
    best = table.iou.argmax(1)
    met = table.both[np.arange(n), best] > 0  # others meet nobody, and count whole
    both = table.both[np.arange(n), best][met].sum()
    either = table.union[np.arange(n), best][met].sum() + table.label[~met].sum()
    unmet = np.setdiff1d(np.arange(m), best[met])
    return float(both / (either + table.prediction[unmet].sum()))


class PanopticQuality(NamedTuple):
    """`pq = sq rq`."""

    pq: float
    sq: float  # mean IoU of the matched pairs; 0 without any
    rq: float  # TP / (TP + FP / 2 + FN / 2)


def panoptic_quality(table: Overlaps) -> PanopticQuality:
    """Pairs match at an IoU above 0.5. Kirillov et al., "Panoptic Segmentation", CVPR 2019."""
    n, m = table.both.shape
    if n + m == 0:
        return PanopticQuality(1.0, 1.0, 1.0)
    matched = table.iou[table.iou > 0.5]
    quality = float(matched.mean()) if matched.size else 0.0
    recognition = 2 * matched.size / (n + m)
    return PanopticQuality(quality * recognition, quality, recognition)


def segmentation_accuracy(table: Overlaps) -> float:
    """SEG of the Cell Tracking Challenge: the labelled objects' mean IoU with their partner.

    A partner covers more than half of the object, so there is one at most; without one an object
    counts 0. Predicted objects that are nobody's partner do not count. 1 where nothing is labelled
    or predicted, 0 where there is only a prediction. Maska et al., "A benchmark for comparison of
    cell tracking algorithms", Bioinformatics 2014, which averages over all objects of a stack.
    """
    n, m = table.both.shape
    if n == 0 or m == 0:
        return float(n == m)
    partner = 2 * table.both > table.label[:, None]
    return float(np.where(partner, table.iou, 0).sum(1).mean())


def instance_scores(label: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """`ap` (mean over THRESHOLDS), `ap50`, `ap75`, `aji`, `seg`, `pq`, `sq`, `rq` of an image."""
    table = overlaps(label, prediction)
    precision = average_precision(table)
    return {
        'ap': float(precision.mean()),
        'ap50': float(precision[THRESHOLDS.index(0.5)]),
        'ap75': float(precision[THRESHOLDS.index(0.75)]),
        'aji': aggregated_jaccard(table),
        'seg': segmentation_accuracy(table),
        **panoptic_quality(table)._asdict(),
    }
