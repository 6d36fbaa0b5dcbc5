"""Two sides are compared for speed only when they compute the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

PIXELS, SCORES = 0.5, 1e-2  # by which a detection may differ and be the same


class Found(NamedTuple):
    """The objects found in a picture."""

    boxes: np.ndarray  # n 4
    scores: np.ndarray  # n
    classes: np.ndarray  # n


def difference(found: Any, expected: Any) -> float:
    """`|found - expected| / |expected|`, Euclidean, over all numbers of two trees of arrays."""
    norm = lambda x: np.linalg.norm(np.ravel(x).astype(np.float64))
    apart = jax.tree.map(lambda x, y: norm(np.asarray(x) - np.asarray(y)), found, expected)
    length = jax.tree.map(norm, expected)
    whole = lambda tree: np.linalg.norm(jax.tree.leaves(tree))
    return float(whole(apart) / whole(length))


def require(apart: float, tolerance: float, what: str) -> None:
    """Raises ValueError where a difference is too large, or not a number."""
    if not apart <= tolerance:
        raise ValueError(f'{what} differ from those of Torch by {apart:.1e}: nothing to compare')


def found_again(found: Found, expected: Found) -> float:
    """The share of expected detections that were found: same class, nearly same box and score."""
    ours, theirs = ((x.boxes, x.scores, x.classes) for x in (found, expected))
    apart = [np.abs(a[:, None] - b[None]) for a, b in zip(ours, theirs, strict=True)]
    near = (apart[0].max(axis=-1) < PIXELS) & (apart[1] < SCORES) & (apart[2] == 0)
    return float(near.any(axis=0).mean())
