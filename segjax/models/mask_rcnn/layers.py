"""Layers that several heads share."""

from __future__ import annotations

import math
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jaxtyping import Array, Float

from segjax.backbones.resnet import HE_NORMAL_OUT
from segjax.layers import BatchNorm, Conv

# Torch's default of a linear layer: uniform up to 1 / sqrt(inputs).
TORCH_LINEAR = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


class FullyConnected(nn.Module):
    """Every output sees the whole input: a vector, or a map whose kernel is `h w c features`.

    Attributes:
      features: outputs.
      kernel_init: of the kernel; the bias begins with zeros.
      dtype: computed in this; parameters are float32.
    """

    features: int
    kernel_init: Initializer = TORCH_LINEAR
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: Float[Array, 'n *d']) -> Float[Array, 'n features']:
        shape, inputs = (*x.shape[1:], self.features), math.prod(x.shape[1:])
        # Drawn as a matrix: the initialiser must see all inputs, not only the channels.
        draw = lambda key: self.kernel_init(key, (inputs, self.features)).reshape(shape)
        kernel = self.param('kernel', draw).reshape(inputs, self.features)
        bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
        y = x.astype(self.dtype).reshape(-1, inputs) @ kernel.astype(self.dtype)
        return y + bias.astype(self.dtype)[None]


class ConvTower(nn.Module):
    """3x3 convolutions conv1, conv2, ..., each rectified; norm='batch' normalises in between.

    Attributes:
      features: of each.
      depth: how many.
      norm: see above; normalised convolutions have no bias.
      kernel_init: of each.
      dtype: compute type.
    """

    features: int
    depth: int
    norm: Literal['none', 'batch'] = 'none'
    kernel_init: Initializer = HE_NORMAL_OUT
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c'], *, train: bool) -> Float[Array, 'n h w m']:
        plain = self.norm == 'none'
        for i in range(1, self.depth + 1):
            conv = Conv(
                self.features,
                use_bias=plain,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f'conv{i}',
            )
            x = conv(x)
            if not plain:
                x = BatchNorm(dtype=self.dtype, name=f'bn{i}')(x, train=train)
            x = nn.relu(x)
        return x
