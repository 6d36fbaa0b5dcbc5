"""Two sides are compared for speed only when they compute the same."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


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
