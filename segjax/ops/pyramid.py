"""Which map of a feature pyramid a box is read from."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from segjax.ops.boxes import box_area


def pyramid_level(
    boxes: Float[Array, 'n 4'],
    *,
    lowest: int = 2,
    highest: int = 5,
    flavor: Literal['torchvision', 'detectron2'] = 'torchvision',
) -> Int[Array, 'n']:
    """`floor(4 + log2(sqrt(w h) / 224))`, at least `lowest`, at most `highest`; counted from it.

    Lin et al., "Feature Pyramid Networks", equation 1: a box as large as a picture of ImageNet is
    read from P4, the stride at which a ResNet is, and half as large from P3.

    Args:
      flavor: where the rounding error at a border is made up for. torchvision adds 1e-6 to the
        logarithm, detectron2 1e-8 to its argument.

    Returns:
      Indices of a list of maps that begins at `lowest`: 0 is P2 by default.
    """
    side = jnp.sqrt(jnp.maximum(box_area(boxes), 0)) / 224
    if flavor == 'torchvision':
        level = jnp.floor(4 + jnp.log2(side) + 1e-6)
    else:
        level = jnp.floor(4 + jnp.log2(side + 1e-8))
    return jnp.clip(level, lowest, highest).astype(jnp.int32) - lowest
