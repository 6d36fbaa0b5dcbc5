"""U-Net's weight map: membranes between near cells weigh more, so that cells stay apart."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def separation_weights(
    objects: np.ndarray,
    *,
    w0: float = 10.0,
    sigma: float = 5.0,
    class_weights: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """The weight of each pixel, `w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2))`.

    d1 and d2 are the distances in pixels from the centre of x to those of the nearest pixels of the
    nearest and of the second nearest object. The second term is that of the background: the paper
    shows it there (figure 3d) and speaks of separating borders. Where there are fewer than two
    objects it is 0. Ronneberger, Fischer, Brox, "U-Net", equation 2.

    Distances are exact; beyond the reach where the term is lost in the rounding of `w_c` in
    float32 they are not sought.

    Args:
      objects: `h w` int, 0 = background, each object a number of its own.
      w0: most that the term adds.
      sigma: in pixels.
      class_weights: w_c of background and objects, which balances their frequencies; the paper
        gives no values.

    Returns:
      `h w` float32.
    """
    background, foreground = class_weights
    weights = np.where(objects > 0, foreground, background).astype(np.float64)
    if w0 > 0:
        reach = sigma * np.sqrt(2 * max(np.log(w0 * 2**25 / max(background, 1e-6)), 1.0))
        nearest, second = two_distances(objects, reach)
        near = (objects == 0) & np.isfinite(second)
        total = nearest[near] + second[near]
        weights[near] += w0 * np.exp(-(total**2) / (2 * sigma**2))
    return weights.astype(np.float32)


def two_distances(objects: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the nearest and second nearest object, `h w` float64 each.

    Args:
      objects: as in separation_weights.
      reach: larger distances may be infinite.
    """
    nearest = np.full(objects.shape, np.inf)
    second = np.full(objects.shape, np.inf)
    margin = int(np.ceil(reach))
    for number, box in enumerate(ndimage.find_objects(objects), start=1):
        if box is None:
            continue
        window = tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in box)
        distance = np.asarray(ndimage.distance_transform_edt(objects[window] != number))
        second[window] = np.minimum(second[window], np.maximum(nearest[window], distance))
        nearest[window] = np.minimum(nearest[window], distance)
    return nearest, second
