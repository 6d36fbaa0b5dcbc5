"""From scores to class ids, and from ids to one channel a class."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def label_map(scores: Float[Array, 'b h w k']) -> Int[Array, 'b h w']:
    """The id of the highest score at every pixel, int32; of equal scores the first.

    Logits and probabilities give the same. A prediction holds no void: it is in labels only, where
    nobody asks.
    """
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def one_hot(label: Int[Array, 'b h w'], *, num_classes: int) -> Float[Array, 'b h w k']:
    """`y[i, j, c] = 1 where label[i, j] == c`, else 0, in float32.

    Void (`IGNORE_LABEL`) and every other id that is no class have zeros in all channels, so that a
    sum over pixels leaves them out.
    """
    classes = jnp.arange(num_classes, dtype=label.dtype).reshape(1, 1, 1, -1)
    return (label[..., None] == classes).astype(jnp.float32)
