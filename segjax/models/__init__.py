"""One architecture a file."""

from segjax.models.deeplab import DeepLab
from segjax.models.deeplabv3 import DeepLabV3
from segjax.models.deeplabv3plus import DeepLabV3Plus
from segjax.models.fcn import FCN
from segjax.models.fcn_resnet import FCNResNet
from segjax.models.lraspp import LRASPP
from segjax.models.mask_rcnn import FasterRCNN, MaskRCNN
from segjax.models.segnet import SegNet
from segjax.models.unet import UNet
from segjax.models.unet_transfer import UNetTransfer
from segjax.models.unetplusplus import UNetPlusPlus

__all__ = [
    'FCN',
    'LRASPP',
    'DeepLab',
    'DeepLabV3',
    'DeepLabV3Plus',
    'FCNResNet',
    'FasterRCNN',
    'MaskRCNN',
    'SegNet',
    'UNet',
    'UNetPlusPlus',
    'UNetTransfer',
]
