"""Depthwise-separable convolution with batch normalisation after both of its halves."""

from __future__ import annotations

import flax.linen as nn
from jax.nn.initializers import Initializer
from jaxtyping import Array, Float

from segjax.layers.conv import HE_NORMAL, Conv
from segjax.layers.norm import BatchNorm
from segjax.ops.conv import Padding


class SeparableConv(nn.Module):
    """A depthwise convolution and a 1x1 convolution, each normalised, neither with a bias.

    Chen et al., "DeepLabv3+", section 3.1: with a dilation the atrous separable convolution. The
    layers are named depthwise, depthwise_bn, pointwise and pointwise_bn.

    Attributes:
      features: channels out.
      kernel, stride, padding, dilation: of the depthwise half, as `ops.conv`.
      activate: a ReLU after both normalisations.
      between: False leaves out what would stand between the halves, depthwise_bn and its ReLU, as
        segmentation_models.pytorch does.
      bn_momentum, bn_epsilon: as `BatchNorm`.
      depthwise_init, pointwise_init: of the kernels.
      dtype: compute type.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    padding: Padding = 'same'
    dilation: int = 1
    activate: bool = True
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5
    depthwise_init: Initializer = HE_NORMAL
    pointwise_init: Initializer = HE_NORMAL
    dtype: str = 'float32'
    between: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], train: bool) -> Float[Array, 'b oh ow features']:
        depthwise = Conv(
            x.shape[-1],
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=x.shape[-1],
            use_bias=False,
            kernel_init=self.depthwise_init,
            dtype=self.dtype,
            name='depthwise',
        )
        pointwise = Conv(
            self.features,
            1,
            use_bias=False,
            kernel_init=self.pointwise_init,
            dtype=self.dtype,
            name='pointwise',
        )
        if not self.between:
            x = depthwise(x)
        for conv in (depthwise, pointwise) if self.between else (pointwise,):
            norm = BatchNorm(self.bn_momentum, self.bn_epsilon, self.dtype, name=f'{conv.name}_bn')
            x = norm(conv(x), train=train)
            x = nn.relu(x) if self.activate else x
        return x
