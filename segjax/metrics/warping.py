"""The warping error: how many pixels still differ once boundaries may move freely.

A labelling is deformed pixel by pixel towards a proposal, flipping only simple points, whose flip
changes the topology neither of the cells (4-connected) nor of the membranes (8-connected). What
differs afterwards is an error of topology: cells merged or split, holes or objects added or lost.

Jain et al., "Boundary Learning by Optimization with Topological Constraints", CVPR 2010. The order
of the flips and the kinds of error are those of the ISBI 2012 challenge. The search is greedy: the
error is an upper bound, and a wall that has to move by several pixels may not arrive.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

import numpy as np
from scipy import ndimage

from segjax.metrics.components import find_components

NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))  # (dy, dx)
KINDS = ('merge', 'split', 'hole_addition', 'hole_deletion', 'object_addition', 'object_deletion')

_MERGE, _SPLIT, _HOLE_ADDITION, _HOLE_DELETION, _OBJECT_ADDITION, _OBJECT_DELETION = range(6)


def _count_at_center(around: np.ndarray, connectivity: Literal[4, 8]) -> int:
    """Components of a 3x3 neighbourhood, its centre not among them, that the centre touches."""
    labels, _ = find_components(around, connectivity=connectivity)
    touched = labels[[0, 1, 1, 2], [1, 0, 2, 1]] if connectivity == 4 else labels
    return len(set(touched[touched > 0].tolist()))


@functools.cache
def cells_at_center() -> np.ndarray:
    """T4 of each of the 256 neighbourhoods: 4-connected components of cell that touch the centre.

    Bit b of a neighbourhood's number is its pixel NEIGHBOURS[b].
    """
    return np.array([_count_at_center(around, 4) for around in _neighbourhoods()])


@functools.cache
def simple_points() -> np.ndarray:
    """Whether a pixel is simple, by its neighbourhood: `T4(cell) = 1 and T8(membrane) = 1`."""
    center = np.zeros((3, 3), bool)
    center[1, 1] = True
    outer = [_count_at_center(~around & ~center, 8) for around in _neighbourhoods()]
    return (cells_at_center() == 1) & (np.array(outer) == 1)


def _neighbourhoods() -> list[np.ndarray]:
    found = []
    for number in range(256):
        around = np.zeros((3, 3), bool)
        for bit, (dy, dx) in enumerate(NEIGHBOURS):
            around[1 + dy, 1 + dx] = number >> bit & 1
        found.append(around)
    return found


def _numbers(cells: np.ndarray) -> np.ndarray:
    """The number of each pixel's neighbourhood; beyond the border is membrane."""
    h, w = cells.shape
    padded = np.pad(cells, 1).astype(np.int64)
    numbers = np.zeros((h, w), np.int64)
    for bit, (dy, dx) in enumerate(NEIGHBOURS):
        numbers |= padded[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w] << bit
    return numbers


def warp(label: np.ndarray, probability: np.ndarray, threshold: float) -> np.ndarray:
    """The label `h w` (bool, True = cell), warped towards `probability > threshold`.

    Pixels that differ are visited in the order of their distance to the threshold, the largest
    first, equal ones column by column, and flipped where they are simple at that moment; again and
    again until nothing changes. `probability` is float64: at a threshold, float32 decides
    otherwise.
    """
    target = probability > threshold
    x, y = np.nonzero((label != target).T)
    distance = np.abs(probability[y, x] - threshold).astype(np.float32)
    order = np.argsort(-distance, kind='stable')
    width = label.shape[1] + 2
    flips = _flip(
        np.pad(_numbers(label), 1).ravel().tolist(),
        ((y[order] + 1) * width + x[order] + 1).tolist(),
        [-(dy * width + dx) for dy, dx in NEIGHBOURS],
    )
    warped = np.pad(label, 1).ravel()
    warped[flips] ^= True
    return warped.reshape(-1, width)[1:-1, 1:-1]


def _flip(numbers: list[int], pixels: list[int], offsets: list[int]) -> list[int]:
    """The pixels that were flipped.

    Plain lists: one flip decides on the next, and numpy is slow on single numbers.

    Args:
      numbers: of each pixel's neighbourhood; changed on the way.
      pixels: that differ, in the order of visits.
      offsets: from a pixel to the one for which it is neighbour number b.
    """
    simple = simple_points().tolist()
    bits = [(offset, 1 << bit) for bit, offset in enumerate(offsets)]
    flipped: list[int] = []
    before = -1
    while len(flipped) != before:
        before, kept = len(flipped), []
        for pixel in pixels:
            if simple[numbers[pixel]]:
                flipped.append(pixel)
                for offset, bit in bits:
                    numbers[pixel + offset] ^= bit
            else:
                kept.append(pixel)
        pixels = kept
    return flipped


class Mismatches(NamedTuple):
    """Where a warped label still differs from the proposal, and how."""

    y: np.ndarray  # n
    x: np.ndarray  # n
    kind: np.ndarray  # n, an index into KINDS


def _is_split(labels: np.ndarray, boxes: list, y: int, x: int) -> bool:
    """Whether the cell at (y, x) falls into parts around that pixel when it is cleared."""
    cell = labels[y, x]
    rows, columns = boxes[cell - 1]
    inside = labels[rows, columns] == cell
    y, x = y - rows.start, x - columns.start
    inside[y, x] = False
    parts, _ = find_components(inside)
    around = parts[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
    return len(np.unique(around[around > 0])) > 1


def classify(warped: np.ndarray, target: np.ndarray) -> Mismatches:
    """The kind of each pixel in which the warped label `h w` differs from the target.

    It follows from the components of the warped label among the 8 neighbours, the membrane being
    one of them, and from whether the pixel is cell or membrane in the warped label.
    """
    labels, _ = find_components(warped)
    y, x = np.nonzero(warped != target)
    padded = np.pad(labels, 1, constant_values=-1)  # -1 beyond the border: no component
    around = np.sort(np.stack([padded[1 + y + dy, 1 + x + dx] for dy, dx in NEIGHBOURS]), axis=0)
    is_new = np.diff(around, axis=0, prepend=-1) > 0
    number = is_new.sum(0)
    only_membrane = (number == 1) & (around[-1] == 0)
    cell = warped[y, x]
    kind = np.where(cell, _SPLIT, _MERGE)  # three components or more
    kind[number == 2] = _HOLE_ADDITION
    kind[number == 1] = np.where(cell, _HOLE_ADDITION, _HOLE_DELETION)[number == 1]
    kind[only_membrane] = np.where(cell, _OBJECT_DELETION, _OBJECT_ADDITION)[only_membrane]
    doubtful = np.flatnonzero((number == 2) & cell)
    kind[doubtful] = _HOLE_DELETION
    touching = cells_at_center()[_numbers(warped)[y, x]]
    boxes = ndimage.find_objects(labels)
    for i in doubtful[touching[doubtful] > 1]:
        if _is_split(labels, boxes, int(y[i]), int(x[i])):
            kind[i] = _SPLIT
    return Mismatches(y, x, kind)


def count_clusters(found: Mismatches, size: tuple[int, int]) -> np.ndarray:
    """Connected errors of each of KINDS: 8-connected for 'merge' and 'hole_addition', else 4-."""
    counts = []
    for kind in range(len(KINDS)):
        at = np.zeros(size, bool)
        at[found.y[found.kind == kind], found.x[found.kind == kind]] = True
        connectivity = 8 if kind in (_MERGE, _HOLE_ADDITION) else 4
        counts.append(find_components(at, connectivity=connectivity)[1])
    return np.array(counts)


def count_pixels(found: Mismatches) -> np.ndarray:
    """Erroneous pixels of each of KINDS."""
    return np.bincount(found.kind, minlength=len(KINDS))


def splits_and_mergers(label: np.ndarray, probability: np.ndarray, threshold: float) -> int:
    """Pixels of the kinds 'merge' and 'split' at a threshold."""
    target = probability > threshold
    pixels = count_pixels(classify(warp(label, probability, threshold), target))
    return int(pixels[_MERGE] + pixels[_SPLIT])
