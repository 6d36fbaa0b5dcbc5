"""DeepLab, versions 1 and 2.

Chen, Papandreou, Kokkinos, Murphy, Yuille, "Semantic Image Segmentation with Deep Convolutional
Nets and Fully Connected CRFs" (version 1) and "DeepLab: Semantic Image Segmentation with Deep
Convolutional Nets, Atrous Convolution, and Fully Connected CRFs" (version 2): a classifier dilated
to output stride 8, whose first fully connected layer became an atrous convolution ("field of
view"), scored at that stride and interpolated to the image.

- `variant='7x7'`: VGG16's fc6 as it was, dilated by 4. 134.3 M parameters.
- `variant='4x4'`: fc6 subsampled to 4x4, dilated by 4 (--rates=8 for the other row of table 1).
- `variant='large_fov'`: 3x3, 1024 channels, dilated by 12: DeepLab-LargeFOV, 20.5 M.
- `variant='aspp'`: four branches fc6, fc7, fc8 of dilations 6, 12, 18 and 24, added up: version 2's
  ASPP-L. Over ResNet-101 each branch is a single 3x3 convolution that scores.

Over VGG16 the poolings have windows of 3x3, the last two no stride, and conv5 is dilated by 2, as
released. With `input_scales` the network sees the picture at several scales and the scores' maximum
is taken (version 2, section 4.1.2, "MSC"); training supervises each scale and the maximum.

The conditional random field of the papers is not here: their figures "before CRF" compare. Any
image size works. --weights=vgg16 and --weights=resnet101 start the encoder.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from segjax import ops
from segjax.backbones import VGG, ResNet
from segjax.layers import Conv, Dropout
from segjax.types import SegmentationOutput, UserError

KERNELS = {'7x7': 7, '4x4': 4, 'large_fov': 3, 'aspp': 3}  # of fc6
FEATURES = {'7x7': 4096, '4x4': 4096, 'large_fov': 1024, 'aspp': 1024}  # of fc6 and fc7
RATES = {'7x7': (4,), '4x4': (4,), 'large_fov': (12,), 'aspp': (6, 12, 18, 24)}
GAUSSIAN = nn.initializers.normal(0.01)


class Branch(nn.Module):
    """fc6, fc7 and fc8: an atrous convolution, a 1x1 convolution and scores, with dropout.

    Attributes:
      num_classes: channels out.
      features: of fc6 and fc7; 0: there is fc8 alone, which is the atrous convolution.
      kernel, rate: of the atrous convolution.
      dropout: rate after fc6 and fc7.
    """

    num_classes: int
    features: int
    kernel: int
    rate: int
    dropout: float
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c'], train: bool) -> Float[Array, 'b h w k']:
        score = partial(Conv, self.num_classes, kernel_init=GAUSSIAN, name='fc8')  # float32
        if not self.features:
            return score(kernel=self.kernel, dilation=self.rate)(x)
        fc6 = Conv(self.features, self.kernel, dilation=self.rate, dtype=self.dtype, name='fc6')
        x = Dropout(self.dropout, name='dropout6')(nn.relu(fc6(x)), train=train)
        x = nn.relu(Conv(self.features, 1, dtype=self.dtype, name='fc7')(x))
        x = Dropout(self.dropout, name='dropout7')(x, train=train)
        return score(kernel=1)(x)


class DeepLab(nn.Module):
    """DeepLab of versions 1 and 2, without the conditional random field.

    Attributes:
      num_classes: with the background; 1 is a single sigmoid foreground channel.
      backbone: ResNet-101 goes with large_fov and aspp.
      variant: of the head; see the top of this file.
      rates: dilations of the head's branches; empty for the published ones.
      features: channels of fc6 and fc7 over VGG16; 0 for the published ones.
      input_scales: at which the picture is seen, the maximum taken; (0.5, 0.75, 1) in version 2.
      width: channels of the backbone's first stage.
      dropout: rate after fc6 and fc7.
      remat: recompute each stage of the backbone in the backward pass: less memory, more time.
      dtype: compute type; parameters and logits are float32.

    Raises:
      UserError: the variant is not one of the backbone's.
    """

    num_classes: int
    backbone: Literal['vgg16', 'resnet101'] = 'vgg16'
    variant: Literal['7x7', '4x4', 'large_fov', 'aspp'] = 'large_fov'
    rates: tuple[int, ...] = ()
    features: int = 0
    input_scales: tuple[float, ...] = (1.0,)
    width: int = 64
    dropout: float = 0.5
    remat: bool = False
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    margin = 0  # pixels that the output lacks on each side

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest input whose output covers `size`: every size fits."""
        return size

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> SegmentationOutput:
        if self.backbone != 'vgg16' and self.variant in ('7x7', '4x4'):
            raise UserError(
                f'--variant={self.variant} is a layer of VGG16; over {self.backbone} set '
                '--variant=aspp or large_fov'
            )
        backbone, branches = self._backbone(), self._branches()

        def score(image: Array) -> Array:
            x = backbone(image, train=train)['c5']  # b h/8 w/8 c
            return jnp.sum(jnp.stack([branch(x, train) for branch in branches]), axis=0)

        _, height, width, _ = image.shape
        size = (height, width)
        scores = []
        for scale in self.input_scales:  # the same layers at every scale
            h, w = (max(1, round(side * scale)) for side in size)
            scaled = image if scale == 1 else ops.resize_bilinear(image, (h, w))
            scores.append(ops.resize_bilinear(score(scaled), size))
        if len(scores) == 1:
            return SegmentationOutput(scores[0])
        return SegmentationOutput(jnp.max(jnp.stack(scores), axis=0), tuple(scores))

    def _backbone(self) -> nn.Module:
        """The one place where the field `backbone` becomes a network."""
        name, width = self.backbone, self.width
        if name == 'resnet101':
            return ResNet(101, 8, width=width, remat=self.remat, dtype=self.dtype, name=name)
        widths = (width, 2 * width, 4 * width, 8 * width, 8 * width)
        return VGG(16, widths, remat=self.remat, dtype=self.dtype, output_stride=8, name=name)

    def _branches(self) -> list[nn.Module]:
        """What scores the backbone's features, to be added up."""
        deep = self.backbone == 'vgg16'
        features = (self.features or FEATURES[self.variant]) if deep else 0
        rates = self.rates or RATES[self.variant]
        kernel, k = KERNELS[self.variant], self.num_classes
        return [
            Branch(k, features, kernel, rate, self.dropout, self.dtype, name=f'score_{i}')
            for i, rate in enumerate(rates, start=1)
        ]
