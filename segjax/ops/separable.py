"""Depthwise convolution, the depthwise-separable one built of it, and what that saves."""

from __future__ import annotations

from jaxtyping import Array, Float

from segjax.ops.conv import Padding, conv, conv_cost


def depthwise_conv(
    x: Float[Array, 'b h w c'],
    kernel: Float[Array, 'kh kw 1 m'],
    *,
    stride: int = 1,
    padding: Padding = 'same',
    dilation: int = 1,
) -> Float[Array, 'b oh ow m']:
    """Convolve every channel by itself: `conv` in as many groups as there are channels.

    `y[i, j, o] = sum_{a, b} x[i*stride + a*dilation - p, j*stride + b*dilation - p, o // (m / c)]
    k[a, b, 0, o]`

    Args:
      kernel: `kh kw 1 m`, m a multiple of c: so many outputs of each channel, side by side.
      stride, padding, dilation: as `conv`.
    """
    groups = x.shape[-1]
    return conv(x, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)


def separable_conv(
    x: Float[Array, 'b h w c'],
    depthwise: Float[Array, 'kh kw 1 d'],
    pointwise: Float[Array, '1 1 d m'],
    *,
    stride: int = 1,
    padding: Padding = 'same',
    dilation: int = 1,
) -> Float[Array, 'b oh ow m']:
    """A depthwise convolution over space, then a 1x1 convolution over channels.

    It is the convolution with the kernel `k[a, b, c, m] = depthwise[a, b, 0, c] pointwise[0, 0, c,
    m]` (for d = c), which has rank one in space and channels, at a fraction of its cost
    (`separable_cost`). Chollet, "Xception", section 1; with `dilation` the atrous separable
    convolution of Chen et al., "DeepLabv3+", section 3.1.
    """
    y = depthwise_conv(x, depthwise, stride=stride, padding=padding, dilation=dilation)
    return conv(y, pointwise)


def separable_cost(
    kernel: tuple[int, int], in_features: int, out_features: int, size: tuple[int, int]
) -> int:
    """Multiply-accumulates of `separable_conv` with d = c: `(kh kw c + c m) h w`.

    Against `conv_cost`, `kh kw c m h w`, that is `1/m + 1/(kh kw)` of it: Howard et al.,
    "MobileNets", section 3.1.
    """
    spatial = conv_cost(kernel, in_features, in_features, size, groups=in_features)
    return spatial + conv_cost((1, 1), in_features, out_features, size)
