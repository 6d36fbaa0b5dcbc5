"""ResNet-18, -34, -50 and -101, strided or dilated.

He et al., "Deep Residual Learning for Image Recognition", table 1, in two variants. 'torchvision'
("v1.5"): a bottleneck has its stride in the 3x3 convolution, where the paper has it in the first
1x1. 'beta', DeepLab's (tensorflow/models, deeplab/core/resnet_v1_beta.py): three 3x3 convolutions
in place of the first 7x7, and the stride of a stage in its last block, that of layer1 among them.
With an output stride of 16 or 8 the last stages are dilated, as in torchvision's segmentation
models (`replace_stride_with_dilation`) and in DeepLab.

Parameters are named after torchvision's: `layer1.0.conv1.weight` is `layer1/0/conv1/kernel`; the
stem of 'beta' is conv1_1 to conv1_3, bn1_1 to bn1_3. Any image size works; cK has the image's sides
over its stride, rounded up. Strided convolutions are padded alike on both sides, whatever the size
(TensorFlow's `fixed_padding`).
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from segjax import ops
from segjax.backbones.atrous import Sampling, atrous_sampling
from segjax.layers import BatchNorm, Conv, FrozenBatchNorm

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # table 1
HE_NORMAL_OUT = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')  # torchvision's

Layer = Any  # a partial of Conv or BatchNorm: the options that all layers share


class Shortcut(nn.Module):
    """A 1x1 convolution where channels change: option B of section 3.3."""

    features: int
    stride: int
    conv: Layer
    norm: Layer

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = self.conv(self.features, 1, stride=self.stride, padding=0, name='0')(x)
        return self.norm(name='1')(x, train=train)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a short cut: figure 5, left.

    Returns what comes out, and of that the part that the convolutions added.

    Attributes:
      features: channels.
      sampling: stride and dilation of the first convolution, dilation (`rest`) of the second.
      conv, norm: the layers, with the options that all of them share.
    """

    features: int
    sampling: Sampling
    conv: Layer
    norm: Layer

    expansion = 1  # channels out over `features`

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array]:
        stride, dilation, rest = self.sampling
        shortcut = x[:, ::stride, ::stride]
        if x.shape[-1] != self.features:
            layer = Shortcut(self.features, stride, self.conv, self.norm, name='downsample')
            shortcut = layer(x, train)
        conv = partial(self.conv, self.features, 3)
        x = conv(stride=stride, padding=dilation, dilation=dilation, name='conv1')(x)
        x = nn.relu(self.norm(name='bn1')(x, train=train))
        x = conv(padding=rest, dilation=rest, name='conv2')(x)
        x = self.norm(name='bn2')(x, train=train)
        return nn.relu(x + shortcut), x


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a short cut: figure 5, right.

    Returns what comes out, and of that the part that the convolutions added.

    Attributes:
      features: channels in the middle; four times as many come out.
      sampling: stride and dilation of the 3x3 convolution; `rest` has nothing to act on.
      conv, norm: the layers, with the options that all of them share.
    """

    features: int
    sampling: Sampling
    conv: Layer
    norm: Layer

    expansion = 4

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array]:
        stride, dilation, _ = self.sampling
        outputs = self.expansion * self.features
        shortcut = x[:, ::stride, ::stride]
        if x.shape[-1] != outputs:
            layer = Shortcut(outputs, stride, self.conv, self.norm, name='downsample')
            shortcut = layer(x, train)
        x = self.conv(self.features, 1, padding=0, name='conv1')(x)
        x = nn.relu(self.norm(name='bn1')(x, train=train))
        conv = partial(self.conv, self.features, 3, name='conv2')
        x = conv(stride=stride, padding=dilation, dilation=dilation)(x)
        x = nn.relu(self.norm(name='bn2')(x, train=train))
        x = self.conv(outputs, 1, padding=0, name='conv3')(x)
        x = self.norm(name='bn3')(x, train=train)
        return nn.relu(x + shortcut), x


class Stage(nn.Module):
    """The residual blocks at one resolution, named 0, 1, ...

    Attributes:
      features: of each block.
      samplings: of each block.
      bottleneck: the kind of block.
      remat: recompute each block in the backward pass instead of keeping its activations.
    """

    features: int
    samplings: tuple[Sampling, ...]
    bottleneck: bool
    remat: bool
    conv: Layer
    norm: Layer

    def __call__(self, x: Array, train: bool) -> Array:
        return self.blocks(x, train)[-1][0]

    @nn.compact
    def blocks(self, x: Array, train: bool) -> list[tuple[Array, Array]]:
        """What each block returns."""
        block = Bottleneck if self.bottleneck else BasicBlock
        if self.remat:
            block = nn.remat(block, static_argnums=(2,))
        returned = []
        for i, sampling in enumerate(self.samplings):
            layer = block(self.features, sampling, self.conv, self.norm, name=str(i))
            returned.append(layer(x, train))
            x = returned[-1][0]
        return returned


class ResNet(nn.Module):
    """A residual network without its classifier: c1 is the stem's output, c2 to c5 the stages'.

    Of 'beta' c2 to c4 are the last features before the stride: c3 and c4 those of the second-last
    block, c2 what its convolutions add to the short cut, which DeepLabV3+'s decoder takes.

    Raises ValueError where `multi_grid` has fewer factors than layer4 blocks.

    Attributes:
      depth: layers with weights, the classifier's included.
      output_stride: of the deepest features; beyond it strides become dilations, and cK has stride
        `min(2^K, output_stride)`.
      multi_grid: factors on the dilations of the blocks of layer4 (Chen et al., "Rethinking Atrous
        Convolution", section 3.2.1: 1, 2, 4); of fewer blocks only the first factors count.
      dilate_first: see `atrous_sampling`.
      stages: how many of layer1 to layer4 there are, for networks that need no deeper features.
      width: channels of the stem, of which 'beta' has twice as many in the end; stage K has
        `2^(K-1)` times as many, bottlenecks four times that.
      bn_momentum: decay of the running averages; Torch's momentum is 1 minus this.
      bn_epsilon: added to the variances.
      remat: recompute each block in the backward pass instead of keeping its activations.
      dtype: compute type.
      variant: see the head of this file.
      norm: 'frozen' keeps the statistics, scales and shifts of pretrained weights as constants.
    """

    depth: Literal[18, 34, 50, 101] = 50
    output_stride: Literal[8, 16, 32] = 32
    multi_grid: tuple[int, ...] = (1, 1, 1)
    dilate_first: bool = False
    width: int = 64
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5
    remat: bool = False
    dtype: str = 'float32'
    stages: int = 4
    variant: Literal['torchvision', 'beta'] = 'torchvision'
    norm: Literal['batch', 'frozen'] = 'batch'

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> dict[str, Array]:
        conv = partial(Conv, use_bias=False, kernel_init=HE_NORMAL_OUT, dtype=self.dtype)
        norm = partial(BatchNorm, self.bn_momentum, self.bn_epsilon, self.dtype)
        if self.norm == 'frozen':
            norm = partial(FrozenBatchNorm, self.bn_epsilon, self.dtype)
        beta = self.variant == 'beta'
        c1 = self._stem(image, train, conv, norm)  # b h/2 w/2 width
        features = {'c1': c1}
        x = ops.max_pool(c1, window=3, stride=2, padding='same' if beta else 1)
        for k, samplings in enumerate(self._samplings()[: self.stages]):
            name = f'layer{k + 1}'
            stage = Stage(
                self.width * 2**k, samplings, self.depth >= 50, self.remat, conv, norm, name=name
            )
            blocks = stage.blocks(x, train)
            x = blocks[-1][0]
            tapped = blocks[-2] if beta and k < 3 else blocks[-1]
            features[f'c{k + 2}'] = tapped[1] if beta and k == 0 else tapped[0]
        return features

    def _stem(self, image: Array, train: bool, conv: Layer, norm: Layer) -> Array:
        if self.variant == 'torchvision':
            x = conv(self.width, 7, stride=2, padding=3, name='conv1')(image)
            return nn.relu(norm(name='bn1')(x, train=train))
        x = image
        for i, width in enumerate((self.width, self.width, 2 * self.width), start=1):
            x = conv(width, 3, stride=2 if i == 1 else 1, padding=1, name=f'conv1_{i}')(x)
            x = nn.relu(norm(name=f'bn1_{i}')(x, train=train))
        return x

    def _samplings(self) -> list[tuple[Sampling, ...]]:
        """Strides and dilations of every block, a tuple a stage."""
        stages = []
        for k, blocks in enumerate(BLOCKS[self.depth]):
            later = (1,) * (blocks - 1)
            if self.variant == 'beta':
                stages.append((*later, 1 if k == 3 else 2))
            else:
                stages.append((1 if k == 0 else 2, *later))
        plan = iter(
            atrous_sampling(
                list(chain(*stages)),
                stem=4,
                output_stride=self.output_stride,
                dilate_first=self.dilate_first,
            )
        )
        samplings = [tuple(next(plan) for _ in stage) for stage in stages]
        return [*samplings[:-1], self._with_grid(samplings[-1])]

    def _with_grid(self, samplings: tuple[Sampling, ...]) -> tuple[Sampling, ...]:
        """Every block's dilations times its factor of the grid."""
        blocks, grid = len(samplings), self.multi_grid
        if len(grid) < blocks:
            raise ValueError(f'multi_grid {grid} is too short: layer4 has {blocks} blocks')
        return tuple(
            Sampling(stride, dilation * factor, rest * factor)
            for (stride, dilation, rest), factor in zip(samplings, grid, strict=False)
        )
