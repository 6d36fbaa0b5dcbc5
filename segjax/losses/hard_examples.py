"""Online hard example mining: learn from the pixels with the greatest loss."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float


def hardest(
    energy: Float[Array, 'b h w'], valid: Bool[Array, 'b h w'], share: Float[Array, '']
) -> Bool[Array, 'b h w']:
    """The `max(round(share n), 1)` pixels with the greatest loss among the n valid of each image.

    Pixels whose loss equals the least of these are taken too, which leaves the mean as it is. A
    loss that is NaN is taken: it must not be hidden. The choice itself has no gradient.

    Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example Mining",
    for pixels as `top_k_percent_pixels` of DeepLab's code, with two differences: each image is
    ranked by itself, so that the loss is a sum over images whatever devices and microbatches they
    are in, and the share is one of the valid pixels, not of void and padding too.

    Args:
      energy: loss of each pixel.
      valid: pixels that can be chosen.
      share: in 0..1.
    """
    b = energy.shape[0]
    lowest = jnp.asarray(-jnp.inf, energy.dtype)
    ranked = jnp.sort(lax.stop_gradient(jnp.where(valid, energy, lowest)).reshape(b, -1), axis=1)
    n = jnp.sum(valid, axis=(1, 2))
    k = jnp.maximum(jnp.round(share * n.astype(jnp.float32)).astype(jnp.int32), 1)
    place = ranked.shape[1] - k
    least = jnp.take_along_axis(ranked, place[:, None], axis=1)[:, :, None]
    return valid & ~(energy < least)
