"""Flax modules that two or more models use."""

from segjax.layers.axis import DATA_AXIS
from segjax.layers.conv import Conv, ConvTranspose
from segjax.layers.dropout import Dropout
from segjax.layers.norm import BatchNorm

__all__ = ['DATA_AXIS', 'BatchNorm', 'Conv', 'ConvTranspose', 'Dropout']
