"""One architecture a file."""

from segjax.models.fcn import FCN
from segjax.models.unet import UNet

__all__ = ['FCN', 'UNet']
