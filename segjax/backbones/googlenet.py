"""GoogLeNet ("Inception v1") without its classifiers.

Szegedy et al., "Going Deeper with Convolutions", table 1. Two flavours: 'paper' has biases,
response normalisation around the second and third convolution and 5x5 convolutions in the third
branch; 'torchvision' has batch normalisation after every convolution, no response normalisation,
3x3 convolutions in the third branch (an error that its weights have been trained with), and a 2x2
last pooling.

Parameters are named after torchvision's in both flavours: `inception3a.branch2.0.conv.weight` is
`inception3a/branch2/0/conv/kernel`. Poolings round up, so that cK is a pixel more or less than the
image over 2^K.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from segjax import ops
from segjax.layers import BatchNorm, Conv

Flavor = Literal['paper', 'torchvision']
Layer = Any  # a partial of ConvUnit: the options that all layers share


class Widths(NamedTuple):
    """A row of table 1: channels of the branches; "reduce" is the 1x1 before a larger kernel."""

    branch1: int
    reduce2: int
    branch2: int
    reduce3: int
    branch3: int
    branch4: int


INCEPTIONS = {
    '3a': Widths(64, 96, 128, 16, 32, 32),
    '3b': Widths(128, 128, 192, 32, 96, 64),
    '4a': Widths(192, 96, 208, 16, 48, 64),
    '4b': Widths(160, 112, 224, 24, 64, 64),
    '4c': Widths(128, 128, 256, 24, 64, 64),
    '4d': Widths(112, 144, 288, 32, 64, 64),
    '4e': Widths(256, 160, 320, 32, 128, 128),
    '5a': Widths(256, 160, 320, 32, 128, 128),
    '5b': Widths(384, 192, 384, 48, 128, 128),
}


class ConvUnit(nn.Module):
    """A convolution, batch normalisation in torchvision's flavour, and ReLU.

    Attributes:
      features: channels out.
      kernel, stride: of the convolution, which is padded by half its kernel.
    """

    features: int
    kernel: int
    stride: int = 1
    flavor: Flavor = 'paper'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        normed = self.flavor == 'torchvision'
        x = Conv(
            self.features,
            self.kernel,
            stride=self.stride,
            padding=self.kernel // 2,
            use_bias=not normed,
            dtype=self.dtype,
            name='conv',
        )(x)
        if normed:
            x = BatchNorm(epsilon=1e-3, dtype=self.dtype, name='bn')(x, train=train)
        return nn.relu(x)


class ReducedConv(nn.Module):
    """The second and third branch: a 1x1 reduction and a larger convolution, named 0 and 1."""

    reduced: int
    features: int
    kernel: int
    layer: Layer

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = self.layer(self.reduced, 1, name='0')(x, train)
        return self.layer(self.features, self.kernel, name='1')(x, train)


class PooledConv(nn.Module):
    """The fourth branch: 3x3 max pooling that keeps the size, and a 1x1 projection, named 1."""

    features: int
    layer: Layer

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = ops.max_pool(x, window=3, stride=1, padding=1)
        return self.layer(self.features, 1, name='1')(x, train)


class Inception(nn.Module):
    """Four branches side by side: figure 2 (b).

    Attributes:
      widths: channels of the branches.
      wide_kernel: of the third branch.
      layer: `ConvUnit` with the options that all layers share.
    """

    widths: Widths
    wide_kernel: int
    layer: Layer

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        widths, reduced = self.widths, partial(ReducedConv, layer=self.layer)
        branches = [
            self.layer(widths.branch1, 1, name='branch1'),
            reduced(widths.reduce2, widths.branch2, 3, name='branch2'),
            reduced(widths.reduce3, widths.branch3, self.wide_kernel, name='branch3'),
            PooledConv(widths.branch4, self.layer, name='branch4'),
        ]
        return jnp.concatenate([branch(x, train) for branch in branches], axis=-1)


class GoogLeNet(nn.Module):
    """GoogLeNet without its classifiers: cK is the last layer before the pooling that halves it.

    Attributes:
      flavor: see the head of this file.
      dtype: compute type.
    """

    flavor: Flavor = 'torchvision'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, image: Float[Array, 'b h w c'], *, train: bool) -> dict[str, Array]:
        layer = partial(ConvUnit, flavor=self.flavor, dtype=self.dtype)
        pool = partial(ops.max_pool, window=3, stride=2, rounding='ceil')
        paper = self.flavor == 'paper'
        respond = ops.local_response_norm if paper else lambda x: x
        c1 = layer(64, 7, 2, name='conv1')(image, train)  # b h/2 w/2 64
        x = layer(64, 1, name='conv2')(respond(pool(c1)), train)
        c2 = respond(layer(192, 3, name='conv3')(x, train))  # b h/4 w/4 192
        c3 = self._stage(pool(c2), train, '3a 3b', layer)  # b h/8 w/8 480
        c4 = self._stage(pool(c3), train, '4a 4b 4c 4d 4e', layer)  # b h/16 w/16 832
        x = pool(c4, window=3 if paper else 2)
        c5 = self._stage(x, train, '5a 5b', layer)  # b h/32 w/32 1024
        return {'c1': c1, 'c2': c2, 'c3': c3, 'c4': c4, 'c5': c5}

    def _stage(self, x: Array, train: bool, names: str, layer: Layer) -> Array:
        """Some inception modules in a row."""
        wide_kernel = 5 if self.flavor == 'paper' else 3
        for name in names.split():
            x = Inception(INCEPTIONS[name], wide_kernel, layer, name=f'inception{name}')(x, train)
        return x
