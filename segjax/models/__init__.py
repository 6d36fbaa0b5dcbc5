"""One architecture a file."""

from segjax.models.fcn import FCN
from segjax.models.unet import UNet
from segjax.models.unet_transfer import UNetTransfer
from segjax.models.unetplusplus import UNetPlusPlus

__all__ = ['FCN', 'UNet', 'UNetPlusPlus', 'UNetTransfer']
