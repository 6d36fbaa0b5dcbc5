"""U-Net whose contracting path is an ImageNet classifier.

Over VGG, TernausNet: Iglovikov and Shvets, "TernausNet: U-Net with VGG11 Encoder Pre-Trained on
ImageNet for Image Segmentation", figure 1, and its successor over VGG16. The skips are taken before
each pooling, at strides 1 to 16; a centre follows the fifth. No normalisation. VGG11's decoder
up-samples by transposed 3x3 convolutions, VGG16's by bilinear interpolation or, with `deconv`, by
transposed 4x4 convolutions.

Over ResNet, the decoder of segmentation_models.pytorch: nearest up-sampling, the skip, and two
convolutions with batch normalisation. The skips are c1 to c4; the finest, at stride 1, has none.

The encoder's parameters lie below its name ('vgg16', 'resnet34', ...), so that the optimizer's
frozen=('^vgg16/',) freezes it and multipliers=(('^vgg16/', 0.1),) gives it a learning rate of its
own. `--weights=vgg16` starts it from ImageNet, also with pictures of one channel.
"""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from segjax import ops
from segjax.backbones import VGG, ResNet
from segjax.layers import Conv, ConvTranspose, DoubleConv, check_sides, round_up
from segjax.types import SegmentationOutput, UserError

VGGS: dict[str, Literal[11, 16]] = {'vgg11': 11, 'vgg16': 16}
RESNETS: dict[str, Literal[18, 34, 50]] = {'resnet18': 18, 'resnet34': 34, 'resnet50': 50}

Up = Literal['bilinear', 'deconv3', 'deconv4']


class TernausBlock(nn.Module):
    """Convolution and up-sampling by 2, in one order or the other, each followed by ReLU.

    Attributes:
      middle: channels of the first convolution.
      features: channels of the output.
      up: 'deconv3' and 'deconv4': a 3x3 convolution, then a transposed convolution of that side;
        'bilinear': interpolation, then two 3x3 convolutions.
    """

    middle: int
    features: int
    up: Up
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b oh ow features']:
        if self.up == 'bilinear':
            x = ops.resize_bilinear(x, (2 * x.shape[1], 2 * x.shape[2]))
        x = nn.relu(Conv(self.middle, dtype=self.dtype, name='conv')(x))
        if self.up == 'bilinear':
            return nn.relu(Conv(self.features, dtype=self.dtype, name='conv2')(x))
        three = self.up == 'deconv3'
        kernel, padding = (3, 0) if three else (4, 1)
        up = ConvTranspose(self.features, kernel, padding=padding, dtype=self.dtype, name='upconv')
        x = up(x)
        return nn.relu(x[:, 1:, 1:] if three else x)  # Torch's padding=1, output_padding=1


class UNetTransfer(nn.Module):
    """U-Net over an ImageNet classifier.

    Attributes:
      num_classes: with the background; 1 is a single sigmoid foreground channel.
      backbone: VGG with TernausNet's decoder, or ResNet with segmentation_models'.
      deconv: VGG16: transposed convolutions instead of interpolation.
      width: of the decoder: TernausNet's `num_filters`; over ResNet the decoder's channels are 8,
        4, 2, 1 and a half times this.
      backbone_width: channels of the encoder's first stage.
      remat: recompute each stage of the encoder and block of the decoder in the backward pass: less
        memory, one more forward pass.
      dtype: compute type; parameters and logits are float32.

    Raises:
      UserError: a side of the image is no multiple of 32, or `deconv` is set for another backbone.
    """

    num_classes: int
    backbone: Literal['vgg11', 'vgg16', 'resnet18', 'resnet34', 'resnet50'] = 'resnet34'
    deconv: bool = False
    width: int = 32
    backbone_width: int = 64
    remat: bool = False
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    margin = 0  # pixels that the output lacks on each side

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest input whose output covers `size`."""
        return round_up(size, 32)

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> SegmentationOutput:
        if self.deconv and self.backbone != 'vgg16':
            raise UserError(f'deconv is a field of the decoder over vgg16, not {self.backbone}')
        check_sides(f'U-Net over {self.backbone}', image.shape[1:3], 32)
        features = self._encoder()(image, train=train)
        if self.backbone in VGGS:
            x, kernel = self._ternaus(features), 1  # b h w width
        else:
            x, kernel = self._residual(features, train), 3  # b h w width/2
        return SegmentationOutput(Conv(self.num_classes, kernel, name='score')(x))

    def _encoder(self) -> nn.Module:
        """The one place where the field `backbone` becomes a network."""
        name, width = self.backbone, self.backbone_width
        if name in VGGS:
            widths = (width, 2 * width, 4 * width, 8 * width, 8 * width)
            return VGG(
                VGGS[name], widths, remat=self.remat, dtype=self.dtype, taps='unpooled', name=name
            )
        return ResNet(RESNETS[name], width=width, remat=self.remat, dtype=self.dtype, name=name)

    def _ternaus(self, features: dict[str, Array]) -> Array:
        """TernausNet's decoder, from c5 and the skips c4 to c0."""
        up: Up = 'deconv3' if self.backbone == 'vgg11' else 'deconv4' if self.deconv else 'bilinear'
        block_type = nn.remat(TernausBlock) if self.remat else TernausBlock
        block = lambda name, middle, out: block_type(
            middle * self.width, out * self.width, up, self.dtype, name=name
        )
        join = lambda x, skip: jnp.concatenate([x, features[skip]], axis=-1)
        x = block('center', 16, 8)(features['c5'])  # b h/16 w/16 8width
        x = block('dec5', 16, 8)(join(x, 'c4'))
        x = block('dec4', 16, 4 if self.backbone == 'vgg11' else 8)(join(x, 'c3'))
        x = block('dec3', 8, 2)(join(x, 'c2'))
        x = block('dec2', 4, 1)(join(x, 'c1'))  # b h w width
        return nn.relu(Conv(self.width, dtype=self.dtype, name='dec1')(join(x, 'c0')))

    def _residual(self, features: dict[str, Array], train: bool) -> Array:
        """segmentation_models' decoder, from c5 and the skips c4 to c1."""
        block = nn.remat(DoubleConv, static_argnums=(2,)) if self.remat else DoubleConv
        widths = [8 * self.width, 4 * self.width, 2 * self.width, self.width, self.width // 2]
        x = features['c5']
        for k, width in zip((4, 3, 2, 1, 0), widths, strict=True):
            x = ops.nearest_unpool(x)
            if k > 0:
                x = jnp.concatenate([x, features[f'c{k}']], axis=-1)
            level = block(width, norm='batch', use_bias=False, dtype=self.dtype, name=f'dec{k + 1}')
            x = level(x, train)  # b h/2^k w/2^k width
        return x
