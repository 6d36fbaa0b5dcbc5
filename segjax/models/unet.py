"""U-Net.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
figure 1: a contracting path of unpadded 3x3 convolutions and 2x2 max poolings, an expansive path of
2x2 up-convolutions, each joined with the cropped features of its level, and a 1x1 convolution. The
output is smaller than the input: 572 pixels become 388, a margin of 92 on each side.

`variant='paper'` is the text, its up-convolution read as a transposed 2x2 convolution with stride 2
and without ReLU; `up='nearest'` reads it literally, up-sample and convolve, with as many parameters
and more work. `variant='release'` is the network that the authors published (phseg_v5): a ReLU
follows every up-convolution, the finest of them keeps its 128 channels, and the initial values are
Caffe's xavier instead of the paper's sqrt(2/N).

Popular networks of the name, as fields:

- milesial/Pytorch-UNet: padding='same', norm='batch', concat='skip_first', dropout=0
- zhixuhao/unet: padding='same', up='nearest', up_relu=True, concat='skip_first', head_width=2
- torch_em's plain networks: padding='same', up='bilinear', up_kernel=1, dropout=0 (layout
  'torch_em' of segjax.pretrained)
- the U-Net that U-Net++ is compared with: padding='same', dropout_at='convolutions', and
  widths=(32, 64, 128, 256, 512), or (35, 70, 140, 280, 560) for the wide one
"""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from segjax import ops
from segjax.layers import Conv, ConvTranspose, DoubleConv, Dropout
from segjax.layers.conv import HE_NORMAL
from segjax.types import SegmentationOutput, UserError

# Caffe's filler: uniform of variance 1 / N, where N counts a blob's axes but the first. That of a
# convolution is its output's, that of a transposed one its input's.
XAVIER = nn.initializers.variance_scaling(1.0, 'fan_in', 'uniform')
XAVIER_TRANSPOSE = nn.initializers.variance_scaling(1.0, 'fan_in', 'uniform', -1, -2)


class UNet(nn.Module):
    """U-Net.

    Attributes:
      num_classes: with the background; 1 is a single sigmoid foreground channel.
      widths: channels of the levels, from fine to coarse.
      padding: 'valid' as published (the output lacks `margin` pixels a side), or 'same'.
      norm: 'none' as published, or 'batch': batch normalisation before each ReLU, and convolutions
        without biases.
      dropout: rate.
      dropout_at: 'bottom', the end of the contracting path (the last two levels) as published, or
        'convolutions': after each but the last.
      variant: 'paper' or 'release'; see the head of this file.
      up: 'transpose' is a transposed 2x2 convolution; 'bilinear' and 'nearest' up-sample, then
        convolve, which with 2x2 takes zeros from beyond the last row and column.
      up_kernel: side of that convolution; with 1 nothing is taken from beyond.
      inner_relu: whether a ReLU, and the normalisation if any, stands between paired convolutions.
      up_relu: ReLU after each up-convolution; the release has it anyway.
      concat: which channels come first where the paths are joined. Only weights can tell.
      head_width: channels of a same-padded 3x3 convolution with ReLU before the last; 0: there is
        none.
      depth: the number of poolings, 4 in the paper; widths beyond it count for nothing. 0 takes as
        many as there are widths for.
      remat: recompute each level in the backward pass: less memory, one more forward pass.
      dtype: compute type; parameters and logits are float32.
    """

    num_classes: int
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    padding: Literal['valid', 'same'] = 'valid'
    norm: Literal['none', 'batch'] = 'none'
    dropout: float = 0.5
    dropout_at: Literal['bottom', 'convolutions'] = 'bottom'
    variant: Literal['paper', 'release'] = 'paper'
    up: Literal['transpose', 'bilinear', 'nearest'] = 'transpose'
    up_kernel: Literal[1, 2, 3] = 2
    inner_relu: bool = True
    up_relu: bool = False
    concat: Literal['up_first', 'skip_first'] = 'up_first'
    head_width: int = 0
    depth: int = 0
    remat: bool = False
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    @property
    def poolings(self) -> int:
        """The number of poolings. Raises UserError when there are not enough widths."""
        most = len(self.widths) - 1
        if not 0 <= self.depth <= most or not most:
            raise UserError(
                f'U-Net of depth={self.depth} needs {max(self.depth, 1) + 1} widths; there are '
                f'{most + 1}.'
            )
        return self.depth or most

    @property
    def margin(self) -> int:
        """Pixels that the output lacks on each side: 92 for the paper's four poolings.

        A double convolution takes 4 pixels of its level, 4 * 2^i of the image; every level has one
        on the way down and, but for the lowest, one on the way up.
        """
        if self.padding == 'same':
            return 0
        lowest = 2**self.poolings
        return 2 * (2 * sum(2**i for i in range(self.poolings)) + lowest)

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest input whose output covers `size`, with `margin` or more on every side."""
        return tuple(self._fit(side) for side in size)  # type: ignore[return-value]

    def _fit(self, side: int) -> int:
        """The smallest valid input side for an output of `side`: each level must come out whole."""
        unit = 2**self.poolings
        if self.padding == 'same':
            return -(-side // unit) * unit
        least = unit + 2 * self.margin - self._up_loss()  # leaves one pixel at the lowest level
        step = max(0, -(-(side + 2 * self.margin - least) // unit))
        return least + step * unit

    def _up_loss(self) -> int:
        """Pixels of the image that the expansive path takes, both sides together."""
        return 4 * sum(2**i for i in range(self.poolings))

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> SegmentationOutput:
        self._check(image.shape[1:3])
        skips = []
        x = image
        for i, width in enumerate(self.widths[: self.poolings + 1]):
            x = self._level(width, f'down{i + 1}')(x, train)  # b h/2^i w/2^i width
            if i >= self.poolings - 1 and self.dropout_at == 'bottom':
                x = Dropout(self.dropout, name=f'dropout{i + 1}')(x, train=train)
            if i < self.poolings:
                skips.append(x)
                x = ops.max_pool(x)
        for i in reversed(range(self.poolings)):
            x = self._up(x, i)
            joined = [x, ops.center_crop(skips[i], x.shape[1:3])]
            x = jnp.concatenate(joined if self.concat == 'up_first' else joined[::-1], axis=-1)
            x = self._level(self.widths[i], f'up{i + 1}')(x, train)
        if self.head_width:
            head = Conv(self.head_width, kernel_init=self._init(), dtype=self.dtype, name='head')
            x = nn.relu(head(x))
        x = Conv(self.num_classes, 1, kernel_init=self._init(), name='score')(x)
        return SegmentationOutput(x)  # b h-2margin w-2margin k, float32

    def _init(self):
        return HE_NORMAL if self.variant == 'paper' else XAVIER

    def _level(self, width: int, name: str) -> nn.Module:
        level = nn.remat(DoubleConv, static_argnums=(2,)) if self.remat else DoubleConv
        return level(
            width,
            self.padding,
            self.norm,
            use_bias=self.norm == 'none',
            dropout=self.dropout if self.dropout_at == 'convolutions' else 0.0,
            inner_relu=self.inner_relu,
            kernel_init=self._init(),
            dtype=self.dtype,
            name=name,
        )

    def _up(self, x: Array, i: int) -> Array:
        """The up-convolution to level i."""
        name = f'upconv{i + 1}'
        released = self.variant == 'release'
        width = self.widths[1] if released and i == 0 else self.widths[i]
        if self.up == 'transpose':
            init = XAVIER_TRANSPOSE if released else HE_NORMAL
            x = ConvTranspose(width, kernel_init=init, dtype=self.dtype, name=name)(x)
        else:
            if self.up == 'nearest':
                x = ops.nearest_unpool(x)
            else:
                x = ops.resize_bilinear(x, (2 * x.shape[1], 2 * x.shape[2]))
            kernel = self.up_kernel
            x = Conv(width, kernel, kernel_init=self._init(), dtype=self.dtype, name=name)(x)
        return nn.relu(x) if released or self.up_relu else x

    def _check(self, size: tuple[int, ...]) -> None:
        for side in size:
            inner = side - 2 * self.margin
            if inner < 1 or self._fit(inner) != side:
                near = self._fit(max(inner, 1))
                below = near - 2**self.poolings
                nearest = f'{below} and {near}' if below >= self._fit(1) else f'{near}'
                raise UserError(
                    f'U-Net cannot take a side of {side} pixels; the nearest that fit: {nearest}'
                )
