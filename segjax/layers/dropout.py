"""Dropout whose mask depends on the place of an example in the global batch alone."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from segjax.layers.axis import bound_axis


class Dropout(nn.Module):
    """Zero each number with probability `rate` in training and divide the rest by `1 - rate`.

    Every row of the global batch draws its mask with a key of its own, so that one device, a
    sharded batch and `pmap` drop the same numbers. Srivastava et al., "Dropout", in its inverted
    form.

    Attributes:
      rate: probability of zero; 0 needs no random key.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], *, train: bool) -> Float[Array, 'b h w c']:
        if not train or self.rate == 0:
            return x
        key = self.make_rng('dropout')
        rows = jnp.arange(x.shape[0])
        axis = bound_axis()
        if axis is not None:
            rows += lax.axis_index(axis) * x.shape[0]
        keep = 1 - self.rate
        draw = lambda row: jax.random.bernoulli(jax.random.fold_in(key, row), keep, x.shape[1:])
        return jnp.where(jax.vmap(draw)(rows), x / jnp.asarray(keep, x.dtype), jnp.zeros_like(x))
