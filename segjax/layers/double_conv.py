"""The unit of U-Net and its descendants."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
from jax.nn.initializers import Initializer
from jaxtyping import Array, Float

from segjax.layers.conv import HE_NORMAL, Conv
from segjax.layers.dropout import Dropout
from segjax.layers.norm import BatchNorm


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each followed by normalisation, if any, ReLU and dropout, if any.

    Attributes:
      features: channels of both.
      padding: 'valid' as in U-Net, where each takes a pixel off every side, or 'same'.
      norm: 'none', or 'batch': batch normalisation before each ReLU.
      use_bias: whether the convolutions have biases; a BatchNorm after them makes those idle.
      dropout: rate after each ReLU.
      inner_relu: whether normalisation and ReLU follow the first convolution, too.
      kernel_init: of both.
      dtype: compute type.
    """

    features: int
    padding: Literal['valid', 'same'] = 'same'
    norm: Literal['none', 'batch'] = 'none'
    use_bias: bool = True
    dropout: float = 0.0
    inner_relu: bool = True
    kernel_init: Initializer = HE_NORMAL
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], train: bool) -> Float[Array, 'b oh ow features']:
        for i in (1, 2):
            x = Conv(
                self.features,
                padding=self.padding,
                use_bias=self.use_bias,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f'conv{i}',
            )(x)
            if i == 1 and not self.inner_relu:
                continue
            if self.norm == 'batch':
                x = BatchNorm(dtype=self.dtype, name=f'bn{i}')(x, train=train)
            x = Dropout(self.dropout, name=f'dropout{i}')(nn.relu(x), train=train)
        return x
