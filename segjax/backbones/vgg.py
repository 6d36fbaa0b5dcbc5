"""VGG11 and VGG16, the convolutional layers.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", table
1, columns A and D: five stages of 3x3 convolutions with ReLU, each closed by a 2x2 max pooling.
Differs by option: batch normalisation after each convolution (torchvision's vgg16_bn), other
widths, and output stride 8 as DeepLab has it.
"""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from segjax import ops
from segjax.layers import BatchNorm, Conv

CONVS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}  # of each stage, table 1 columns A and D


class VGGStage(nn.Module):
    """Some 3x3 convolutions with ReLU, then max pooling; returns what is before it and after.

    Attributes:
      stage: number from 1; it names the layers conv{stage}_1, conv{stage}_2, ...
      convs: how many.
      features: channels.
      pool: window and stride of the pooling; a window of 3 is padded by 1.
      dilation: of the convolutions.
    """

    stage: int
    convs: int
    features: int
    norm: Literal['none', 'batch']
    dtype: str
    pool: tuple[int, int] = (2, 2)
    dilation: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array]:
        for i in range(1, self.convs + 1):
            name = f'{self.stage}_{i}'
            use_bias = self.norm == 'none'
            x = Conv(
                self.features,
                dilation=self.dilation,
                use_bias=use_bias,
                dtype=self.dtype,
                name=f'conv{name}',
            )(x)
            if self.norm == 'batch':
                x = BatchNorm(dtype=self.dtype, name=f'bn{name}')(x, train=train)
            x = nn.relu(x)
        window, stride = self.pool
        pooled = ops.max_pool(x, window=window, stride=stride, padding=window - 2, rounding='ceil')
        return x, pooled


class VGG(nn.Module):
    """VGG without its classifier.

    Attributes:
      depth: layers with weights, three fully connected ones of the classifier among them.
      widths: channels of the five stages.
      norm: 'none' as published, 'batch' for batch normalisation before each ReLU.
      remat: recompute each stage in the backward pass instead of keeping its activations.
      dtype: compute type.
      taps: 'pooled': cK is what the K-th pooling returns, c1 to c5; 'unpooled': what the next one
        is given, c0 to c4 (TernausNet), and c5.
      output_stride: 8 is DeepLab's (Chen et al., "DeepLab", section 3.1, as released): windows of
        the poolings are 3x3, the last two have no stride, stage 5 is dilated by 2.
    """

    depth: Literal[11, 16]
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    norm: Literal['none', 'batch'] = 'none'
    remat: bool = False
    dtype: str = 'float32'
    taps: Literal['pooled', 'unpooled'] = 'pooled'
    output_stride: Literal[8, 32] = 32

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> dict[str, Array]:
        stage_type = nn.remat(VGGStage, static_argnums=(2,)) if self.remat else VGGStage
        features = {}
        x = image
        convs = CONVS[self.depth]
        for k, (count, width) in enumerate(zip(convs, self.widths, strict=True), start=1):
            pool, dilation = (2, 2), 1
            if self.output_stride == 8:
                pool, dilation = (3, 2 if k <= 3 else 1), 2 if k == 5 else 1
            stage = stage_type(
                k, count, width, self.norm, self.dtype, pool, dilation, name=f'stage{k}'
            )
            unpooled, x = stage(x, train)  # b h/2^k w/2^k width
            features |= {f'c{k}': x} if self.taps == 'pooled' else {f'c{k - 1}': unpooled}
        features['c5'] = x
        return features
