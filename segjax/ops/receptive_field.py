"""Which pixels of the image a unit of the network sees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Window(NamedTuple):
    """A convolution or a pooling, along one axis."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: int = 0  # in front


class ReceptiveField(NamedTuple):
    """Unit i sees the pixels `start + i * stride` to `start + i * stride + size - 1`.

    Those before the first and behind the last pixel of the image are padding.
    """

    size: int
    stride: int
    start: int


def receptive_field(layers: Iterable[Window]) -> ReceptiveField:
    """The receptive field behind a chain of layers, along one axis.

    From size 1, stride 1, start 0, each layer in turn:

        size   += (kernel - 1) * dilation * stride
        start  -= padding * stride
        stride *= its stride

    VGG16 up to fc7 sees 404 pixels every 32: Long, Shelhamer, Darrell, "Fully Convolutional
    Networks", table 1. Of branches side by side the widest decides. Araujo, Norris, Sim, "Computing
    Receptive Fields of Convolutional Neural Networks", section 2.
    """
    size, stride, start = 1, 1, 0
    for layer in layers:
        size += (layer.kernel - 1) * layer.dilation * stride
        start -= layer.padding * stride
        stride *= layer.stride
    return ReceptiveField(size, stride, start)
