"""ResNet-18, -34, -50 and -101, strided or dilated.

He et al., "Deep Residual Learning for Image Recognition", table 1, in torchvision's layout
("v1.5"): a bottleneck has its stride in the 3x3 convolution, where the paper has it in the first
1x1. With an output stride of 16 or 8 the last stages are dilated, as in torchvision's segmentation
models (`replace_stride_with_dilation`).

Parameters are named after torchvision's: `layer1.0.conv1.weight` is `layer1/0/conv1/kernel`. Any
image size works; cK has the image's sides over its stride, rounded up.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from segjax import ops
from segjax.backbones.atrous import Sampling, atrous_sampling
from segjax.layers import BatchNorm, Conv

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # table 1
HE_NORMAL_OUT = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')  # torchvision's

Layer = Any  # a partial of Conv or BatchNorm: the options that all layers share


class Shortcut(nn.Module):
    """A 1x1 convolution where stride or channels change: option B of section 3.3."""

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
    def __call__(self, x: Array, train: bool) -> Array:
        stride, dilation, rest = self.sampling
        shortcut = x
        if stride > 1 or x.shape[-1] != self.features:
            layer = Shortcut(self.features, stride, self.conv, self.norm, name='downsample')
            shortcut = layer(x, train)
        conv = partial(self.conv, self.features, 3)
        x = conv(stride=stride, padding=dilation, dilation=dilation, name='conv1')(x)
        x = nn.relu(self.norm(name='bn1')(x, train=train))
        x = conv(padding=rest, dilation=rest, name='conv2')(x)
        x = self.norm(name='bn2')(x, train=train)
        return nn.relu(x + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a short cut: figure 5, right.

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
    def __call__(self, x: Array, train: bool) -> Array:
        stride, dilation, _ = self.sampling
        outputs = self.expansion * self.features
        shortcut = x
        if stride > 1 or x.shape[-1] != outputs:
            layer = Shortcut(outputs, stride, self.conv, self.norm, name='downsample')
            shortcut = layer(x, train)
        x = self.conv(self.features, 1, padding=0, name='conv1')(x)
        x = nn.relu(self.norm(name='bn1')(x, train=train))
        conv = partial(self.conv, self.features, 3, name='conv2')
        x = conv(stride=stride, padding=dilation, dilation=dilation)(x)
        x = nn.relu(self.norm(name='bn2')(x, train=train))
        x = self.conv(outputs, 1, padding=0, name='conv3')(x)
        x = self.norm(name='bn3')(x, train=train)
        return nn.relu(x + shortcut)


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

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        block = Bottleneck if self.bottleneck else BasicBlock
        if self.remat:
            block = nn.remat(block, static_argnums=(2,))
        for i, sampling in enumerate(self.samplings):
            x = block(self.features, sampling, self.conv, self.norm, name=str(i))(x, train)
        return x


class ResNet(nn.Module):
    """A residual network without its classifier: c1 is the stem's output, c2 to c5 the stages'.

    Raises ValueError where `multi_grid` has fewer factors than layer4 blocks.

    Attributes:
      depth: layers with weights, the classifier's included.
      output_stride: of the deepest features; beyond it strides become dilations, and cK has stride
        `min(2^K, output_stride)`.
      multi_grid: factors on the dilations of the blocks of layer4 (Chen et al., "Rethinking Atrous
        Convolution", section 3.2.1: 1, 2, 4); of fewer blocks only the first factors count.
      dilate_first: see `atrous_sampling`.
      stages: how many of layer1 to layer4 there are, for networks that need no deeper features.
      width: channels of the stem; stage K has `2^(K-1)` times as many, bottlenecks four times that.
      bn_momentum: decay of the running averages; Torch's momentum is 1 minus this.
      bn_epsilon: added to the variances.
      remat: recompute each block in the backward pass instead of keeping its activations.
      dtype: compute type.
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

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> dict[str, Array]:
        conv = partial(Conv, use_bias=False, kernel_init=HE_NORMAL_OUT, dtype=self.dtype)
        norm = partial(BatchNorm, self.bn_momentum, self.bn_epsilon, self.dtype)
        x = conv(self.width, 7, stride=2, padding=3, name='conv1')(image)
        c1 = nn.relu(norm(name='bn1')(x, train=train))  # b h/2 w/2 width
        features = {'c1': c1}
        x = ops.max_pool(c1, window=3, stride=2, padding=1)  # b h/4 w/4 width
        for k, samplings in enumerate(self._samplings()[: self.stages]):
            name = f'layer{k + 1}'
            stage = Stage(
                self.width * 2**k, samplings, self.depth >= 50, self.remat, conv, norm, name=name
            )
            x = features[f'c{k + 2}'] = stage(x, train)
        return features

    def _samplings(self) -> list[tuple[Sampling, ...]]:
        """Strides and dilations of every block, a tuple a stage."""
        plan = atrous_sampling(
            (1, 2, 2, 2),
            stem=4,
            output_stride=self.output_stride,
            dilate_first=self.dilate_first,
        )
        stages = []
        for first, blocks in zip(plan, BLOCKS[self.depth], strict=True):
            later = Sampling(1, first.rest, first.rest)
            stages.append((first,) + (later,) * (blocks - 1))
        return [*stages[:-1], self._with_grid(stages[-1])]

    def _with_grid(self, samplings: tuple[Sampling, ...]) -> tuple[Sampling, ...]:
        """Every block's dilations times its factor of the grid."""
        blocks, grid = len(samplings), self.multi_grid
        if len(grid) < blocks:
            raise ValueError(f'multi_grid {grid} is too short: layer4 has {blocks} blocks')
        return tuple(
            Sampling(stride, dilation * factor, rest * factor)
            for (stride, dilation, rest), factor in zip(samplings, grid, strict=False)
        )
