"""Whole networks that segjax.load knows by name: model, classes, and how a picture is put to it.

Their weights are rows of `pretrained.table`, which say where a file can be had, or that it is given
by its path; here is what a name of that table leaves open.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from segjax.data.dataset import Info, color_map
from segjax.data.datasets.voc import CLASSES
from segjax.data.detection import DetectionEval
from segjax.data.pipeline import EvalPipeline
from segjax.models import (
    FCN,
    LRASPP,
    DeepLabV3,
    DeepLabV3Plus,
    FasterRCNN,
    FCNResNet,
    MaskRCNN,
    UNet,
    UNetPlusPlus,
    UNetTransfer,
)

ROUND_TO = 32  # pixels; pictures of nearly the same size share a program

# Of category ids 0 to 90, class 0 being the background; COCO has no category of the ids that are
# left out here.
COCO = """
person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,,stop sign,
parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,,backpack,umbrella,,,
handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,
surfboard,tennis racket,bottle,,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,
broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,,dining table,,,toilet,,tv,
laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,,book,clock,vase,
scissors,teddy bear,hair drier,toothbrush
""".replace('\n', '').split(',')


class KnownNetwork(NamedTuple):
    """A model with published weights, or one of a layout that files are published in.

    Attributes:
      pipeline: how a picture is put to it; a DetectionEval makes it a detector.
    """

    model: Any  # a Flax module with a field num_classes
    info: Info
    pipeline: EvalPipeline = EvalPipeline(round_to=ROUND_TO)


def _info(*names: str) -> Info:
    return Info(names, color_map(len(names)))


def numbered(num_classes: int, *, background: bool) -> Info:
    """Names of classes of which a file tells no more than their number.

    Args:
      num_classes: of the model; 1 is a single foreground channel.
      background: class 0 is known to be the background.
    """
    if num_classes == 1:
        return _info('background', 'foreground')
    first = 'background' if background else 'class 0'
    return _info(first, *(f'class {i}' for i in range(1, num_classes)))


_VOC = _info(*CLASSES)
_COCO = _info('background', *(name or f'nothing {i}' for i, name in enumerate(COCO, start=1)))
_CARVANA = Info(('background', 'car'), ((0, 0, 0), (52, 152, 219)))
_FOREGROUND = numbered(1, background=True)

_MILESIAL = UNet(2, padding='same', norm='batch', concat='skip_first')

# torchvision's detectors see pictures of 800 pixels or, the longer side, 1333; four canvases hold
# them all, but for the narrowest, so that a folder of photographs takes few compilations.
_DETECTION = DetectionEval(
    short=800, long=1333, canvases=((800, 1088), (800, 1344), (1088, 800), (1344, 800))
)


def _deeplab(backbone: Literal['resnet50', 'resnet101']) -> KnownNetwork:
    return KnownNetwork(DeepLabV3(21, backbone, 'torchvision', 8), _VOC)


def _caffe(stride: Literal[8, 16, 32], **fields: Any) -> KnownNetwork:
    return KnownNetwork(FCN(21, stride=stride, padding='caffe', **fields), _VOC)


def _detector(kind: type[MaskRCNN], **fields: Any) -> KnownNetwork:
    return KnownNetwork(kind(91, **fields), _COCO, _DETECTION)


def _smp_unet(backbone: Literal['resnet18', 'resnet34', 'resnet50']) -> KnownNetwork:
    return KnownNetwork(UNetTransfer(1, backbone), _FOREGROUND)


def _smp_unetplusplus(backbone: Literal['resnet18', 'resnet34', 'resnet50']) -> KnownNetwork:
    fields: dict[str, Any] = {'norm': 'batch', 'use_bias': False, 'up': 'nearest'}
    model = UNetPlusPlus(1, False, concat='newest_first', backbone=backbone, **fields)
    return KnownNetwork(model, _FOREGROUND)


def _smp_deeplab(
    backbone: Literal['resnet18', 'resnet50', 'resnet101', 'mobilenet_v2'],
) -> KnownNetwork:
    return KnownNetwork(DeepLabV3Plus(1, backbone, 'smp'), _FOREGROUND)


def _ternaus(backbone: Literal['vgg11', 'vgg16'], deconv: bool = False) -> KnownNetwork:
    return KnownNetwork(UNetTransfer(1, backbone, deconv), _FOREGROUND)


# A second head, which only trains, is left out: files with one and without are read.
NETWORKS: dict[str, KnownNetwork] = {
    'fcn32s': _caffe(32),
    'fcn16s': _caffe(16),
    'fcn8s': _caffe(8),
    'fcn8s_atonce': _caffe(8, skip_scale=(0.01, 0.0001)),
    'fcn_alexnet': _caffe(32, backbone='caffenet'),
    'fcn_resnet50': KnownNetwork(FCNResNet(21, 50, aux=False), _VOC),
    'fcn_resnet101': KnownNetwork(FCNResNet(21, 101, aux=False), _VOC),
    'deeplabv3_resnet50': _deeplab('resnet50'),
    'deeplabv3_resnet101': _deeplab('resnet101'),
    'deeplabv3_mobilenet_v3_large': KnownNetwork(
        DeepLabV3(21, 'mobilenet_v3_large', 'torchvision', 16), _VOC
    ),
    'lraspp_mobilenet_v3_large': KnownNetwork(LRASPP(21), _VOC),
    'maskrcnn_resnet50_fpn': _detector(MaskRCNN, norm_epsilon=0.0),
    'maskrcnn_resnet50_fpn_v2': _detector(MaskRCNN, version=2),
    'fasterrcnn_resnet50_fpn': _detector(FasterRCNN, norm_epsilon=0.0),
    'fasterrcnn_resnet50_fpn_v2': _detector(FasterRCNN, version=2),
    'unet_carvana': KnownNetwork(_MILESIAL, _CARVANA),
    'unet_carvana_half': KnownNetwork(_MILESIAL, _CARVANA),
    'smp_unet_resnet18': _smp_unet('resnet18'),
    'smp_unet_resnet34': _smp_unet('resnet34'),
    'smp_unet_resnet50': _smp_unet('resnet50'),
    'smp_unetplusplus_resnet18': _smp_unetplusplus('resnet18'),
    'smp_unetplusplus_resnet34': _smp_unetplusplus('resnet34'),
    'smp_unetplusplus_resnet50': _smp_unetplusplus('resnet50'),
    'smp_deeplabv3plus_resnet18': _smp_deeplab('resnet18'),
    'smp_deeplabv3plus_resnet50': _smp_deeplab('resnet50'),
    'smp_deeplabv3plus_resnet101': _smp_deeplab('resnet101'),
    'smp_deeplabv3plus_mobilenet_v2': _smp_deeplab('mobilenet_v2'),
    'ternausnet11': _ternaus('vgg11'),
    'ternausnet16': _ternaus('vgg16'),
    'ternausnet16_deconv': _ternaus('vgg16', deconv=True),
    'deeplabv3_mobilenet_v2_half': KnownNetwork(
        DeepLabV3(21, 'mobilenet_v2', 'torchvision', 8, width=0.5), _VOC
    ),
}
