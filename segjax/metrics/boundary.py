"""How well a segmentation follows boundaries: IoU in a band around them, and their F1."""

from __future__ import annotations

import cv2
import numpy as np

from segjax.types import IGNORE_LABEL

WIDTHS = (1, 2, 4, 8, 16, 32)  # of the bands, in pixels


def _distance_to(mask: np.ndarray) -> np.ndarray:
    """Euclidean distance of every pixel to the nearest of `mask`; inf where there is none."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def distance_to_another_label(label: np.ndarray) -> np.ndarray:
    """Of each pixel of `label h w`: 1 beside a boundary; inf where all labels are alike."""
    distance = np.full(label.shape, np.inf, np.float32)
    for value in np.unique(label):
        inside = label == value
        distance[inside] = _distance_to(~inside)[inside]
    return distance


def trimap_confusion(
    label: np.ndarray,
    prediction: np.ndarray,
    *,
    num_classes: int,
    widths: tuple[int, ...] = WIDTHS,
) -> np.ndarray:
    """The confusion matrix of the labelled pixels within each width of a boundary; `t k k` int64.

    A band of width w holds the pixels at most w from one of another label, void being a label: for
    Pascal VOC, where void runs along every object, it is the dilated void of Krähenbühl and Koltun,
    "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", section 5, and of
    DeepLabv3+, section 4.5 and figure 5.

    Args:
      label, prediction: `h w`; ids of `label` that are no class are void.
      widths: in pixels.
    """
    valid = (label >= 0) & (label < num_classes)
    distance = distance_to_another_label(np.where(valid, label, IGNORE_LABEL))
    cell = label.astype(np.int64) * num_classes + prediction
    counts = [
        np.bincount(cell[valid & (distance <= width)], minlength=num_classes**2) for width in widths
    ]
    return np.stack(counts).reshape(-1, num_classes, num_classes)


def _boundary(label: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The pixels `inside` with a neighbour, of four, outside of it that is not void."""
    other = ~inside & (label != IGNORE_LABEL)
    padded = np.pad(other, 1)
    beside = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return inside & beside


def boundary_f1(
    label: np.ndarray, prediction: np.ndarray, *, num_classes: int, tolerance: float = 0.0075
) -> float:
    """The boundary F1 measure (BF) of a picture: the mean over the classes in its label.

    Of a class, precision is the share of the boundary of its predicted region that lies within
    `tolerance` of the boundary of its true one, recall the share of the true one likewise. Csurka,
    Larlus, Perronnin, "What is a good evaluation measure for semantic segmentation?", section 3.2;
    SegNet, section 4, from which the mean over classes and the tolerance are. Nothing is known of
    void: no boundary runs along it, or inside. A class without any boundary, true or predicted, is
    left out; NaN where that leaves none.

    Args:
      label, prediction: `h w`; ids of `label` that are no class are void.
      tolerance: in diagonals of the picture.
    """
    valid = (label >= 0) & (label < num_classes)
    wanted, found = (np.where(valid, ids, IGNORE_LABEL) for ids in (label, prediction))
    reach = tolerance * float(np.hypot(*label.shape))
    scores = []
    for value in np.unique(wanted[valid]):
        true, guess = (_boundary(ids, ids == value) for ids in (wanted, found))
        if not (true.any() or guess.any()):
            continue
        hits = (_distance_to(true)[guess] <= reach).sum()
        precision = hits / max(guess.sum(), 1)
        recall = (_distance_to(guess)[true] <= reach).sum() / max(true.sum(), 1)
        total = precision + recall
        scores.append(2 * precision * recall / total if total else 0.0)
    return float(np.mean(scores)) if scores else float('nan')
