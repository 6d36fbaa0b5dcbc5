"""Flax modules that two or more models use."""

from segjax.layers.aspp import ASPP
from segjax.layers.axis import DATA_AXIS
from segjax.layers.conv import Conv, ConvTranspose
from segjax.layers.conv_norm import ConvNormRelu
from segjax.layers.double_conv import DoubleConv
from segjax.layers.dropout import Dropout
from segjax.layers.norm import BatchNorm, FrozenBatchNorm, by_running_averages
from segjax.layers.separable_conv import SeparableConv
from segjax.layers.sides import check_sides, round_up

__all__ = [
    'ASPP',
    'DATA_AXIS',
    'BatchNorm',
    'Conv',
    'ConvNormRelu',
    'ConvTranspose',
    'DoubleConv',
    'Dropout',
    'FrozenBatchNorm',
    'SeparableConv',
    'by_running_averages',
    'check_sides',
    'round_up',
]
