"""The loss of box regression: Girshick, "Fast R-CNN", equation 3."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def smooth_l1(difference: Float[Array, '*n'], *, beta: float) -> Float[Array, '*n']:
    """`0.5 x^2 / beta` where |x| < beta, `|x| - beta / 2` beyond; with beta = 0 it is |x|.

    Fast R-CNN has beta 1, torchvision's detectors 1/9, detectron2's 0.
    """
    size = jnp.abs(difference)
    if beta == 0:
        return size
    return jnp.where(size < beta, 0.5 * jnp.square(size) / beta, size - 0.5 * beta)
