"""Feature Pyramid Network: Lin et al., "Feature Pyramid Networks for Object Detection", figure 3.

c5 --1x1--> m5 ----------3x3--> p5 --every second--> p6
             | nearest x2
c4 --1x1-->  + --> m4 ---3x3--> p4
             | nearest x2
c3 --1x1-->  + --> m3 ---3x3--> p3
             | nearest x2
c2 --1x1-->  + --> m2 ---3x3--> p2
"""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
from jaxtyping import Array

from segjax import ops
from segjax.layers import BatchNorm, Conv

# Caffe2's XavierFill and Torch's kaiming_uniform(a=1) alike.
XAVIER = nn.initializers.variance_scaling(1.0, 'fan_in', 'uniform')


class FPN(nn.Module):
    """p2 to p6 from c2 to c5: pK has stride 2^K and `features` channels.

    Attributes:
      features: channels of every level.
      norm: 'batch' normalises after each convolution, which then has no bias; nothing is rectified.
      dtype: compute type.
    """

    features: int = 256
    norm: Literal['none', 'batch'] = 'none'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, maps: dict[str, Array], *, train: bool) -> tuple[Array, ...]:
        merged = None
        levels: list[Array] = []
        for k in (5, 4, 3, 2):
            lateral = self._conv(maps[f'c{k}'], 1, f'lateral{k}', train)
            if merged is not None:
                h, w = lateral.shape[1:3]
                lateral = lateral + ops.nearest_unpool(merged)[:, :h, :w]
            merged = lateral
            levels.insert(0, self._conv(merged, 3, f'p{k}', train))
        return (*levels, levels[-1][:, ::2, ::2])

    def _conv(self, x: Array, kernel: int, name: str, train: bool) -> Array:
        plain = self.norm == 'none'
        conv = Conv(
            self.features, kernel, use_bias=plain, kernel_init=XAVIER, dtype=self.dtype, name=name
        )
        x = conv(x)
        return x if plain else BatchNorm(dtype=self.dtype, name=f'{name}_bn')(x, train=train)
