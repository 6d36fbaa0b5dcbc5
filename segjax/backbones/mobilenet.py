"""MobileNetV2 with a width multiplier, and MobileNetV3-Large; strided or dilated.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", table 2; Howard et al.,
"Searching for MobileNetV3", table 1. Both in torchvision's layout, without the classifier. With an
output stride of 16 or 8 dilated depthwise convolutions take the place of the last strides.

Parameters are named after torchvision's `features`: `features.1.conv.0.0.weight` of MobileNetV2 is
`1/conv/0/0/kernel`, `features.1.block.0.0.weight` of MobileNetV3 is `1/block/0/0/kernel`. Any image
size works; cK has the image's sides over its stride, rounded up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from segjax.backbones.atrous import Sampling, atrous_sampling
from segjax.layers import BatchNorm, Conv

HE_NORMAL_OUT = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')  # torchvision's

ACTIVATIONS = {
    'none': lambda x: x,
    'relu': nn.relu,
    'relu6': nn.relu6,
    'hard_swish': nn.hard_swish,  # x relu6(x + 3) / 6
}

Layer = Any  # a partial of Conv or BatchNorm: the options that all layers share


Activation = Literal['none', 'relu', 'relu6', 'hard_swish']


class V2Row(NamedTuple):
    """A row of MobileNetV2's table 2: `repeats` blocks, the first of which has the stride."""

    expansion: int
    features: int
    repeats: int
    stride: int


V2_ROWS = (
    V2Row(1, 16, 1, 1),
    V2Row(6, 24, 2, 2),
    V2Row(6, 32, 3, 2),
    V2Row(6, 64, 4, 2),
    V2Row(6, 96, 3, 1),
    V2Row(6, 160, 3, 2),
    V2Row(6, 320, 1, 1),
)
V2_LEVELS = {1: 'c1', 3: 'c2', 6: 'c3', 13: 'c4'}  # the last blocks at strides 2, 4, 8 and 16


class Block(NamedTuple):
    """An inverted residual; the rows of MobileNetV3's table 1 are such blocks.

    Attributes:
      kernel: of the depthwise convolution.
      expanded: channels in the middle; where that is what comes in, there is no expansion.
      features: channels out.
      squeeze: whether there is squeeze-and-excitation.
      activation: after expansion and depthwise convolution.
      stride: nominal, of the depthwise convolution.
    """

    kernel: int
    expanded: int
    features: int
    squeeze: bool
    activation: Activation
    stride: int


V3_LARGE_BLOCKS = (
    Block(3, 16, 16, False, 'relu', 1),
    Block(3, 64, 24, False, 'relu', 2),
    Block(3, 72, 24, False, 'relu', 1),
    Block(5, 72, 40, True, 'relu', 2),
    Block(5, 120, 40, True, 'relu', 1),
    Block(5, 120, 40, True, 'relu', 1),
    Block(3, 240, 80, False, 'hard_swish', 2),
    Block(3, 200, 80, False, 'hard_swish', 1),
    Block(3, 184, 80, False, 'hard_swish', 1),
    Block(3, 184, 80, False, 'hard_swish', 1),
    Block(3, 480, 112, True, 'hard_swish', 1),
    Block(3, 672, 112, True, 'hard_swish', 1),
    Block(5, 672, 160, True, 'hard_swish', 2),
    Block(5, 960, 160, True, 'hard_swish', 1),
    Block(5, 960, 160, True, 'hard_swish', 1),
)
V3_LEVELS = {1: 'c1', 3: 'c2', 6: 'c3', 12: 'c4'}  # the last blocks at strides 2, 4, 8 and 16


def round_channels(channels: float, unit: int = 8) -> int:
    """The nearest multiple of `unit`, at least `unit` and never less than nine tenths of
    `channels`.

    `_make_divisible` of the reference implementation (tensorflow/models, slim).
    """
    rounded = max(unit, int(channels + unit / 2) // unit * unit)
    return rounded if rounded >= 0.9 * channels else rounded + unit


class ConvNormAct(nn.Module):
    """Convolution, batch normalisation and activation, named 0 and 1.

    Attributes:
      features: channels out.
      activation: after the normalisation.
      stride, dilation: of the convolution, which is padded by half its reach.
      depthwise: every channel by itself.
    """

    features: int
    kernel: int
    activation: Activation
    conv: Layer
    norm: Layer
    stride: int = 1
    dilation: int = 1
    depthwise: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = self.conv(
            self.features,
            self.kernel,
            stride=self.stride,
            padding=self.dilation * (self.kernel // 2),
            dilation=self.dilation,
            groups=self.features if self.depthwise else 1,
            name='0',
        )(x)
        return ACTIVATIONS[self.activation](self.norm(name='1')(x, train=train))


class SqueezeExcite(nn.Module):
    """Every channel times a number between 0 and 1 that the means of all channels decide.

    Hu et al., "Squeeze-and-Excitation Networks", with the hard sigmoid `relu6(x + 3) / 6`.

    Attributes:
      features: channels between the two layers, fc1 and fc2.
      conv: the layer, with the options that all share.
    """

    features: int
    conv: Layer

    @nn.compact
    def __call__(self, x: Array) -> Array:
        conv = partial(self.conv, kernel=1, padding=0, use_bias=True)
        scale = jnp.mean(x, axis=(1, 2), keepdims=True)  # b 1 1 c
        scale = nn.relu(conv(self.features, name='fc1')(scale))
        return x * nn.hard_sigmoid(conv(x.shape[-1], name='fc2')(scale))


class ExpandFilterProject(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze-and-excitation, linear 1x1 projection.

    Returns the projection, and the output of the depthwise convolution. The layers are named 0, 1,
    ... in the order in which they run.

    Attributes:
      block: what to build; its stride is nominal.
      stride, dilation: of the depthwise convolution.
      conv, norm: the layers, with the options that all of them share.
      scoped_projection: MobileNetV3's projection and its norm share a name, MobileNetV2's have one
        each.
    """

    block: Block
    stride: int
    dilation: int
    conv: Layer
    norm: Layer
    scoped_projection: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array]:
        block, number = self.block, count()
        layer = partial(ConvNormAct, conv=self.conv, norm=self.norm)
        if block.expanded != x.shape[-1]:
            x = layer(block.expanded, 1, block.activation, name=f'{next(number)}')(x, train)
        x = filtered = layer(
            block.expanded,
            block.kernel,
            block.activation,
            stride=self.stride,
            dilation=self.dilation,
            depthwise=True,
            name=f'{next(number)}',
        )(x, train)
        if block.squeeze:
            squeezed = round_channels(block.expanded / 4)
            x = SqueezeExcite(squeezed, self.conv, name=f'{next(number)}')(x)
        if self.scoped_projection:
            x = layer(block.features, 1, 'none', name=f'{next(number)}')(x, train)
            return x, filtered
        x = self.conv(block.features, 1, padding=0, name=f'{next(number)}')(x)
        return self.norm(name=f'{next(number)}')(x, train=train), filtered


class InvertedResidual(nn.Module):
    """A block, and a short cut around it where nominally it changes neither size nor channels.

    Returns what comes out, and the output of the block's depthwise convolution.

    Attributes:
      block, stride, dilation, conv, norm: as `ExpandFilterProject`.
      group: the name of the layers together: 'conv' in MobileNetV2, 'block' in MobileNetV3.
    """

    block: Block
    stride: int
    dilation: int
    conv: Layer
    norm: Layer
    group: Literal['conv', 'block']

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array]:
        y, filtered = ExpandFilterProject(
            self.block,
            self.stride,
            self.dilation,
            self.conv,
            self.norm,
            scoped_projection=self.group == 'block',
            name=self.group,
        )(x, train)
        # The nominal stride counts: a block that lost its stride was trained without a short cut.
        return x + y if self.block.stride == 1 and x.shape == y.shape else y, filtered


def _inverted_residuals(
    x: Array,
    train: bool,
    blocks: Sequence[Block],
    samplings: Sequence[Sampling],
    layer: Callable[..., nn.Module],
) -> list[tuple[Array, Array]]:
    """What each block returns; they are named from 1, and twice x itself comes first."""
    returned = [(x, x)]
    for i, (block, sampling) in enumerate(zip(blocks, samplings, strict=True), start=1):
        module = layer(block, sampling.stride, sampling.dilation, name=f'{i}')
        returned.append(module(returned[-1][0], train))
    return returned


class MobileNetV2(nn.Module):
    """MobileNetV2 without its classifier.

    Attributes:
      width: multiplier of all channels.
      round_to: channels are multiples of this. The paper's 8; DeepLab's models of another width
        than 1 (tensorflow/models, deeplab/core/feature_extractor.py) have 1.
      output_stride: of the deepest features; beyond it strides become dilations, and cK has stride
        `min(2^K, output_stride)`.
      dilate_first: see `atrous_sampling`.
      last_conv: c5 is the last 1x1 convolution, 1280 channels or `width` times that if it is more;
        without it, as in DeepLab, the last block of 320 channels.
      c2_layer: of the last block at stride 4, its output or, as DeepLabV3+'s decoder takes it, that
        of its depthwise convolution.
      bn_momentum: decay of the running averages; Torch's momentum is 1 minus this.
      bn_epsilon: added to the variances.
      remat: recompute each block in the backward pass instead of keeping its activations.
      dtype: compute type.
    """

    width: float = 1.0
    output_stride: Literal[8, 16, 32] = 32
    dilate_first: bool = False
    last_conv: bool = True
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5
    remat: bool = False
    dtype: str = 'float32'
    round_to: int = 8
    c2_layer: Literal['block', 'depthwise'] = 'block'

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> dict[str, Array]:
        conv = partial(Conv, use_bias=False, kernel_init=HE_NORMAL_OUT, dtype=self.dtype)
        norm = partial(BatchNorm, self.bn_momentum, self.bn_epsilon, self.dtype)
        layer = partial(ConvNormAct, activation='relu6', conv=conv, norm=norm)
        inverted = (
            nn.remat(InvertedResidual, static_argnums=(2,)) if self.remat else InvertedResidual
        )
        blocks = self._blocks()
        samplings = atrous_sampling(
            [block.stride for block in blocks],
            stem=2,
            output_stride=self.output_stride,
            dilate_first=self.dilate_first,
        )
        x = layer(self._scaled(32), 3, stride=2, name='0')(image, train)
        build = partial(inverted, conv=conv, norm=norm, group='conv')
        returned = _inverted_residuals(x, train, blocks, samplings, build)
        features = {level: returned[i][0] for i, level in V2_LEVELS.items()}
        if self.c2_layer == 'depthwise':
            features['c2'] = returned[3][1]  # slim's layer_4/depthwise_output
        x = returned[-1][0]
        if self.last_conv:
            last = round_channels(1280 * max(1.0, self.width), self.round_to)
            x = layer(last, 1, name='18')(x, train)
        return {**features, 'c5': x}

    def _blocks(self) -> list[Block]:
        blocks = []
        inputs = self._scaled(32)
        for row in V2_ROWS:
            features = self._scaled(row.features)
            for i in range(row.repeats):
                stride = row.stride if i == 0 else 1
                blocks.append(Block(3, inputs * row.expansion, features, False, 'relu6', stride))
                inputs = features
        return blocks

    def _scaled(self, channels: int) -> int:
        return round_channels(channels * self.width, self.round_to)


class MobileNetV3Large(nn.Module):
    """MobileNetV3-Large without its classifier; c5 has 960 channels.

    Squeeze-and-excitation averages over the whole map, dense or not, so that dilated features are
    only nearly those of the strided network.

    Attributes:
      output_stride: of the deepest features; beyond it strides become dilations, and cK has stride
        `min(2^K, output_stride)`.
      dilate_first: see `atrous_sampling`; torchvision's segmentation models need True, at 16.
      c3_block: which of the blocks at stride 8 is c3; 'first' is the one that torchvision's
        segmentation models take.
      bn_momentum: decay of the running averages; Torch's momentum is 1 minus this.
      bn_epsilon: added to the variances.
      remat: recompute each block in the backward pass instead of keeping its activations.
      dtype: compute type.
    """

    output_stride: Literal[8, 16, 32] = 32
    dilate_first: bool = False
    c3_block: Literal['first', 'last'] = 'last'
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3
    remat: bool = False
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> dict[str, Array]:
        conv = partial(Conv, use_bias=False, kernel_init=HE_NORMAL_OUT, dtype=self.dtype)
        norm = partial(BatchNorm, self.bn_momentum, self.bn_epsilon, self.dtype)
        layer = partial(ConvNormAct, activation='hard_swish', conv=conv, norm=norm)
        inverted = (
            nn.remat(InvertedResidual, static_argnums=(2,)) if self.remat else InvertedResidual
        )
        samplings = atrous_sampling(
            [block.stride for block in V3_LARGE_BLOCKS],
            stem=2,
            output_stride=self.output_stride,
            dilate_first=self.dilate_first,
        )
        x = layer(16, 3, stride=2, name='0')(image, train)
        build = partial(inverted, conv=conv, norm=norm, group='block')
        returned = _inverted_residuals(x, train, V3_LARGE_BLOCKS, samplings, build)
        outputs = [output for output, _ in returned]
        features = {level: outputs[i] for i, level in V3_LEVELS.items()}
        if self.c3_block == 'first':
            features['c3'] = outputs[4]
        return {**features, 'c5': layer(960, 1, name='16')(outputs[-1], train)}
