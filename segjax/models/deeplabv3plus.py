"""DeepLabV3+, of the paper and of other projects.

Chen, Zhu, Papandreou, Schroff, Adam, "Encoder-Decoder with Atrous Separable Convolution for
Semantic Image Segmentation": DeepLabV3's dilated classifier and atrous spatial pyramid as encoder;
a decoder (section 3.1, figure 2) that interpolates the pyramid to stride 4, joins the classifier's
features there, reduced to 48 channels, and refines both by two 3x3 convolutions; scores at stride
4, interpolated to the image. Convolutions of pyramid and decoder are depthwise separable.

`flavor='tf'` is the paper's network in its released code (tensorflow/models, deeplab): the pyramid
joins the image's mean first, and its rates are 6, 12 and 18 at output stride 16 (doubled at 8,
halved at 32); both halves of a separable convolution are normalised and activated; corners are
aligned, so that sides of `k * stride + 1` pixels fit best. Its mobile networks over MobileNetV2
have `decoder=False, atrous=False`: of the pyramid the 1x1 convolution and the image's mean. Over
ResNet the paper's tables have `separable=False`.

`flavor='smp'` is segmentation_models.pytorch's: rates 12, 24 and 36, dropout of a half, a separable
convolution after the pyramid and one in the decoder, nothing between the halves of each.

`flavor='torchvision'` goes with torchvision's backbones as VainF/DeepLabV3Plus-Pytorch has it,
which sets `separable=False`: one convolution in the decoder, which reads the features of stride 4
before the pyramid's; corners are not aligned.

A network trained at one output stride is evaluated at another with the same weights:
`eval_output_stride`. Any image size works.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from segjax import ops
from segjax.backbones.deeplab import deeplab_backbone
from segjax.layers import ASPP, Conv, ConvNormRelu, SeparableConv
from segjax.layers.conv import TORCH_UNIFORM
from segjax.types import SegmentationOutput

Initializer = nn.initializers.Initializer


class Head(NamedTuple):
    """How a flavour differs behind the backbone.

    Attributes:
      rates: of the pyramid.
      scaled: the rates are those at output stride 16, inversely proportional to it.
      image_pool: where the pooled branch is joined.
      dropout: rate after the pyramid.
      aspp_conv: another 3x3 convolution follows it.
      decoder_convs: 3x3 convolutions of the decoder.
      low_first: the decoder joins the features of stride 4 before the pyramid's.
      between: separable convolutions are normalised and activated between their halves, too.
      bn_momentum: decay of running averages.
      align_corners: of interpolations.
      init, depthwise_init, pointwise_init, score_init: of kernels.
    """

    rates: tuple[int, ...]
    scaled: bool
    image_pool: Literal['first', 'last']
    dropout: float
    aspp_conv: bool
    decoder_convs: int
    low_first: bool
    between: bool
    bn_momentum: float
    align_corners: bool
    init: Initializer
    depthwise_init: Initializer
    pointwise_init: Initializer
    score_init: Initializer


_NORMAL = nn.initializers.truncated_normal
_HE_UNIFORM = nn.initializers.he_uniform()
HEADS = {
    'tf': Head(
        rates=(6, 12, 18), scaled=True, image_pool='first', dropout=0.1, aspp_conv=False,
        decoder_convs=2, low_first=False, between=True, bn_momentum=0.9997, align_corners=True,
        init=nn.initializers.xavier_uniform(), depthwise_init=_NORMAL(0.33),
        pointwise_init=_NORMAL(0.06), score_init=_NORMAL(0.01),
    ),
    'torchvision': Head(
        rates=(6, 12, 18), scaled=True, image_pool='last', dropout=0.1, aspp_conv=False,
        decoder_convs=1, low_first=True, between=True, bn_momentum=0.9, align_corners=False,
        init=TORCH_UNIFORM, depthwise_init=TORCH_UNIFORM, pointwise_init=TORCH_UNIFORM,
        score_init=TORCH_UNIFORM,
    ),
    'smp': Head(
        rates=(12, 24, 36), scaled=False, image_pool='last', dropout=0.5, aspp_conv=True,
        decoder_convs=1, low_first=False, between=False, bn_momentum=0.9, align_corners=True,
        init=_HE_UNIFORM, depthwise_init=_HE_UNIFORM, pointwise_init=_HE_UNIFORM,
        score_init=nn.initializers.xavier_uniform(),
    ),
}  # fmt: skip


class DeepLabV3Plus(nn.Module):
    """DeepLabV3 with a decoder.

    Attributes:
      num_classes: with the background; 1 is a single sigmoid foreground channel.
      backbone: Xception is the tf flavour's alone, 'resnet18' the others'.
      flavor: see the head of this file.
      output_stride: of the encoder: 8, 16 or 32.
      eval_output_stride: the same when not training; 0 for no other.
      decoder: False leaves DeepLabV3, scored at the output stride.
      atrous: whether the pyramid has its 3x3 convolutions.
      image_pool: whether the pyramid has a branch of the map's mean.
      separable: depthwise separable or dense 3x3 convolutions in pyramid and decoder.
      rates: dilations of the pyramid; empty for the flavour's.
      features: channels of the pyramid and the decoder.
      low_level_features: channels that the decoder takes of the backbone's at stride 4.
      decoder_convs: 3x3 convolutions of the decoder; 0 for the flavour's.
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
        'resnet18', 'resnet50', 'resnet101', 'mobilenet_v2', 'xception41', 'xception65',
        'xception71',
    ] = 'xception65'  # fmt: skip
    flavor: Literal['tf', 'torchvision', 'smp'] = 'tf'
    output_stride: Literal[8, 16, 32] = 16
    eval_output_stride: Literal[0, 8, 16, 32] = 0
    decoder: bool = True
    atrous: bool = True
    image_pool: bool = True
    separable: bool = True
    rates: tuple[int, ...] = ()
    features: int = 256
    low_level_features: int = 48
    decoder_convs: int = 0
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
        one, three = self._layers(head)
        pyramid = ASPP(
            self._rates(head, stride),
            one,
            three,
            self.features,
            head.image_pool if self.image_pool else 'none',
            head.dropout,
            name='aspp',
        )
        x = pyramid(features['c5'], train)  # b h/stride w/stride features
        if head.aspp_conv:
            x = three(self.features, name='aspp_conv')(x, train)
        if self.decoder:
            low = one(self.low_level_features, 1, name='feature_projection0')(features['c2'], train)
            _, h, w, _ = low.shape
            x = ops.resize_bilinear(x, (h, w), align_corners=head.align_corners)
            x = jnp.concatenate((low, x) if head.low_first else (x, low), axis=-1)
            for i in range(self.decoder_convs or head.decoder_convs):
                x = three(self.features, name=f'decoder_conv{i}')(x, train)  # b h/4 w/4 features
        x = Conv(self.num_classes, 1, kernel_init=head.score_init, name='score')(x)  # float32
        _, h, w, _ = image.shape
        x = ops.resize_bilinear(x, (h, w), align_corners=head.align_corners)
        return SegmentationOutput(x)

    def _rates(self, head: Head, stride: int) -> tuple[int, ...]:
        rates = (self.rates or head.rates) if self.atrous else ()
        return tuple(16 * rate // stride for rate in rates) if head.scaled else rates

    def _layers(self, head: Head) -> tuple[Any, Any]:
        """What builds a 1x1 convolution, and a 3x3 one."""
        options = {'bn_momentum': self.bn_momentum or head.bn_momentum, 'dtype': self.dtype}
        dense = partial(ConvNormRelu, kernel_init=head.init, **options)
        separable = partial(
            SeparableConv,
            depthwise_init=head.depthwise_init,
            pointwise_init=head.pointwise_init,
            between=head.between,
            **options,
        )
        return dense, separable if self.separable else dense

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
