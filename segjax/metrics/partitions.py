"""How well a segmentation splits the pixels of an image into the right cells: V-Rand and V-Info.

Arganda-Carreras et al., "Crowdsourcing the Creation of Image Segmentation Algorithms for
Connectomics", Frontiers in Neuroanatomy 2015. Both compare two partitions of the labelled cells'
pixels (the foreground restriction) by the table p_ij, the share of them in cell i of the label and
cell j of the proposal; a pixel that the proposal calls membrane is a cell of its own.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from scipy import ndimage

from segjax.metrics.components import find_components


def contingency(label: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Pixels of each labelled cell in each proposed cell; column 0 is the proposed membrane.

    Cells are the 4-connected components of the two masks `h w` bool.
    """
    a, num_a = find_components(label)
    b, num_b = find_components(cells)
    number = a[label].astype(np.int64) * (num_b + 1) + b[label]
    counts = np.bincount(number, minlength=(num_a + 1) * (num_b + 1))
    return counts.reshape(num_a + 1, num_b + 1)[1:]


def rand_sums(table: np.ndarray) -> np.ndarray:
    """Pairs of pixels: together in both partitions, in the label's, in the proposal's.

    `sum p_ij^2`, `sum a_i^2` and `sum b_j^2`, times n^2, each with the single membrane pixels.
    """
    table = table.astype(np.float64)
    single = table[:, 0].sum()
    both = np.sum(table[:, 1:] ** 2) + single
    return np.array([both, np.sum(table.sum(1) ** 2), np.sum(table[:, 1:].sum(0) ** 2) + single])


def rand_score(sums: np.ndarray) -> float:
    """V-Rand: the F-score of precision `both / proposal` and recall `both / label`; 1 if empty."""
    both, label, proposal = sums
    return float(2 * both / (label + proposal)) if label + proposal else 1.0


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-np.sum(p * np.log(p)))


def information_score(table: np.ndarray) -> float:
    """V-Info: the F-score of `I / H(label)` and `I / H(proposal)`.

    0 where no information is shared: so, as the challenge has it, wherever one of the two knows a
    single cell only, even where both do.
    """
    n = max(table.sum(), 1)
    p = table / n
    single = p[:, 0].sum() * np.log(n)
    label, proposal = _entropy(p.sum(1)), _entropy(p[:, 1:].sum(0)) + single
    shared = label + proposal - (_entropy(p[:, 1:]) + single)
    return max(0.0, 2 * shared / (label + proposal)) if label + proposal else 0.0


def thin(cells: np.ndarray) -> np.ndarray:
    """The cells `h w` bool, grown into the membranes until lines of one pixel part them.

    A watershed of the binary image, flooded from the cells in rings (Vincent and Soille,
    "Watersheds in Digital Spaces", PAMI 1991) with 4 neighbours: a pixel joins the one cell it
    touches, and parts them when it touches several. Within a ring pixels are visited in the order
    in which they were reached, the first ring column by column: where fronts meet, this decides.
    Where there is no cell all is one.
    """
    if not cells.any():
        return np.ones_like(cells)
    h, w = cells.shape
    x, y = np.nonzero((ndimage.binary_dilation(cells) & ~cells).T)
    basins = np.pad(np.where(cells, find_components(cells)[0], _OPEN), 1, constant_values=_LINE)
    flooded = _flood(basins.ravel().tolist(), ((y + 1) * (w + 2) + x + 1).tolist(), w + 2)
    return (np.array(flooded).reshape(h + 2, w + 2) > 0)[1:-1, 1:-1]


_OPEN, _QUEUED, _LINE = -2, -1, 0  # beside the numbers of basins, 1..


def _flood(basins: list[int], ring: list[int], width: int) -> list[int]:
    """Every open pixel gets the number of a basin, or becomes a line. Changes `basins`.

    Args:
      ring: the first pixels to visit.
      width: of a row.
    """
    steps = (-width, -1, 1, width)
    queue = deque(ring)
    for pixel in ring:
        basins[pixel] = _QUEUED
    while queue:
        pixel = queue.popleft()
        found = _LINE
        for step in steps:
            basin = basins[pixel + step]
            if basin > 0:
                if found == _LINE:
                    found = basin
                elif found != basin:
                    found = _QUEUED  # of several
            elif basin == _OPEN:
                basins[pixel + step] = _QUEUED
                queue.append(pixel + step)
        basins[pixel] = found if found > 0 else _LINE
    return basins
