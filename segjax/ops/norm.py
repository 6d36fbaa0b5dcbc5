"""Normalisation without parameters."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def local_response_norm(
    x: Float[Array, 'b h w c'],
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
) -> Float[Array, 'b h w c']:
    """Divide every number by a power of the mean square of its neighbouring channels.

    `y[c] = x[c] / (k + alpha/size * sum_{|d - c| <= size//2} x[d]^2)^beta`, with zeros beyond the
    first and last channel. Krizhevsky et al., "ImageNet Classification with Deep Convolutional
    Neural Networks", section 3.3, as Caffe and Torch write it: the paper has no division by `size`
    and k = 2. Computed in float32, returned in the type of `x`.

    Args:
      size: channels in a neighbourhood, the channel itself in its middle.

    Raises:
      ValueError: `size` is even, so that no channel is in the middle.
    """
    if size % 2 == 0:
        raise ValueError(f'a neighbourhood of {size} channels has no middle: size must be odd')
    channels, reach = x.shape[-1], size // 2
    wide = x.astype(jnp.float32)
    squares = jnp.pad(jnp.square(wide), ((0, 0), (0, 0), (0, 0), (reach, reach)))
    total = sum(squares[..., i : i + channels] for i in range(size))
    return (wide * jnp.power(k + alpha / size * total, -beta)).astype(x.dtype)
