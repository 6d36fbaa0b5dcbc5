"""The metrics of the ISBI 2012 challenge: neuronal membranes in electron microscopy.

Each compares the labels with probabilities of being cell, thresholded in float64 at several levels,
of which the best counts. The first three gave the ranking of 2012 to 2015, the others replaced
them:

  warping_error  pixels merged or split, among all pixels, after warping the labels (warping.py);
                 thresholds 0, 0.1 .. 0.9
  rand_error     1 - F-score of the pairs of labelled cells' pixels (partitions.py), summed over the
                 slices; thresholds 0 .. 0.9
  pixel_error    1 - F-score of the pixels of cells, summed over the slices; thresholds 0 .. 0.9
  v_rand         V-Rand of the cells grown until lines of one pixel part them, mean of the slices;
                 thresholds 0 .. 1
  v_info         V-Info, likewise

The values are those of Fiji's classes, with which the challenge was judged: see the golden values
beside the tests. None of them is comparable with scikit-image's adapted Rand error, nor scores on
slices held out from training with those of the challenge's hidden test set.
"""

from __future__ import annotations

import itertools

import numpy as np

from segjax.metrics import partitions, warping


def thresholds(number: int) -> list[float]:
    """0, 0.1, 0.2, ..., added up as the challenge did: the fourth is 0.30000000000000004."""
    return list(itertools.accumulate([0.1] * (number - 1), initial=0.0))


def _pixel_score(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> float:
    """The F-score of the pixels of cells; 1 where there is none and none was proposed."""
    cells = probabilities > threshold
    total = int(labels.sum()) + int(cells.sum())
    return 2 * int((labels & cells).sum()) / total if total else 1.0


def _rand_score(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> float:
    sums = [
        partitions.rand_sums(partitions.contingency(label, probability > threshold))
        for label, probability in zip(labels, probabilities, strict=True)
    ]
    return partitions.rand_score(np.sum(sums, axis=0))


def _thinned_scores(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float
) -> tuple[float, float]:
    """V-Rand and V-Info after thinning, means over the slices."""
    tables = [
        partitions.contingency(label, partitions.thin(probability > threshold))
        for label, probability in zip(labels, probabilities, strict=True)
    ]
    rand = [partitions.rand_score(partitions.rand_sums(table)) for table in tables]
    return float(np.mean(rand)), float(np.mean([partitions.information_score(t) for t in tables]))


def evaluate(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """The five metrics (file head) of a stack of slices.

    Args:
      labels: `d h w`, or a slice `h w`; 0 = membrane, anything else = cell.
      probabilities: of being cell, of the same shape.

    Raises:
      ValueError: the shapes differ, or are neither.
    """
    if labels.shape != probabilities.shape or labels.ndim not in (2, 3) or not labels.size:
        raise ValueError(f'stacks d h w, not {labels.shape} and {probabilities.shape}')
    shape = (-1, *labels.shape[-2:])
    cells, values = (labels > 0).reshape(shape), probabilities.astype(np.float64).reshape(shape)
    ten, eleven = thresholds(10), thresholds(11)
    wrong = [
        sum(warping.splits_and_mergers(cells[i], values[i], t) for i in range(len(cells)))
        for t in ten
    ]
    thinned = [_thinned_scores(cells, values, t) for t in eleven]
    return {
        'warping_error': min(wrong) / cells.size,
        'rand_error': 1 - max(_rand_score(cells, values, t) for t in ten),
        'pixel_error': 1 - max(_pixel_score(cells, values, t) for t in ten),
        'v_rand': max(rand for rand, _ in thinned),
        'v_info': max(info for _, info in thinned),
    }
