"""Whole networks that segjax.load knows by name: which model is it, what are its classes.

Their weights are rows of `pretrained.table`; here is what a name of that table leaves open.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import flax.linen as nn

from segjax.data.dataset import Info, color_map
from segjax.data.datasets.voc import CLASSES
from segjax.models import FCN, LRASPP, DeepLabV3, FCNResNet, UNet

ROUND_TO = 32  # pixels; pictures of nearly the same size share a program


class KnownNetwork(NamedTuple):
    """A model with published weights."""

    model: nn.Module
    info: Info


_VOC = Info(CLASSES, color_map(len(CLASSES)))
_CARVANA = Info(('background', 'car'), ((0, 0, 0), (52, 152, 219)))

_MILESIAL = UNet(2, padding='same', norm='batch', concat='skip_first')


def _deeplab(
    backbone: Literal['resnet50', 'resnet101', 'mobilenet_v3_large'],
) -> DeepLabV3:
    return DeepLabV3(21, backbone=backbone, flavor='torchvision', aux=True)


NETWORKS: dict[str, KnownNetwork] = {
    'fcn32s': KnownNetwork(FCN(21, stride=32, padding='caffe'), _VOC),
    'fcn16s': KnownNetwork(FCN(21, stride=16, padding='caffe'), _VOC),
    'fcn8s': KnownNetwork(FCN(21, stride=8, padding='caffe'), _VOC),
    'fcn8s_atonce': KnownNetwork(
        FCN(21, stride=8, padding='caffe', skip_scale=(0.01, 0.0001)), _VOC
    ),
    'fcn_alexnet': KnownNetwork(FCN(21, stride=32, padding='caffe', backbone='caffenet'), _VOC),
    'fcn_resnet50': KnownNetwork(FCNResNet(21, depth=50, aux=True), _VOC),
    'fcn_resnet101': KnownNetwork(FCNResNet(21, depth=101, aux=True), _VOC),
    'deeplabv3_resnet50': KnownNetwork(_deeplab('resnet50'), _VOC),
    'deeplabv3_resnet101': KnownNetwork(_deeplab('resnet101'), _VOC),
    'deeplabv3_mobilenet_v3_large': KnownNetwork(_deeplab('mobilenet_v3_large'), _VOC),
    'lraspp_mobilenet_v3_large': KnownNetwork(LRASPP(21), _VOC),
    'unet_carvana': KnownNetwork(_MILESIAL, _CARVANA),
    'unet_carvana_half': KnownNetwork(_MILESIAL, _CARVANA),
}
