"""U-Net++, its deep supervision and its pruning.

Zhou et al., "UNet++: A Nested U-Net Architecture for Medical Image Segmentation" (DLMIA 2018),
equation 1 and figure 1. Node X^{i,j} lies at level i (stride 2^i) and is the j-th of its row:

    X^{i,0} = H(pool X^{i-1,0}),    X^{i,j} = H([U(X^{i+1,j-1}), X^{i,0}, ..., X^{i,j-1}]),

i + j <= depth, where H is two convolutions and U doubles the size. Heads read X^{0,1} to
X^{0,depth}; what head d reads needs only the nodes with i + j <= d, the others can be cut off
(`prune`).

The defaults are the authors' Keras code: no normalisation, dropout after each convolution, up-
sampling by transposed 2x2 convolutions. Other networks of the name, as fields:

- 4uiiurz1/pytorch-nested-unet: norm='batch', dropout=0, up='bilinear', concat='up_last'
- segmentation_models' UnetPlusPlus: backbone='resnet34', norm='batch', use_bias=False, dropout=0,
  up='nearest', concat='newest_first'; it has one head, here it can have four
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from segjax import ops
from segjax.backbones import ResNet
from segjax.layers import Conv, ConvTranspose, DoubleConv, check_sides, round_up
from segjax.types import SegmentationOutput, UserError

Nodes = dict[tuple[int, int], Array]  # X^{i,j} by (i, j)
RESNETS: dict[str, Literal[18, 34, 50]] = {'resnet18': 18, 'resnet34': 34, 'resnet50': 50}


class UNetPlusPlus(nn.Module):
    """U-Net++.

    Over a backbone the column X^{i,0} is its c1 to c5, so that X^{0,j} has stride 2; nodes have as
    many channels as X^{i,0}, but for the last of each row, which have `widths[i]`. Each head then
    has an up-sampling node of its own, `full_j`, before a 3x3 convolution.

    Attributes:
      num_classes: with the background; 1 is a single sigmoid foreground channel.
      deep_supervision: a head for each X^{0,j}: `logits` is the deepest, `aux` the others from
        shallow to deep. Without, the deepest is the only one and `aux` is empty.
      depth: the number of poolings, L4 in the paper; a smaller one is the network that pruning
        leaves, trained by itself.
      widths: channels of the levels, from fine to coarse; over a backbone see above. Those below
        the depth count for nothing.
      norm: 'none' as published, or 'batch': batch normalisation before each ReLU.
      use_bias: whether the nodes' convolutions have biases.
      dropout: rate after each convolution of the nodes.
      up: 'transpose' to the target's width, or 'bilinear' (corners aligned) and 'nearest', which
        keep the channels.
      concat: the order of channels where a node joins: 'up_first' is [U, X^{i,0}, X^{i,1}, ...],
        'up_last' [X^{i,0}, X^{i,1}, ..., U], 'newest_first' [U, ..., X^{i,1}, X^{i,0}]. Only
        weights can tell.
      backbone: 'none' as published, or an encoder in its place; depth is 4 at most.
      backbone_width: channels of its stem.
      full_width: channels of the nodes `full_j` over a backbone.
      remat: recompute each node in the backward pass: less memory, one more forward pass.
      dtype: compute type; parameters and logits are float32.

    Raises:
      UserError: the fields do not go together, or a side of the image is no multiple of 2^depth,
        over a backbone 2^(depth + 1).
    """

    num_classes: int
    deep_supervision: bool = True
    depth: int = 4
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    norm: Literal['none', 'batch'] = 'none'
    use_bias: bool = True
    dropout: float = 0.5
    up: Literal['transpose', 'bilinear', 'nearest'] = 'transpose'
    concat: Literal['up_first', 'up_last', 'newest_first'] = 'up_first'
    backbone: Literal['none', 'resnet18', 'resnet34', 'resnet50'] = 'none'
    backbone_width: int = 64
    full_width: int = 16
    remat: bool = False
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    margin = 0  # pixels that the output lacks on each side

    @property
    def unit(self) -> int:
        """What the sides of an image are multiples of."""
        return 2 ** (self.depth + (self.backbone != 'none'))

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest input whose output covers `size`."""
        return round_up(size, self.unit)

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> SegmentationOutput:
        self._check()
        check_sides('U-Net++', image.shape[1:3], self.unit)
        x = self._first_column(image, train)
        widths = self._widths(x)
        for j in range(1, self.depth + 1):
            for i in range(self.depth + 1 - j):
                width = widths[i] if i + j < self.depth else self.widths[i]
                up = self._up(x[i + 1, j - 1], width, f'up_{i}_{j}')
                joined = self._join(up, [x[i, k] for k in range(j)])
                x[i, j] = self._node(width, f'x_{i}_{j}')(joined, train)  # b h/2^i w/2^i width
        first = 1 if self.deep_supervision else self.depth
        *aux, logits = (self._head(x[0, j], j, train) for j in range(first, self.depth + 1))
        return SegmentationOutput(logits, tuple(aux))

    def _check(self) -> None:
        over = self.backbone != 'none'
        levels = self.depth if over else self.depth + 1
        if self.depth < 1 or len(self.widths) < levels:
            raise UserError(
                f'U-Net++ of depth={self.depth} needs {max(levels, 2)} widths; there are '
                f'{len(self.widths)}'
            )
        if over and self.depth > 4:
            raise UserError(f'over {self.backbone} the depth of U-Net++ is 4 at most')

    def _first_column(self, image: Array, train: bool) -> Nodes:
        """X^{0,0} to X^{depth,0}."""
        if self.backbone != 'none':
            encoder = ResNet(
                RESNETS[self.backbone],
                width=self.backbone_width,
                stages=self.depth,
                remat=self.remat,
                dtype=self.dtype,
                name=self.backbone,
            )
            features = encoder(image, train=train)
            return {(i, 0): features[f'c{i + 1}'] for i in range(self.depth + 1)}
        x: Nodes = {}
        for i, width in enumerate(self.widths[: self.depth + 1]):
            below = image if i == 0 else ops.max_pool(x[i - 1, 0])
            x[i, 0] = self._node(width, f'x_{i}_0')(below, train)
        return x

    def _widths(self, x: Nodes) -> tuple[int, ...]:
        """Of the nodes that are not the last of their row."""
        return tuple(x[i, 0].shape[-1] for i in range(self.depth + 1))

    def _node(self, width: int, name: str) -> nn.Module:
        node = nn.remat(DoubleConv, static_argnums=(2,)) if self.remat else DoubleConv
        return node(
            width,
            norm=self.norm,
            use_bias=self.use_bias,
            dropout=self.dropout,
            dtype=self.dtype,
            name=name,
        )

    def _up(self, x: Array, width: int, name: str) -> Array:
        if self.up == 'transpose':
            return ConvTranspose(width, dtype=self.dtype, name=name)(x)
        if self.up == 'nearest':
            return ops.nearest_unpool(x)
        return ops.resize_bilinear(x, (2 * x.shape[1], 2 * x.shape[2]), align_corners=True)

    def _join(self, up: Array, row: list[Array]) -> Array:
        if self.concat == 'up_last':
            return jnp.concatenate([*row, up], axis=-1)
        return jnp.concatenate([up, *(row if self.concat == 'up_first' else row[::-1])], axis=-1)

    def _head(self, x: Array, j: int, train: bool) -> Array:
        """The logits `b h w k` of head j, from X^{0,j}."""
        if self.backbone == 'none':
            return Conv(self.num_classes, 1, name=f'score_{j}')(x)
        up = self._up(x, self.full_width, f'up_full_{j}')
        x = self._node(self.full_width, f'full_{j}')(up, train)
        return Conv(self.num_classes, name=f'score_{j}')(x)


def _subset(tree: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """What `like` has, from `tree`."""
    return {
        name: _subset(tree[name], part) if isinstance(part, Mapping) else tree[name]
        for name, part in like.items()
    }


def prune(
    model: UNetPlusPlus, variables: Mapping[str, Any], depth: int
) -> tuple[UNetPlusPlus, dict[str, Any]]:
    """The network whose only output is head `depth`, and its share of the variables.

    Nodes with i + j > depth, and the other heads, are gone: from the computation, from the
    parameters and from what is saved. Section 2.2 and figure 1(c), L1 to L4.

    Args:
      model: with deep supervision; without, only its own depth is there.
      variables: of `model`; arrays, or anything with shapes.
      depth: 1 is the shallowest head.

    Returns:
      (model, variables): `logits` equals head `depth` of the given model; `aux` is empty.

    Raises:
      UserError: there is no such head.
    """
    if not 1 <= depth <= model.depth:
        raise UserError(f'U-Net++ of depth={model.depth} can be pruned to 1..{model.depth}')
    if depth < model.depth and not model.deep_supervision:
        raise UserError(
            f'head {depth} was never trained: only a U-Net++ with deep_supervision=true can be '
            f'pruned; train one, or one of depth={depth} by itself'
        )
    widths = model.widths
    params = variables['params']
    if depth < model.depth:  # over a backbone X^{i,j} has the channels of X^{i,0}
        names = [f'x_{i}_{depth - i}' for i in range(depth)]
        widths = tuple(params[name]['conv2']['kernel'].shape[-1] for name in names)
        if model.backbone == 'none':
            widths = model.widths[: depth + 1]
    pruned = model.clone(depth=depth, widths=widths, deep_supervision=False)
    first = params['x_0_0'] if model.backbone == 'none' else params[model.backbone]
    shape = (1, pruned.unit, pruned.unit, first['conv1']['kernel'].shape[-2])
    init = lambda key: pruned.init(key, jnp.zeros(shape, jnp.float32), train=False)
    return pruned, _subset(variables, jax.eval_shape(init, jax.random.key(0)))
