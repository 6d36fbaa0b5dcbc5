"""Convolution layers over `segjax.ops`: float32 parameters, computed in `dtype`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jaxtyping import Array, Float

from segjax import ops
from segjax.ops.conv import Padding

HE_NORMAL = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')
# Torch's default of a convolution: uniform in +-1 / sqrt(fan in)
TORCH_UNIFORM = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


def bilinear_init(
    key: Array, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None
) -> Array:
    """Bilinear interpolation on the diagonal of a kernel `2s 2s k k` or `2s-1 2s-1 k k`.

    Zero between classes.
    """
    del key, out_sharding
    side, _, inputs, outputs = shape
    line = jnp.asarray(ops.bilinear_kernel((side + 1) // 2, odd=side % 2 == 1), dtype)
    return jnp.einsum('ij,km->ijkm', line, jnp.eye(inputs, outputs, dtype=dtype))


class Conv(nn.Module):
    """`ops.conv` with a kernel and a bias.

    Attributes:
      features: channels out.
      kernel: side of the square kernel.
      stride, padding, dilation, groups: as `ops.conv`.
      use_bias: False where a BatchNorm follows.
      kernel_init: He's Gaussian, std sqrt(2 / (kernel^2 channels in)), unless a model says
        otherwise.
      dtype: computed in this; parameters are float32.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    padding: Padding = 'same'
    dilation: int = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: Initializer = HE_NORMAL
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b oh ow m']:
        shape = (self.kernel, self.kernel, x.shape[-1] // self.groups, self.features)
        kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
        y = ops.conv(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        if self.use_bias:
            bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return y


class ConvTranspose(nn.Module):
    """`ops.conv_transpose` with a kernel and a bias.

    Attributes:
      features: channels out.
      kernel: side of the square kernel.
      stride, padding: as `ops.conv_transpose`.
      use_bias, kernel_init, dtype: as `Conv`.
    """

    features: int
    kernel: int = 2
    stride: int = 2
    padding: int = 0
    use_bias: bool = True
    kernel_init: Initializer = HE_NORMAL
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: Float[Array, 'b h w c']) -> Float[Array, 'b oh ow m']:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
        y = ops.conv_transpose(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            padding=self.padding,
        )
        if self.use_bias:
            bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return y
