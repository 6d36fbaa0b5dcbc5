"""The backbones of the DeepLab family: what a name means in which project."""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn

from segjax.backbones.mobilenet import MobileNetV2, MobileNetV3Large
from segjax.backbones.resnet import ResNet
from segjax.backbones.xception import Xception
from segjax.types import UserError

RESNETS: dict[str, Literal[18, 50, 101]] = {'resnet18': 18, 'resnet50': 50, 'resnet101': 101}
XCEPTIONS: dict[str, Literal[41, 65, 71]] = {'xception41': 41, 'xception65': 65, 'xception71': 71}
BACKBONES = {  # of each flavour
    'tf': ('resnet50', 'resnet101', 'mobilenet_v2', *XCEPTIONS),
    'torchvision': (*RESNETS, 'mobilenet_v2', 'mobilenet_v3_large'),
    'smp': (*RESNETS, 'mobilenet_v2'),
}


def _resnet(name: str, flavor: str, width: float, options: dict[str, Any]) -> nn.Module:
    if flavor == 'tf':
        options = {'variant': 'beta', 'multi_grid': (1, 2, 4), 'bn_momentum': 0.95} | options
    return ResNet(
        RESNETS[name], width=round(64 * width), dilate_first=flavor == 'smp', name=name, **options
    )


def _mobilenet_v2(name: str, flavor: str, width: float, options: dict[str, Any]) -> nn.Module:
    if flavor == 'tf':
        options = {'bn_momentum': 0.997, 'bn_epsilon': 1e-3, 'c2_layer': 'depthwise'} | options
        options['round_to'] = 8 if width == 1 else 1
    smp = flavor == 'smp'
    return MobileNetV2(width, dilate_first=smp, last_conv=smp, name=name, **options)


def deeplab_backbone(
    name: str,
    flavor: str,
    *,
    output_stride: int,
    width: float = 1.0,
    bn_momentum: float = 0.0,
    remat: bool = False,
    dtype: str = 'float32',
) -> nn.Module:
    """The backbone of DeepLabV3 and DeepLabV3+ that a flavour means by a name.

    'tf', tensorflow/models: ResNet "beta" with three 3x3 convolutions at the stem and the
    multi-grid (1, 2, 4); MobileNetV2 up to the block of 320 channels; Xception. 'torchvision': its
    classifiers; a stage that lost its stride begins with the dilation of the stage before, but not
    MobileNetV3's. 'smp': torchvision's classifiers too, such stages dilated throughout.

    Args:
      output_stride: of the deepest features, 8, 16 or 32.
      width: multiplier of the channels.
      bn_momentum: decay of the running averages; 0 is the flavour's own.
      remat, dtype: as in every backbone.

    Raises:
      UserError: the flavour has no such backbone, or not in other widths.
    """
    if name not in BACKBONES[flavor]:
        known = ', '.join(BACKBONES[flavor])
        raise UserError(f'--backbone={name} does not go with --flavor={flavor}, which has {known}')
    options: dict[str, Any] = {'output_stride': output_stride, 'remat': remat, 'dtype': dtype}
    if bn_momentum:
        options['bn_momentum'] = bn_momentum
    if name in RESNETS:
        return _resnet(name, flavor, width, options)
    if name == 'mobilenet_v2':
        return _mobilenet_v2(name, flavor, width, options)
    if name in XCEPTIONS:
        return Xception(XCEPTIONS[name], width=width, name=name, **options)
    if width != 1:
        raise UserError(f'--width={width:g}: {name} has one width; set --width=1')
    return MobileNetV3Large(dilate_first=True, c3_block='first', name=name, **options)
