"""FCN over a dilated ResNet, torchvision's fcn_resnet50 and fcn_resnet101.

Not the FCN of the paper (`fcn.py`): one head at stride 8, no skips. torchvision's head is a 3x3
convolution to a quarter of the channels, batch normalisation, ReLU, dropout and a 1x1 convolution;
an auxiliary one like it reads layer3 and is supervised with a weight of .4 or .5. Scores are
interpolated to the image's size.

Any image size works. Weights: --weights=fcn_resnet50 is the whole network, --weights=resnet50 its
encoder.
"""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from segjax import ops
from segjax.backbones import ResNet
from segjax.layers import Conv, ConvNormRelu, Dropout
from segjax.layers.conv import TORCH_UNIFORM
from segjax.types import SegmentationOutput


class FCNResNet(nn.Module):
    """A dilated ResNet with a fully convolutional head.

    Attributes:
      num_classes: with the background; 1 is a single sigmoid foreground channel.
      depth: of the ResNet.
      aux: a second head over layer3, `aux[0]` of the output.
      output_stride: of layer4; 8 in torchvision.
      width: channels of the stem; 64 in the paper.
      dropout: rate before the scores.
      remat: recompute each block of the ResNet in the backward pass: less memory, more time.
      dtype: compute type; parameters and logits are float32.
    """

    num_classes: int
    depth: Literal[50, 101] = 50
    aux: bool = True
    output_stride: Literal[8, 16, 32] = 8
    width: int = 64
    dropout: float = 0.1
    remat: bool = False
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    margin = 0  # pixels that the output lacks on each side

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest input whose output covers `size`: every size fits."""
        return size

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> SegmentationOutput:
        backbone = ResNet(
            self.depth,
            self.output_stride,
            width=self.width,
            remat=self.remat,
            dtype=self.dtype,
            name=f'resnet{self.depth}',
        )
        features = backbone(image, train=train)
        _, h, w, _ = image.shape
        aux = (self._head(features['c4'], 'aux', (h, w), train),) if self.aux else ()
        return SegmentationOutput(self._head(features['c5'], 'head', (h, w), train), aux)

    def _head(self, x: Array, name: str, size: tuple[Any, Any], train: bool) -> Array:
        """Scores at the image's size from features of the backbone."""
        layer = ConvNormRelu(
            x.shape[-1] // 4, kernel_init=TORCH_UNIFORM, dtype=self.dtype, name=name
        )
        x = Dropout(self.dropout, name=f'dropout_{name}')(layer(x, train), train=train)
        score = 'score' if name == 'head' else f'score_{name}'
        x = Conv(self.num_classes, 1, kernel_init=TORCH_UNIFORM, name=score)(x)  # float32
        return ops.resize_bilinear(x, size)
