"""Strides traded for dilations: how a classifier becomes a dense feature extractor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Sampling(NamedTuple):
    """What is left of a stride once the wanted output stride is reached.

    Attributes:
      stride: of the convolution that had the nominal stride.
      dilation: of that same convolution.
      rest: of the convolutions after it, up to the next stride.
    """

    stride: int
    dilation: int
    rest: int


def atrous_sampling(
    strides: Sequence[int], *, stem: int, output_stride: int, dilate_first: bool = False
) -> list[Sampling]:
    """Strides beyond `output_stride` become dilations of what follows.

    Chen et al., "DeepLab", section 3.1 (the "à trous" algorithm): a convolution that loses its
    stride keeps the dilation it had, and all that come after it are dilated by the lost stride.
    The dense features, sampled at the lost strides, are then exactly those of the strided network.

    Args:
      strides: nominal strides, in the order of the convolutions that have them.
      stem: stride of what comes before.
      output_stride: 8, 16 or 32.
      dilate_first: dilate the convolution that loses its stride, too, as torchvision's dilated
        MobileNetV3 and segmentation_models.pytorch do. The exact correspondence is lost.

    Raises:
      ValueError: the output stride is none of 8, 16 and 32.
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f'output_stride is {output_stride}, and must be 8, 16 or 32')
    plan = []
    reached, dilation = stem, 1
    for stride in strides:
        before = dilation
        if reached * stride > output_stride:
            dilation *= stride
            stride = 1
        reached *= stride
        plan.append(Sampling(stride, dilation if dilate_first else before, dilation))
    return plan
