"""U-Net.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
figure 1: a contracting path of unpadded 3x3 convolutions and 2x2 max poolings, an expansive path of
2x2 up-convolutions, each joined with the cropped features of its level, and a 1x1 convolution. The
output is smaller than the input: 572 pixels become 388, a margin of 92 on each side.

The up-convolution is read as a transposed 2x2 convolution with stride 2 and without ReLU. Dropout
sits at the end of the contracting path. `padding='same'` and `norm='batch'` give the popular
variant whose output is as large as its input.
"""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from segjax import ops
from segjax.layers import BatchNorm, Conv, ConvTranspose, Dropout
from segjax.types import SegmentationOutput, UserError


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each followed by ReLU.

    Attributes:
      features: channels of both.
    """

    features: int
    padding: Literal['valid', 'same']
    norm: Literal['none', 'batch']
    dtype: str

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        for i in (1, 2):
            use_bias = self.norm == 'none'
            x = Conv(
                self.features,
                padding=self.padding,
                use_bias=use_bias,
                dtype=self.dtype,
                name=f'conv{i}',
            )(x)
            if self.norm == 'batch':
                x = BatchNorm(dtype=self.dtype, name=f'bn{i}')(x, train=train)
            x = nn.relu(x)
        return x


class UNet(nn.Module):
    """U-Net.

    Attributes:
      num_classes: with the background; 1 is a single sigmoid foreground channel.
      widths: channels of the levels, from fine to coarse; their number less one is the number of
        poolings.
      padding: 'valid' as published (the output lacks `margin` pixels a side), or 'same'.
      norm: 'none' as published, or 'batch': batch normalisation before each ReLU.
      dropout: rate at the end of the contracting path (the last two levels).
      remat: recompute each level in the backward pass: less memory, one more forward pass.
      dtype: compute type; parameters and logits are float32.
    """

    num_classes: int
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    padding: Literal['valid', 'same'] = 'valid'
    norm: Literal['none', 'batch'] = 'none'
    dropout: float = 0.5
    remat: bool = False
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    @property
    def depth(self) -> int:
        """The number of poolings."""
        return len(self.widths) - 1

    @property
    def margin(self) -> int:
        """Pixels that the output lacks on each side: 92 for the paper's four poolings.

        A double convolution takes 4 pixels of its level, 4 * 2^i of the image; every level has one
        on the way down and, but for the lowest, one on the way up.
        """
        if self.padding == 'same':
            return 0
        lowest = 2**self.depth
        return 2 * (2 * sum(2**i for i in range(self.depth)) + lowest)

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest input whose output covers `size`, with `margin` or more on every side."""
        return tuple(self._fit(side) for side in size)  # type: ignore[return-value]

    def _fit(self, side: int) -> int:
        """The smallest valid input side for an output of `side`: each level must come out whole."""
        unit = 2**self.depth
        if self.padding == 'same':
            return -(-side // unit) * unit
        least = unit + 2 * self.margin - self._up_loss()  # leaves one pixel at the lowest level
        step = max(0, -(-(side + 2 * self.margin - least) // unit))
        return least + step * unit

    def _up_loss(self) -> int:
        """Pixels of the image that the expansive path takes, both sides together."""
        return 4 * sum(2**i for i in range(self.depth))

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> SegmentationOutput:
        self._check(image.shape[1:3])
        skips = []
        x = image
        for i, width in enumerate(self.widths):
            x = self._level(width, f'down{i + 1}')(x, train)  # b h/2^i w/2^i width
            if i >= self.depth - 1:
                x = Dropout(self.dropout, name=f'dropout{i + 1}')(x, train=train)
            if i < self.depth:
                skips.append(x)
                x = ops.max_pool(x)
        for i in reversed(range(self.depth)):
            x = ConvTranspose(self.widths[i], dtype=self.dtype, name=f'upconv{i + 1}')(x)
            x = jnp.concatenate([x, ops.center_crop(skips[i], x.shape[1:3])], axis=-1)
            x = self._level(self.widths[i], f'up{i + 1}')(x, train)
        x = Conv(self.num_classes, 1, name='score')(x)  # b h-2margin w-2margin k, float32
        return SegmentationOutput(x)

    def _level(self, width: int, name: str) -> nn.Module:
        level = nn.remat(DoubleConv, static_argnums=(2,)) if self.remat else DoubleConv
        return level(width, self.padding, self.norm, self.dtype, name=name)

    def _check(self, size: tuple[int, int]) -> None:
        for side in size:
            inner = side - 2 * self.margin
            if inner < 1 or self._fit(inner) != side:
                near = self._fit(max(inner, 1))
                below = near - 2**self.depth
                nearest = f'{below} and {near}' if below >= self._fit(1) else f'{near}'
                raise UserError(
                    f'U-Net cannot take a side of {side} pixels; the nearest that fit: {nearest}'
                )
