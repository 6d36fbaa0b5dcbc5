"""FCN-32s, FCN-16s and FCN-8s.

Shelhamer, Long, Darrell, "Fully Convolutional Networks for Semantic Segmentation", sections 4.2,
4.3 and figure 3: VGG16 whose fully connected layers fc6 and fc7 became 7x7 and 1x1 convolutions, a
1x1 scoring layer, and skips that add scores of pool4 and pool3 before up-sampling.

`padding='caffe'` is the released network. conv1_1 is padded by 100 pixels and fc6 by none, so that
an image of any size leaves at least one cell; transposed convolutions are not padded either, and
the offsets at which maps are cropped (`CROP`) lay all of them over the same points of the image:
cell i of fc6 is centred on pixel 32 i + 12.5.

`padding='same'` pads no layer by 100 pixels: fc6 is padded by 3, so the coarse map covers the image
exactly, one cell for each started 32 pixels, and no crop offsets are needed. The scores of a skip
are laid over the up-sampled ones from the top left.

Any image size works. Parameters are named after the released networks.
"""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from segjax import ops
from segjax.backbones import VGG16
from segjax.layers import BatchNorm, Conv, ConvTranspose, Dropout
from segjax.layers.conv import bilinear_init
from segjax.types import SegmentationOutput

# padding='caffe': rows and columns cut off in front, train.prototxt of voc-fcn32s, 16s and 8s
CROP = {'score_pool4': 5, 'score_pool3': 9, 'upscore32': 19, 'upscore16': 27, 'upscore8': 31}


def interpolate(x: Array, stride: int) -> Array:
    """The released networks' frozen transposed convolution: `b h w k` to `b (h+1)s (w+1)s k`.

    Its kernel is `ops.bilinear_kernel(s)` for each class by itself, without padding. Computed as
    the bilinear resize of the map with a border of zeros, less the outer half of that border, which
    is the same.
    """
    border = ((0, 0), (1, 1), (1, 1), (0, 0))
    _, h, w, _ = x.shape
    x = ops.resize_bilinear(jnp.pad(x, border), ((h + 2) * stride, (w + 2) * stride))
    return x[:, stride // 2 : -(stride // 2), stride // 2 : -(stride // 2)]


def cut(x: Array, size: tuple[int, int], offset: int) -> Array:
    """The window of `size` that begins at row and column `offset`."""
    return x[:, offset : offset + size[0], offset : offset + size[1]]


class FullyConvolutional(nn.Module):
    """A fully connected layer as a convolution, with ReLU and dropout: fc6 and fc7.

    Attributes:
      kernel: 7 for fc6, which saw a 7x7 map; 1 for fc7.
      padding: of the convolution.
    """

    features: int
    kernel: int
    padding: Literal['same', 'valid']
    norm: Literal['none', 'batch']
    dropout: float
    dtype: str

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        use_bias = self.norm == 'none'
        x = Conv(
            self.features,
            self.kernel,
            padding=self.padding,
            use_bias=use_bias,
            dtype=self.dtype,
            name='conv',
        )(x)
        if self.norm == 'batch':
            x = BatchNorm(dtype=self.dtype, name='bn')(x, train=train)
        return Dropout(self.dropout)(nn.relu(x), train=train)


class FCN(nn.Module):
    """A fully convolutional network over VGG16.

    Attributes:
      num_classes: with the background; 1 is a single sigmoid foreground channel.
      stride: of the finest scores: 32 (FCN-32s), 16 (FCN-16s) or 8 (FCN-8s).
      padding: 'same', or 'caffe' as released; see the head of this file.
      backbone: the convolutional layers.
      widths: channels of the backbone's five stages.
      fc_features: channels of fc6 and fc7; 4096 in the paper.
      norm: 'none' as published, or 'batch': batch normalisation before each ReLU.
      skip_scale: factors of pool4 and pool3 before they are scored; (1, 1) in the paper's staged
        training, (.01, .0001) in the released at-once training of FCN-8s.
      upsampling: 'bilinear' is fixed interpolation, as released; 'skips' learns the up-sampling
        before each skip from a bilinear start and keeps the last fixed, as section 4.3 says;
        'learned' learns every one.
      dropout: rate after fc6 and fc7.
      remat: recompute each stage in the backward pass: less memory, one more forward pass.
      dtype: compute type; parameters and logits are float32.
    """

    num_classes: int
    stride: Literal[8, 16, 32] = 8
    padding: Literal['same', 'caffe'] = 'same'
    backbone: Literal['vgg16'] = 'vgg16'
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    fc_features: int = 4096
    norm: Literal['none', 'batch'] = 'none'
    skip_scale: tuple[float, float] = (1.0, 1.0)
    upsampling: Literal['bilinear', 'skips', 'learned'] = 'bilinear'
    dropout: float = 0.5
    remat: bool = False
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    margin = 0  # pixels that the output lacks on each side

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest input whose output covers `size`: every size fits."""
        return size

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> SegmentationOutput:
        backbone = VGG16(self.widths, self.norm, self.remat, self.dtype, name='vgg16')
        features = backbone(self._pad(image), train=train)
        x = self._fully_connected('fc6', 7)(features['c5'], train)  # b h/32 w/32 fc_features
        x = self._fully_connected('fc7', 1)(x, train)
        x = self._score('score_fr')(x)  # b h/32 w/32 k
        if self.stride <= 16:
            skip = self._score('score_pool4')(features['c4'] * self.skip_scale[0])
            x = self._fuse(self._upsample(x, 2, 'upscore2'), skip, 'score_pool4')  # b h/16 w/16 k
        if self.stride <= 8:
            skip = self._score('score_pool3')(features['c3'] * self.skip_scale[1])
            x = self._fuse(self._upsample(x, 2, 'upscore_pool4'), skip, 'score_pool3')
        last = f'upscore{self.stride}'
        x = self._upsample(x, self.stride, last)
        x = cut(x, image.shape[1:3], CROP[last] if self.padding == 'caffe' else 0)
        return SegmentationOutput(jnp.asarray(x, jnp.float32))

    def _pad(self, image: Array) -> Array:
        """conv1_1 itself pads by 1, which makes 100."""
        border = 99 if self.padding == 'caffe' else 0
        return jnp.pad(image, ((0, 0), (border, border), (border, border), (0, 0)))

    def _fully_connected(self, name: str, kernel: int) -> nn.Module:
        layer = FullyConvolutional
        if self.remat:
            layer = nn.remat(layer, static_argnums=(2,))
        padding = 'valid' if self.padding == 'caffe' else 'same'
        return layer(
            self.fc_features, kernel, padding, self.norm, self.dropout, self.dtype, name=name
        )

    def _score(self, name: str) -> nn.Module:
        """Scores are float32 and start at zero (section 4.2): the first loss is log(k)."""
        return Conv(self.num_classes, 1, kernel_init=nn.initializers.zeros, name=name)

    def _fuse(self, x: Array, skip: Array, name: str) -> Array:
        """Add the scores of a skip to the up-sampled ones, the larger map cut to the smaller."""
        if self.padding == 'caffe':
            return x + cut(skip, x.shape[1:3], CROP[name])
        return cut(x, skip.shape[1:3], 0) + skip

    def _upsample(self, x: Array, factor: int, name: str) -> Array:
        """Up-sample by `factor`; 'caffe' makes one cell more than there were."""
        last = name == f'upscore{self.stride}'
        if self.upsampling == 'bilinear' or (self.upsampling == 'skips' and last):
            if self.padding == 'caffe':
                return interpolate(x, factor)
            return ops.resize_bilinear(x, (x.shape[1] * factor, x.shape[2] * factor))
        return ConvTranspose(
            self.num_classes,
            kernel=2 * factor,
            stride=factor,
            padding=0 if self.padding == 'caffe' else factor // 2,
            use_bias=False,
            kernel_init=bilinear_init,
            name=name,
        )(x)
