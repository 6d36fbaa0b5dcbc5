"""Atrous spatial pyramid pooling, with batch normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from segjax.layers.dropout import Dropout

Layer = Callable[..., nn.Module]  # a partial of ConvNormRelu or SeparableConv


class ASPP(nn.Module):
    """Parallel convolutions at several dilations and the map's mean, joined by a 1x1 convolution.

    Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", section 3.3 and
    figure 5. The layers are named after TensorFlow's: aspp0 is the 1x1 convolution, aspp1 to aspp3
    those with `rates`, image_pooling the 1x1 convolution of the mean, concat_projection the last.

    Attributes:
      rates: dilations of the 3x3 convolutions.
      layer: of the 1x1 convolutions, `layer(features, kernel, name=...)`.
      atrous: of the 3x3 ones, `atrous(features, 3, dilation=..., name=...)`.
      features: channels of each branch and of the output.
      image_pool: where the mean's branch stands among those joined: 'first' in TensorFlow's
        networks, 'last' in Torch's, or 'none'.
      dropout: rate after the last convolution.
    """

    rates: tuple[int, ...]
    layer: Layer
    atrous: Layer
    features: int = 256
    image_pool: Literal['first', 'last', 'none'] = 'first'
    dropout: float = 0.1

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], train: bool) -> Float[Array, 'b h w features']:
        branches = [self.layer(self.features, 1, name='aspp0')(x, train)]
        for i, rate in enumerate(self.rates, start=1):
            branch = self.atrous(self.features, 3, dilation=rate, name=f'aspp{i}')
            branches.append(branch(x, train))
        if self.image_pool != 'none':
            mean = jnp.mean(x, axis=(1, 2), keepdims=True, dtype=jnp.float32).astype(x.dtype)
            pooled = self.layer(self.features, 1, name='image_pooling')(mean, train)
            pooled = jnp.broadcast_to(pooled, branches[0].shape)
            branches.insert(0 if self.image_pool == 'first' else len(branches), pooled)
        x = jnp.concatenate(branches, axis=-1)
        x = self.layer(self.features, 1, name='concat_projection')(x, train)
        return Dropout(self.dropout, name='dropout')(x, train=train)
