"""Convolution, batch normalisation, ReLU: the unit of DeepLab's heads and decoders."""

from __future__ import annotations

import flax.linen as nn
from jax.nn.initializers import Initializer
from jaxtyping import Array, Float

from segjax.layers.conv import HE_NORMAL, Conv
from segjax.layers.norm import BatchNorm


class ConvNormRelu(nn.Module):
    """A convolution without bias, batch normalisation and ReLU, named conv and bn.

    Attributes:
      features: channels out.
      kernel: side of the kernel; the size of the map is kept.
      dilation: of the kernel.
      bn_momentum, bn_epsilon: as `BatchNorm`.
      kernel_init: of the kernel.
      dtype: compute type.
    """

    features: int
    kernel: int = 3
    dilation: int = 1
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5
    kernel_init: Initializer = HE_NORMAL
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], train: bool) -> Float[Array, 'b h w features']:
        x = Conv(
            self.features,
            self.kernel,
            dilation=self.dilation,
            use_bias=False,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name='conv',
        )(x)
        return nn.relu(
            BatchNorm(self.bn_momentum, self.bn_epsilon, self.dtype, name='bn')(x, train=train)
        )
