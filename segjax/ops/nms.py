"""Non-maximum suppression: of boxes that overlap, keep the best."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from segjax.ops.boxes import box_area, pairwise_iou


class Kept(NamedTuple):
    """The survivors of a suppression, best first, in a fixed number of places m.

    `indices` are 0 where `valid` is False. `overflow` says how many survivors found no place.
    """

    indices: Int[Array, 'm']
    valid: Bool[Array, 'm']
    overflow: Int[Array, '']


def nms(
    boxes: Float[Array, 'n 4'],
    scores: Float[Array, 'n'],
    *,
    iou_threshold: float,
    max_outputs: int,
) -> tuple[Int[Array, 'm'], Bool[Array, 'm']]:
    """Indices of the boxes that no better kept box overlaps by more than `iou_threshold`.

    From the highest score down (of equal ones the first), a box is kept unless its intersection
    over union with one that was kept before is greater than the threshold: the greedy algorithm,
    to the box. A score of minus infinity, or one that is no number, is no box.

    Args:
      max_outputs: m, how many are returned at most; `classwise_nms` counts what is lost.

    Returns:
      Indices, best first, and which of them are valid; the others are 0.
    """
    kept = classwise_nms(
        boxes,
        scores,
        jnp.zeros(scores.shape, jnp.int32),
        iou_threshold=iou_threshold,
        max_outputs=max_outputs,
    )
    return kept.indices, kept.valid


def classwise_nms(
    boxes: Float[Array, 'n 4'],
    scores: Float[Array, 'n'],
    classes: Int[Array, 'n'],
    *,
    iou_threshold: float,
    max_outputs: int,
) -> Kept:
    """`nms` where only boxes of the same class suppress one another, best of all classes first."""
    order = jnp.argsort(-scores, stable=True)  # what is no number comes last
    candidate = scores[order] > -jnp.inf
    keep = _greedy(boxes[order], classes[order], candidate, _largest_below(iou_threshold))
    places = min(max_outputs, scores.shape[0])
    # Survivors first, their order kept.
    chosen = jnp.argsort(~keep, stable=True)[:places]
    pad = (0, max_outputs - places)
    valid = jnp.pad(keep[chosen], pad)
    indices = jnp.where(valid, jnp.pad(order[chosen], pad), 0).astype(jnp.int32)
    return Kept(indices, valid, jnp.sum(keep, dtype=jnp.int32) - jnp.sum(valid, dtype=jnp.int32))


def _largest_below(threshold: float) -> float:
    """The largest float32 not above `threshold`: `x > t` is then the same for every float32 x.

    Nearest to 0.3 is a float32 slightly above it, and two boxes that overlap by just that suppress
    one another where the threshold is a double, as in Torch.
    """
    t = np.float32(threshold)
    return float(t if float(t) <= threshold else np.nextafter(t, np.float32(-np.inf)))


def _greedy(boxes: Array, classes: Array, candidate: Array, threshold: float) -> Array:
    """Which of the boxes, sorted best first, are kept: `n` bool."""
    return lax.platform_dependent(
        boxes,
        classes,
        candidate,
        cpu=partial(_one_by_one, threshold=threshold),
        default=partial(_all_at_once, threshold=threshold),
    )


def _one_by_one(boxes: Array, classes: Array, keep: Array, threshold: float) -> Array:
    """Each kept box strikes out those behind it; its overlaps are found when its turn comes."""
    sides = boxes.astype(jnp.float32).T  # a row a coordinate
    x1, y1, x2, y2 = sides
    area, place = box_area(boxes), jnp.arange(len(boxes))

    def strike_out(i: Array, keep: Array) -> Array:
        left, top, right, bottom = lax.dynamic_slice_in_dim(sides, i, 1, axis=1)
        width = jnp.maximum(jnp.minimum(right, x2) - jnp.maximum(left, x1), 0)
        height = jnp.maximum(jnp.minimum(bottom, y2) - jnp.maximum(top, y1), 0)
        shared = width * height
        overlaps = shared / (area[i] + area - shared) > threshold  # 0/0 is not
        struck = overlaps & (classes == classes[i]) & (place > i) & keep[i]
        return keep & ~struck

    return lax.fori_loop(0, len(boxes), strike_out, keep)


def _all_at_once(boxes: Array, classes: Array, candidate: Array, threshold: float) -> Array:
    """The fixed point of `keep = candidate and not suppressed by one that is kept`.

    It is unique, and is what the greedy algorithm finds: the first box depends on none, every other
    on those before it. After round r the first r of any chain of suppressions are settled, so few
    rounds suffice: 5 to 10 for some thousand proposals.
    """
    place = jnp.arange(len(boxes))
    suppresses = pairwise_iou(boxes, boxes) > threshold
    suppresses &= (classes[:, None] == classes[None]) & (place[:, None] < place[None])

    def settle(state: tuple[Array, Array]) -> tuple[Array, Array]:
        keep, _ = state
        return candidate & ~jnp.any(suppresses & keep[:, None], axis=0), keep

    unsettled = lambda state: jnp.any(state[0] != state[1])
    keep, _ = lax.while_loop(unsettled, settle, settle((candidate, candidate)))
    return keep
