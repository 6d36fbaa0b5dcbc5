"""DeepLabV3, of the paper and of torchvision.

Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation":
a classifier dilated to output stride 16 or 8, its last stage with a multi-grid (section 3.2), an
atrous spatial pyramid (section 3.3), scores at that stride, interpolated to the image.

`flavor='tf'` is the paper's, after tensorflow/models: ResNet "beta", rates 6, 12 and 18 at output
stride 16 (doubled at 8, halved at 32), corners aligned when scores are interpolated, so that sides
of `k * stride + 1` pixels fit best. A network trained at one output stride is evaluated at another
with the same weights: `eval_output_stride`.

`flavor='torchvision'` has a second 3x3 convolution after the pyramid, dropout of a half, the rates
12, 24 and 36 at every output stride (8 over ResNet, 16 over MobileNetV3, in its weights), no
multi-grid, corners not aligned, and the pooled branch joined last. With `aux` a second head reads
layer3 of ResNet, or the first features at stride 8 of MobileNetV3.

Any image size works. Weights: --weights=deeplabv3_resnet50 is torchvision's whole network,
--weights=resnet50 its encoder.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from segjax import ops
from segjax.backbones.deeplab import deeplab_backbone
from segjax.layers import ASPP, Conv, ConvNormRelu, Dropout
from segjax.layers.conv import TORCH_UNIFORM
from segjax.types import SegmentationOutput


class Head(NamedTuple):
    """How a flavour differs behind the backbone.

    Attributes:
      rates: of the pyramid.
      scaled: the rates are those at output stride 16, inversely proportional to it.
      image_pool: where the pooled branch is joined.
      dropout: rate after the pyramid.
      conv: a 3x3 convolution follows it.
      bn_momentum: decay of running averages.
      align_corners: of the last interpolation.
      init, score_init: of the convolutions' kernels, and of the scores'.
    """

    rates: tuple[int, ...]
    scaled: bool
    image_pool: Literal['first', 'last']
    dropout: float
    conv: bool
    bn_momentum: float
    align_corners: bool
    init: nn.initializers.Initializer
    score_init: nn.initializers.Initializer


HEADS = {
    'tf': Head(
        (6, 12, 18), True, 'first', 0.1, False, 0.9997, True,
        nn.initializers.xavier_uniform(), nn.initializers.truncated_normal(0.01),
    ),
    'torchvision': Head(
        (12, 24, 36), False, 'last', 0.5, True, 0.9, False, TORCH_UNIFORM, TORCH_UNIFORM
    ),
}  # fmt: skip


class DeepLabV3(nn.Module):
    """A dilated classifier with atrous spatial pyramid pooling.

    Attributes:
      num_classes: with the background; 1 is a single sigmoid foreground channel.
      backbone: 'resnet18' and 'mobilenet_v3_large' are torchvision's alone, Xception TensorFlow's.
      flavor: see the head of this file.
      output_stride: of the deepest features: 8, 16 or 32.
      eval_output_stride: the same when not training; 0 for no other.
      aux: a second head, `aux[0]` of the output; of flavor torchvision.
      rates: dilations of the pyramid; empty for the flavour's.
      image_pool: whether the pyramid has a branch of the map's mean.
      features: channels of the pyramid.
      width: multiplier of the backbone's channels.
      bn_momentum: decay of the running averages of batch normalisation; 0 for the flavour's, which
        in TensorFlow wants tens of thousands of steps (.9997).
      remat: recompute each block of the backbone in the backward pass: less memory, more time.
      dtype: compute type; parameters and logits are float32.

    Raises:
      UserError: these fields do not go together.
    """

    num_classes: int
    backbone: Literal[
        'resnet18', 'resnet50', 'resnet101', 'mobilenet_v2', 'mobilenet_v3_large',
        'xception41', 'xception65', 'xception71',
    ] = 'resnet101'  # fmt: skip
    flavor: Literal['tf', 'torchvision'] = 'tf'
    output_stride: Literal[8, 16, 32] = 16
    eval_output_stride: Literal[0, 8, 16, 32] = 0
    aux: bool = False
    rates: tuple[int, ...] = ()
    image_pool: bool = True
    features: int = 256
    width: float = 1.0
    bn_momentum: float = 0.0
    remat: bool = False
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    margin = 0  # pixels that the output lacks on each side

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest input whose output covers `size`: every size fits."""
        return size

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> SegmentationOutput:
        head = HEADS[self.flavor]
        stride = self.output_stride if train else self.eval_output_stride or self.output_stride
        features = self._backbone(stride)(image, train=train)
        layer = partial(
            ConvNormRelu,
            bn_momentum=self.bn_momentum or head.bn_momentum,
            kernel_init=head.init,
            dtype=self.dtype,
        )
        rates = self.rates or head.rates
        pyramid = ASPP(
            tuple(16 * rate // stride for rate in rates) if head.scaled else rates,
            layer,
            layer,
            self.features,
            head.image_pool if self.image_pool else 'none',
            head.dropout,
            name='aspp',
        )
        x = pyramid(features['c5'], train)  # b h/stride w/stride features
        if head.conv:
            x = layer(self.features, name='head')(x, train)
        _, h, w, _ = image.shape
        aux = ()
        if self.aux:
            shallow = features['c4' if self.backbone.startswith('resnet') else 'c3']
            y = layer(shallow.shape[-1] // 4, name='aux')(shallow, train)
            y = Dropout(0.1, name='dropout_aux')(y, train=train)
            aux = (self._score('score_aux', y, (h, w)),)
        return SegmentationOutput(self._score('score', x, (h, w)), aux)

    def _score(self, name: str, x: Array, size: tuple[Any, Any]) -> Array:
        """Scores, float32, interpolated to the image's size."""
        head = HEADS[self.flavor]
        x = Conv(self.num_classes, 1, kernel_init=head.score_init, name=name)(x)
        return ops.resize_bilinear(x, size, align_corners=head.align_corners)

    def _backbone(self, stride: int) -> nn.Module:
        return deeplab_backbone(
            self.backbone,
            self.flavor,
            output_stride=stride,
            width=self.width,
            bn_momentum=self.bn_momentum,
            remat=self.remat,
            dtype=self.dtype,
        )
