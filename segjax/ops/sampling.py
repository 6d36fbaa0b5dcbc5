"""A random sample of foreground and background, in a fixed number of places."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, PRNGKeyArray


class Sample(NamedTuple):
    """Indices in m places: first the foreground, then the background, then places left empty.

    An empty place has index 0 and is neither.
    """

    index: Int[Array, 'm']
    foreground: Bool[Array, 'm']
    background: Bool[Array, 'm']


def sample_balanced(
    key: PRNGKeyArray,
    foreground: Bool[Array, 'n'],
    background: Bool[Array, 'n'],
    *,
    size: int,
    max_foreground: int,
) -> Sample:
    """At most `max_foreground` of the foreground, and of the background what fills up `size`.

    Every subset of a number is equally likely: each element draws a number, and the largest are
    taken. Ren et al., "Faster R-CNN", section 3.1.3 (256 anchors, up to 128 of them positive);
    He et al., "Mask R-CNN", section 3.1 (512 proposals, a quarter of them).
    """
    draw = jax.random.uniform(key, foreground.shape)
    most = min(max_foreground, size)
    front, front_count = _largest(draw, foreground, most)
    back, back_count = _largest(draw, background, size)
    place = jnp.arange(size, dtype=jnp.int32)
    is_front = place < front_count
    is_back = ~is_front & (place < front_count + back_count)
    # Background begins where the foreground ends.
    index = jnp.where(
        is_front, front[jnp.minimum(place, most - 1)], back[jnp.maximum(place - front_count, 0)]
    )
    return Sample(jnp.where(is_front | is_back, index, 0), is_front, is_back)


def _largest(draw: Array, chosen: Array, places: int) -> tuple[Array, Array]:
    """Indices of the largest draws among the chosen, and how many there are, at most `places`."""
    taken = min(places, draw.shape[0])
    _, index = lax.top_k(jnp.where(chosen, draw, -1), taken)
    count = jnp.minimum(jnp.sum(chosen, dtype=jnp.int32), taken)
    return jnp.pad(index, (0, places - taken)), count
