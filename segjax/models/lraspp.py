"""LR-ASPP over MobileNetV3-Large: a segmentation network for telephones.

Howard et al., "Searching for MobileNetV3", section 6.4 and figure 10, as torchvision has it: the
deepest features pass a 1x1 convolution and are weighed, channel by channel, by a sigmoid of their
means over the whole map (the paper: over a window of 49x49 pixels); scores of them are interpolated
to stride 8, where scores of the features there are added. MobileNetV3 is dilated to stride 16.

Any image size works. Weights: --weights=lraspp_mobilenet_v3_large is the whole network,
--weights=mobilenet_v3_large its encoder.
"""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from segjax import ops
from segjax.backbones import MobileNetV3Large
from segjax.layers import Conv, ConvNormRelu
from segjax.layers.conv import TORCH_UNIFORM
from segjax.types import SegmentationOutput


class LRASPP(nn.Module):
    """MobileNetV3-Large with the lite reduced ASPP.

    Attributes:
      num_classes: with the background; 1 is a single sigmoid foreground channel.
      features: channels of the head.
      output_stride: of the deepest features; 16 in torchvision.
      remat: recompute each block of the backbone in the backward pass: less memory, more time.
      dtype: compute type; parameters and logits are float32.
    """

    num_classes: int
    features: int = 128
    output_stride: Literal[8, 16, 32] = 16
    remat: bool = False
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    margin = 0  # pixels that the output lacks on each side

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest input whose output covers `size`: every size fits."""
        return size

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> SegmentationOutput:
        backbone = MobileNetV3Large(
            self.output_stride,
            dilate_first=True,
            c3_block='first',
            remat=self.remat,
            dtype=self.dtype,
            name='mobilenet_v3_large',
        )
        features = backbone(image, train=train)
        low, high = features['c3'], features['c5']  # b h/8 w/8 40, b h/16 w/16 960
        layer = ConvNormRelu(
            self.features, 1, kernel_init=TORCH_UNIFORM, dtype=self.dtype, name='cbr'
        )
        x = layer(high, train)
        mean = jnp.mean(high, axis=(1, 2), keepdims=True, dtype=jnp.float32)
        scale = Conv(self.features, 1, use_bias=False, kernel_init=TORCH_UNIFORM, name='scale')
        x = x * nn.sigmoid(scale(mean)).astype(x.dtype)
        _, h, w, _ = low.shape
        x = ops.resize_bilinear(x, (h, w))
        x = self._score('score_high')(x) + self._score('score_low')(low)  # float32
        _, h, w, _ = image.shape
        return SegmentationOutput(ops.resize_bilinear(x, (h, w)))

    def _score(self, name: str) -> nn.Module:
        return Conv(self.num_classes, 1, kernel_init=TORCH_UNIFORM, name=name)
