"""Feature extractors: each returns `{'c1': ..., 'c5': ...}`, cK at stride 2^K.

AlexNet, whose first layer has stride 4, starts at c2.
"""

from segjax.backbones.alexnet import AlexNet, CaffeNet
from segjax.backbones.googlenet import GoogLeNet
from segjax.backbones.mobilenet import MobileNetV2, MobileNetV3Large
from segjax.backbones.resnet import ResNet
from segjax.backbones.vgg import VGG
from segjax.backbones.xception import Xception

__all__ = [
    'VGG',
    'AlexNet',
    'CaffeNet',
    'GoogLeNet',
    'MobileNetV2',
    'MobileNetV3Large',
    'ResNet',
    'Xception',
]
