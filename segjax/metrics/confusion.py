"""The confusion matrix, and the four scores of semantic segmentation that follow from it.

n[i, j] counts the pixels of class i that were predicted as class j, over the whole data set: the
mean IoU is taken once, from these sums, never averaged over batches or images.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int


def confusion(
    label: Int[Array, 'b h w'], prediction: Int[Array, 'b h w'], *, num_classes: int
) -> Int[Array, 'b k k']:
    """n[label, prediction] of each image, int32; pixels whose label is no class do not count.

    One image may hold up to 2^31 pixels.
    """
    valid = (label >= 0) & (label < num_classes)
    image = jnp.arange(label.shape[0], dtype=jnp.int32).reshape(-1, 1, 1)
    cell = (image * num_classes + label) * num_classes + prediction
    length = label.shape[0] * num_classes**2
    cell = jnp.where(valid, cell, length)  # past the end: dropped
    counts = jnp.zeros((length,), jnp.int32).at[cell.reshape(-1)].add(1, mode='drop')
    return counts.reshape(-1, num_classes, num_classes)


class Confusion:
    """The confusion matrix of a data set in int64, with its scores.

    A class that occurs neither in the labels nor in the predictions has no IoU (NaN) and is left
    out of the means; one that is only predicted counts with IoU 0. Shelhamer et al., FCN, section
    5.
    """

    def __init__(self, num_classes: int):
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, counts: np.ndarray) -> None:
        """Add the `b k k` or `k k` counts of some images."""
        self.counts += np.asarray(counts, np.int64).reshape(-1, *self.counts.shape).sum(0)

    def merge(self, other: Confusion) -> None:
        """Add what another evaluator saw."""
        self.counts += other.counts

    @property
    def iou(self) -> np.ndarray:
        """`n_ii / (sum_j n_ij + sum_j n_ji - n_ii)` of each class."""
        hit = np.diag(self.counts)
        return _divide(hit, self.counts.sum(1) + self.counts.sum(0) - hit)

    @property
    def accuracy(self) -> np.ndarray:
        """`n_ii / sum_j n_ij` of each class: the share of its pixels that were found."""
        return _divide(np.diag(self.counts), self.counts.sum(1))

    @property
    def share(self) -> np.ndarray:
        """The share of each class in the labelled pixels."""
        return _divide(self.counts.sum(1), self.counts.sum())

    @property
    def mean_iou_over_all(self) -> float:
        """The mean IoU as ADE20K's evaluation has it: a class that occurs nowhere counts as 0."""
        return float(np.nan_to_num(self.iou).mean())

    def compute(self) -> dict[str, float]:
        """`mean_iou`, `pixel_accuracy`, `mean_accuracy`, `fw_iou` (weighted by frequency).

        NaN where there is no labelled pixel.
        """
        iou, share = self.iou, self.share
        return {
            'mean_iou': _nanmean(iou),
            'pixel_accuracy': float(_divide(np.trace(self.counts), self.counts.sum())),
            'mean_accuracy': _nanmean(self.accuracy),
            'fw_iou': float(np.sum(share[share > 0] * iou[share > 0]))
            if self.counts.any()
            else np.nan,
        }


def _divide(a: np.ndarray | np.generic, b: np.ndarray | np.generic) -> np.ndarray:
    """a / b in float64, NaN where b is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)


def _nanmean(x: np.ndarray) -> float:
    x = x[~np.isnan(x)]
    return float(x.mean()) if x.size else float('nan')
