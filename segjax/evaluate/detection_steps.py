"""What a detector does with one picture, step by step: anchors, proposals, detections, masks."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from segjax import ops
from segjax.types import Batch, Detections


class Steps(NamedTuple):
    """In the pixels of the canvas, the best first."""

    image: np.ndarray  # h w c, the picture's own part of it
    anchors: np.ndarray  # n 4, those that the first stage holds for objects most
    proposals: np.ndarray  # n 4, what remains of them once moved, clipped and thinned out
    detections: Detections  # of this picture, without a leading b


def detection_steps(
    model: Any,
    variables: dict[str, Any],
    batch: Batch,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    number: int = 40,
) -> Steps:
    """The steps of the first picture of a batch.

    Args:
      number: anchors, and proposals, that are kept.
    """
    one = batch._replace(image=batch.image[:1], size=batch.size[:1])

    @jax.jit
    def run(variables: dict[str, Any], image: Any, sizes: Any) -> tuple[Any, Any, Detections]:
        image = ops.normalize(image, mean, std)
        first = model.apply(variables, image, sizes=sizes, train=False, method='proposals')
        logits = jnp.where(first.rpn.inside[0], first.rpn.logits[0], -jnp.inf)
        _, best = jax.lax.top_k(logits, min(number, len(logits)))
        found = model.apply(variables, image, sizes=sizes, train=False)
        return first.rpn.anchors[0][best], first, found

    anchors, first, found = jax.tree.map(np.asarray, run(variables, one.image, one.size))
    h, w = one.size[0]
    return Steps(
        image=np.asarray(one.image[0, :h, :w]),
        anchors=anchors,
        proposals=first.boxes[0][first.valid[0]][:number],
        detections=jax.tree.map(lambda part: part[0], found),
    )
