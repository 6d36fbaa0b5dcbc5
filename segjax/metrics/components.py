"""Connected parts of a mask."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage


def find_components(mask: np.ndarray, *, connectivity: Literal[4, 8] = 4) -> tuple[np.ndarray, int]:
    """The parts of a mask `h w` bool, numbered from 1, as a map int32; and how many they are."""
    structure = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    labels, number = ndimage.label(mask, structure)  # pyright: ignore
    return labels, number
