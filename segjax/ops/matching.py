"""Which object each anchor, or each proposal, is to find."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Matches(NamedTuple):
    """For each of n boxes the object it overlaps most, and what it counts as.

    A box that is neither foreground nor background is left out of training. `index` means something
    where there are objects, whatever the box counts as.
    """

    index: Int[Array, 'n']
    foreground: Bool[Array, 'n']
    background: Bool[Array, 'n']


def match(
    iou: Float[Array, 'g n'],
    valid: Bool[Array, 'g'],
    *,
    foreground: float,
    background: float,
    low_quality: bool = False,
) -> Matches:
    """Foreground from one overlap upwards, background below another.

    Ren et al., "Faster R-CNN", section 3.1.2, as torchvision and detectron2 read it: 0.7 and 0.3
    with `low_quality` for anchors, 0.5 and 0.5 for proposals.

    Args:
      iou: of every object with every box, as from `pairwise_iou`.
      valid: False for objects that only fill up; without any object, all boxes are background.
      low_quality: of every object the boxes that overlap it most (all of them where several do
        equally) are foreground however little it is. They find the object they overlap most
        themselves, which may be another one.
    """
    iou = jnp.where(valid[:, None], iou, -1)
    best = jnp.max(iou, axis=0)
    is_foreground = best >= foreground
    if low_quality:
        most = jnp.max(iou, axis=1, keepdims=True)
        # An object that no box overlaps makes nothing foreground.
        is_foreground |= jnp.any((iou == most) & (most > 0), axis=0)
    index = jnp.argmax(iou, axis=0).astype(jnp.int32)
    return Matches(index, is_foreground, (best < background) & ~is_foreground)
