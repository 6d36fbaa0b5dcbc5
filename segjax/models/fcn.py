"""FCN-32s, FCN-16s and FCN-8s, and FCN over AlexNet and GoogLeNet.

Shelhamer, Long, Darrell, "Fully Convolutional Networks for Semantic Segmentation", sections 4.1 to
4.3 and figure 3: VGG16 whose fully connected layers fc6 and fc7 became 7x7 and 1x1 convolutions, a
1x1 scoring layer, and skips that add scores of pool4 and pool3 before up-sampling. AlexNet is
treated alike, with a 6x6 fc6 and without skips. Of GoogLeNet, whose FCN was never released, the
paper says that only the final loss layer is used and the average pooling before it left out.

`padding='caffe'` is the released network. The first layer pads by 100 pixels and fc6 by none, so
that an image of any size leaves at least one cell; transposed convolutions are not padded either,
and the offsets at which maps are cropped (`CROP`, `Trunk.crop`) lay all of them over the same
points of the image: cell i of VGG16's fc6 is centred on pixel 32 i + 12.5.

`padding='same'` pads no layer by 100 pixels: fc6 keeps the size, so the coarse map covers the image
exactly, one cell for each started 32 pixels, and no crop offsets are needed. The scores of a skip
are laid over the up-sampled ones from the top left.

Any image size works. Parameters are named after the released networks.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from segjax import ops
from segjax.backbones import VGG, AlexNet, CaffeNet, GoogLeNet
from segjax.layers import BatchNorm, Conv, ConvTranspose, Dropout
from segjax.layers.conv import bilinear_init
from segjax.types import SegmentationOutput, UserError

# padding='caffe': rows and columns cut off in front, train.prototxt of voc-fcn16s and 8s
CROP = {'score_pool4': 5, 'score_pool3': 9, 'upscore16': 27, 'upscore8': 31}


class Trunk(NamedTuple):
    """What FCN-32s needs to know of a backbone, which has stride 32.

    Attributes:
      fc6: side of fc6's kernel; 0 where the backbone ends without fully connected layers.
      border: padding='caffe': pixels around the image; with the first layer's own, 100.
      crop: padding='caffe': rows and columns cut off the scores that were up-sampled by 32.
      odd: padding='caffe': fc6's cells are centred on pixels, not between them, and the kernel of
        the last up-sampling has a side of 63, not of 64.
      same: padding='same': (front, extra): the image is padded by `front` pixels in front, and
        behind until it has 32 m + extra, which give m cells, each in the middle of its 32 pixels
        to half a pixel. None: no padding is needed.
    """

    fc6: int
    border: int
    crop: int
    odd: bool
    same: tuple[int, int] | None


TRUNKS = {
    'vgg': Trunk(fc6=7, border=99, crop=19, odd=False, same=None),
    'alexnet': Trunk(fc6=6, border=100, crop=18, odd=True, same=(33, 35)),
    'googlenet': Trunk(fc6=0, border=97, crop=98, odd=True, same=(15, 29)),
    'googlenet_bn': Trunk(fc6=0, border=97, crop=106, odd=True, same=(7, 13)),  # last pooling: 2x2
}


def interpolate(x: Array, stride: int, *, odd: bool = False) -> Array:
    """The released networks' frozen transposed convolution: `b h w k` to `b (h+1)s (w+1)s k`.

    Its kernel is `ops.bilinear_kernel(s, odd=odd)` for each class by itself, without padding; an
    odd one gives a row and a column less. Computed as the bilinear resize of the map with a border
    of zeros, less the outer half of that border, which is the same.
    """
    _, h, w, _ = x.shape
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    if odd:
        size = (h + 1) * stride + 1, (w + 1) * stride + 1
        return ops.resize_bilinear(x, size, align_corners=True)[:, 1:-1, 1:-1]
    x = ops.resize_bilinear(x, ((h + 2) * stride, (w + 2) * stride))
    return x[:, stride // 2 : -(stride // 2), stride // 2 : -(stride // 2)]


def cut(x: Array, size: tuple[int, ...], offset: int) -> Array:
    """The window of `size` that begins at row and column `offset`."""
    return x[:, offset : offset + size[0], offset : offset + size[1]]


class FullyConvolutional(nn.Module):
    """A fully connected layer as a convolution, with ReLU and dropout: fc6 and fc7.

    Attributes:
      kernel: 7 for VGG's fc6, which saw a 7x7 map; 1 for fc7.
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
    """A fully convolutional network.

    Attributes:
      num_classes: with the background; 1 is a single sigmoid foreground channel.
      stride: of the finest scores: 32 (FCN-32s), 16 (FCN-16s) or 8 (FCN-8s); 32 over AlexNet and
        GoogLeNet.
      padding: 'same', or 'caffe' as released; see the head of this file.
      backbone: 'caffenet' is the AlexNet of FCN-AlexNet, 'alexnet' torchvision's.
      widths: channels of VGG's five stages.
      fc_features: channels of fc6 and fc7; 4096 in the paper.
      norm: 'none' as published, or 'batch': batch normalisation before each ReLU, in VGG and in
        GoogLeNet, which then is torchvision's.
      skip_scale: factors of pool4 and pool3 before they are scored; (1, 1) in the paper's staged
        training, (.01, .0001) in the released at-once training of FCN-8s.
      upsampling: 'bilinear' is fixed interpolation, as released; 'skips' learns the up-sampling
        before each skip from a bilinear start and keeps the last fixed, as section 4.3 says;
        'learned' learns every one.
      dropout: rate after fc6 and fc7, or after GoogLeNet.
      remat: recompute each stage of VGG in the backward pass: less memory, one more forward pass.
      dtype: compute type; parameters and logits are float32.

    Raises:
      UserError: these fields do not go together.
    """

    num_classes: int
    stride: Literal[8, 16, 32] = 8
    padding: Literal['same', 'caffe'] = 'same'
    backbone: Literal['vgg11', 'vgg16', 'caffenet', 'alexnet', 'googlenet'] = 'vgg16'
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
        self._check()
        trunk, backbone = self._backbone()
        features = backbone(self._pad(image, trunk), train=train)
        x = features['c5']  # b h/32 w/32 c
        if trunk.fc6:
            x = self._fully_connected('fc6', trunk.fc6)(x, train)  # b h/32 w/32 fc_features
            x = self._fully_connected('fc7', 1)(x, train)
        else:
            x = Dropout(self.dropout)(x, train=train)
        x = self._score('score_fr')(x)  # b h/32 w/32 k
        if self.stride <= 16:
            skip = self._score('score_pool4')(features['c4'] * self.skip_scale[0])
            x = self._fuse(self._upsample(x, 2, 'upscore2'), skip, 'score_pool4')  # b h/16 w/16 k
        if self.stride <= 8:
            skip = self._score('score_pool3')(features['c3'] * self.skip_scale[1])
            x = self._fuse(self._upsample(x, 2, 'upscore_pool4'), skip, 'score_pool3')
        last = f'upscore{self.stride}'
        x = self._upsample(x, self.stride, last, odd=self.padding == 'caffe' and trunk.odd)
        offset = CROP.get(last, trunk.crop) if self.padding == 'caffe' else 0
        x = cut(x, image.shape[1:3], offset)
        return SegmentationOutput(jnp.asarray(x, jnp.float32))

    def _check(self) -> None:
        """Fields that do not go together."""
        name = f'FCN over {self.backbone}'
        if self.backbone.startswith('vgg'):
            return
        if self.stride != 32:
            raise UserError(f'{name} has no skips: set stride=32, or backbone=vgg16 or vgg11')
        if self.norm == 'batch' and self.backbone != 'googlenet':
            raise UserError(f'{name} has no batch normalisation: set norm=none')
        if self.padding == 'caffe' and (self.backbone == 'alexnet' or self.norm == 'batch'):
            raise UserError(
                f"{name} is torchvision's network here and has padding=same alone; padding=caffe "
                'goes with caffenet, with vgg16 and vgg11, and with googlenet and norm=none'
            )
        if self.remat or self.widths != type(self).widths:
            raise UserError(f'{name} takes neither widths nor remat, which are fields of VGG')

    def _backbone(self) -> tuple[Trunk, nn.Module]:
        """The one place where the field `backbone` becomes a network."""
        name, dtype = self.backbone, self.dtype
        if name == 'caffenet':
            return TRUNKS['alexnet'], CaffeNet(dtype=dtype, name=name)
        if name == 'alexnet':
            return TRUNKS['alexnet'], AlexNet(padding=0, dtype=dtype, name=name)
        if name == 'googlenet' and self.norm == 'batch':
            return TRUNKS['googlenet_bn'], GoogLeNet('torchvision', dtype, name=name)
        if name == 'googlenet':
            return TRUNKS['googlenet'], GoogLeNet('paper', dtype, name=name)
        depth = 11 if name == 'vgg11' else 16
        return TRUNKS['vgg'], VGG(depth, self.widths, self.norm, self.remat, dtype, name=name)

    def _pad(self, image: Array, trunk: Trunk) -> Array:
        """The image with zeros around it: by 100 pixels less those that the first layer adds."""
        if self.padding == 'caffe':
            rows = columns = (trunk.border, trunk.border)
        elif trunk.same:
            front, extra = trunk.same
            rows, columns = (
                (front, -(-side // 32) * 32 + extra - front - side) for side in image.shape[1:3]
            )
        else:
            return image
        return jnp.pad(image, ((0, 0), rows, columns, (0, 0)))

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

    def _upsample(self, x: Array, factor: int, name: str, *, odd: bool = False) -> Array:
        """Up-sample by `factor`; 'caffe' makes one cell more than there were."""
        last = name == f'upscore{self.stride}'
        if self.upsampling == 'bilinear' or (self.upsampling == 'skips' and last):
            if self.padding == 'caffe':
                return interpolate(x, factor, odd=odd)
            return ops.resize_bilinear(x, (x.shape[1] * factor, x.shape[2] * factor))
        return ConvTranspose(
            self.num_classes,
            kernel=2 * factor - odd,
            stride=factor,
            padding=0 if self.padding == 'caffe' else factor // 2,
            use_bias=False,
            kernel_init=bilinear_init,
            name=name,
        )(x)
