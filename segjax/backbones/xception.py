"""The modified aligned Xception-41, -65 and -71 of DeepLabV3+, strided or dilated.

Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
section 3.2 and figure 4: Xception, deeper, with strided separable convolutions for poolings. In
detail this is the code that its weights were trained with (tensorflow/models,
deeplab/core/xception.py), not the text: there is a ReLU before each separable convolution and none
after its depthwise half, but for the last module, which has one after each half and none before.

With an output stride of 16 or 8 the last stages are dilated. Any image size works; cK has the
image's sides over its stride, rounded up. Strided convolutions are padded alike on both sides,
whatever the size (TensorFlow's `fixed_padding`).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from segjax.backbones.atrous import Sampling, atrous_sampling
from segjax.layers import BatchNorm, Conv, SeparableConv

TRUNCATED_NORMAL = nn.initializers.truncated_normal(0.09)

Layer = Any  # a partial of SeparableConv, Conv or BatchNorm: the options that all layers share


class Row(NamedTuple):
    """A module of figure 4.

    Attributes:
      name: the flow and the module's place in it.
      features: channels of its three convolutions.
      shortcut: a 1x1 convolution, the identity, or none.
      stride: nominal, of the third convolution.
    """

    name: str
    features: tuple[int, int, int]
    shortcut: Literal['conv', 'sum', 'none']
    stride: int


ENTRY_FLOWS = {  # channels and stride of each module
    41: ((128, 2), (256, 2), (728, 2)),
    65: ((128, 2), (256, 2), (728, 2)),
    71: ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2)),
}
MIDDLE_FLOWS = {41: 8, 65: 16, 71: 16}  # modules


def _rows(depth: int) -> list[Row]:
    entry = [
        Row(f'entry{i}', (features, features, features), 'conv', stride)
        for i, (features, stride) in enumerate(ENTRY_FLOWS[depth], start=1)
    ]
    middle = [
        Row(f'middle{i}', (728, 728, 728), 'sum', 1) for i in range(1, MIDDLE_FLOWS[depth] + 1)
    ]
    exits = [
        Row('exit1', (728, 1024, 1024), 'conv', 2),
        Row('exit2', (1536, 1536, 2048), 'none', 1),
    ]
    return entry + middle + exits


class XceptionModule(nn.Module):
    """Three separable convolutions, conv1 to conv3, and a short cut.

    Returns what comes out, and the output of conv2, which has not lost the stride.

    Attributes:
      features: channels of the convolutions.
      shortcut: see `Row`; without one the convolutions have a ReLU after each half.
      sampling: stride of conv3, dilation of all three.
      multi_grid: factors on the dilations of the three.
      separable, conv, norm: the layers, with the options that all of them share.
    """

    features: tuple[int, ...]
    shortcut: Literal['conv', 'sum', 'none']
    sampling: Sampling
    multi_grid: tuple[int, ...]
    separable: Layer
    conv: Layer
    norm: Layer

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array]:
        stride, dilation, _ = self.sampling
        plain = self.shortcut == 'none'
        y, outputs = x, []
        for i, (features, factor) in enumerate(zip(self.features, self.multi_grid, strict=True)):
            layer = self.separable(
                features,
                stride=stride if i == 2 else 1,
                padding=dilation * factor,
                dilation=dilation * factor,
                activate=plain,
                name=f'conv{i + 1}',
            )
            y = layer(y if plain else nn.relu(y), train)
            outputs.append(y)
        if self.shortcut == 'conv':
            x = self.conv(self.features[-1], 1, stride=stride, padding=0, name='shortcut')(x)
            x = self.norm(name='shortcut_bn')(x, train=train)
        return y if plain else x + y, outputs[1]


class Xception(nn.Module):
    """The modified aligned Xception without its classifier.

    c1 to c4 are the second convolution of the module that halves them: the last features at their
    stride, 128, 256, 728 and 1024 channels, normalised, before the ReLU. c5 is the output of the
    last module, 2048 channels. DeepLabV3+'s decoder takes c2.

    Attributes:
      depth: layers with weights, as they are counted in the name.
      output_stride: of the deepest features; beyond it strides become dilations, and cK has stride
        `min(2^K, output_stride)`.
      multi_grid: factors on the dilations of the three convolutions of the last module.
      width: multiplier of all channels.
      bn_momentum: decay of the running averages.
      bn_epsilon: added to the variances.
      remat: recompute each module in the backward pass instead of keeping its activations.
      dtype: compute type.
    """

    depth: Literal[41, 65, 71] = 65
    output_stride: Literal[8, 16, 32] = 32
    multi_grid: tuple[int, int, int] = (1, 1, 1)
    width: float = 1.0
    bn_momentum: float = 0.9997
    bn_epsilon: float = 1e-3
    remat: bool = False
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> dict[str, Array]:
        norm = partial(BatchNorm, self.bn_momentum, self.bn_epsilon, self.dtype)
        conv = partial(Conv, use_bias=False, kernel_init=TRUNCATED_NORMAL, dtype=self.dtype)
        build = partial(
            nn.remat(XceptionModule, static_argnums=(2,)) if self.remat else XceptionModule,
            separable=partial(
                SeparableConv,
                bn_momentum=self.bn_momentum,
                bn_epsilon=self.bn_epsilon,
                depthwise_init=TRUNCATED_NORMAL,
                pointwise_init=TRUNCATED_NORMAL,
                dtype=self.dtype,
            ),
            conv=conv,
            norm=norm,
        )
        x = image
        for i, features in enumerate((32, 64)):
            width, stride = self._scaled(features), 1 if i else 2
            x = conv(width, 3, stride=stride, padding=1, name=f'conv1_{i + 1}')(x)
            x = nn.relu(norm(name=f'bn1_{i + 1}')(x, train=train))  # b h/2 w/2 32, 64
        levels = {}
        rows = _rows(self.depth)
        strides = [row.stride for row in rows]
        plan = atrous_sampling(strides, stem=2, output_stride=self.output_stride)
        for row, sampling in zip(rows, plan, strict=True):
            grid = self.multi_grid if row.name == 'exit2' else (1, 1, 1)
            widths = tuple(self._scaled(features) for features in row.features)
            x, second = build(widths, row.shortcut, sampling, grid, name=row.name)(x, train)
            if row.stride > 1:
                levels[f'c{len(levels) + 1}'] = second
        return {**levels, 'c5': x}

    def _scaled(self, features: int) -> int:
        return max(1, round(features * self.width))
