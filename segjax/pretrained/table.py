"""The weights that are known by name: --weights=NAME, --list_weights.

Addresses, hash prefixes, figures and preprocessing are those of torchvision 0.29.2. torchvision
names each file after the first digits of its SHA-256. Those of Caffe's files are from the READMEs
of fcn.berkeleyvision.org and of BVLC's models, which publish no SHA-256; VGG's address is
unconfirmed. milesial/Pytorch-UNet's are from its hubconf.py, without SHA-256 too. Networks that
people train themselves have rows without an address: their files are given by path.

The layouts are tested against the projects' own networks, with values made up for the purpose; the
published files themselves were out of reach.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from segjax.types import UserError

NOT_TRIED = 'layout tested, file not tried'


@dataclass(frozen=True)
class KnownWeights:
    """Weights that can be downloaded.

    Attributes:
      name: what --weights is given.
      model: the architecture.
      layout: how the file names its arrays, a key of `layouts.LAYOUTS`.
      url: of the file; '' where there is none to download.
      sha256: the digits that its SHA-256 begins with; '' where unknown.
      preprocessing: the data set's `normalize` that the weights expect.
      classes: what they were trained to tell apart.
      figure: what was published, and on what.
      licence: of the file, as far as its publisher says.
      scope: 'encoder' when only the convolutional layers hold values, 'whole' with the classifier.
      drop: patterns of arrays in the file that hold no values.
      channel_order: of the images they were trained on.
    """

    name: str
    model: str
    layout: str
    url: str
    sha256: str
    preprocessing: str
    classes: str
    figure: str
    licence: str
    scope: Literal['encoder', 'whole'] = 'whole'
    drop: tuple[str, ...] = ()
    channel_order: Literal['rgb', 'bgr'] = 'rgb'

    @property
    def file_name(self) -> str:
        """The last part of the address; without one, what stands in its place."""
        return self.url.rpartition('/')[2] or 'by its path'


def _torchvision(
    name: str, model: str, file: str, top1: float, preprocessing: str = 'imagenet'
) -> KnownWeights:
    """A classifier of torchvision: `file` is 'stem-digits', the digits begin its SHA-256."""
    return KnownWeights(
        name=name,
        model=model,
        layout='torchvision',
        url=f'https://download.pytorch.org/models/{file}.pth',
        sha256=file.rpartition('-')[2],
        preprocessing=preprocessing,
        classes='1000 of ImageNet-1K',
        figure=f'{top1:.2f} top-1, ImageNet-1K val, crop 224',
        licence='BSD-3-Clause (torchvision); trained on ImageNet, for its terms',
    )


_TORCHVISION = (
    _torchvision('vgg11', 'VGG11', 'vgg11-8a719046', 69.02),
    _torchvision('vgg11_bn', 'VGG11, batch norm', 'vgg11_bn-6002323d', 70.37),
    _torchvision('vgg16', 'VGG16', 'vgg16-397923af', 71.592),
    _torchvision('vgg16_bn', 'VGG16, batch norm', 'vgg16_bn-6c64b313', 73.36),
    _torchvision('alexnet', 'AlexNet', 'alexnet-owt-7be5be79', 56.522),
    # torchvision turns GoogLeNet's input from ImageNet's statistics to -1..1 (`transform_input`)
    _torchvision('googlenet', 'GoogLeNet, batch norm', 'googlenet-1378be20', 69.778, 'centered'),
    _torchvision('resnet18', 'ResNet-18', 'resnet18-f37072fd', 69.758),
    _torchvision('resnet34', 'ResNet-34', 'resnet34-b627a593', 73.314),
    _torchvision('resnet50', 'ResNet-50', 'resnet50-0676ba61', 76.13),
    _torchvision('resnet50_v2', 'ResNet-50', 'resnet50-11ad3fa6', 80.858),
    _torchvision('resnet101', 'ResNet-101', 'resnet101-63fe2227', 77.374),
    _torchvision('resnet101_v2', 'ResNet-101', 'resnet101-cd907fc2', 81.886),
    _torchvision('mobilenet_v2', 'MobileNetV2', 'mobilenet_v2-b0353104', 71.878),
    _torchvision('mobilenet_v2_v2', 'MobileNetV2', 'mobilenet_v2-7ebf99e0', 72.154),
    _torchvision('mobilenet_v3_large', 'MobileNetV3-L', 'mobilenet_v3_large-8738ca79', 74.042),
    _torchvision('mobilenet_v3_large_v2', 'MobileNetV3-L', 'mobilenet_v3_large-5c1a4163', 75.274),
)


def _segmentation(name: str, model: str, file: str, figure: float) -> KnownWeights:
    """A segmentation network of torchvision; `file` as above."""
    return KnownWeights(
        name=name,
        model=model,
        layout='torchvision',
        url=f'https://download.pytorch.org/models/{file}.pth',
        sha256=file.rpartition('-')[2],
        preprocessing='imagenet',
        classes='21 of Pascal VOC',
        figure=f'{figure:.1f} mean IoU, COCO val 2017 in 21 classes, short side 520',
        licence='BSD-3-Clause (torchvision); trained on COCO, for its terms',
    )


_SEGMENTATION = (
    _segmentation('fcn_resnet50', 'FCN-ResNet-50', 'fcn_resnet50_coco-1167a1af', 60.5),
    _segmentation('fcn_resnet101', 'FCN-ResNet-101', 'fcn_resnet101_coco-7ecb50ca', 63.7),
    _segmentation(
        'deeplabv3_resnet50', 'DeepLabV3 over ResNet-50, flavor=torchvision output_stride=8',
        'deeplabv3_resnet50_coco-cd0a2569', 66.4,
    ),
    _segmentation(
        'deeplabv3_resnet101', 'DeepLabV3 over ResNet-101, flavor=torchvision output_stride=8',
        'deeplabv3_resnet101_coco-586e9e4e', 67.4,
    ),
    _segmentation(
        'deeplabv3_mobilenet_v3_large', 'DeepLabV3 over MobileNetV3-L, flavor=torchvision',
        'deeplabv3_mobilenet_v3_large-fc3c493d', 60.3,
    ),
    _segmentation(
        'lraspp_mobilenet_v3_large', 'LR-ASPP', 'lraspp_mobilenet_v3_large-d234d4ea', 57.9
    ),
)  # fmt: skip


def _detection(name: str, model: str, file: str, figure: str) -> KnownWeights:
    """A detector of torchvision; `file` as above."""
    return KnownWeights(
        name=name,
        model=model,
        layout='torchvision',
        url=f'https://download.pytorch.org/models/{file}.pth',
        sha256=file.rpartition('-')[2],
        preprocessing='imagenet',
        classes="91 with the background: COCO's ids, gaps among them",
        figure=f'{figure}, COCO val 2017',
        licence='BSD-3-Clause (torchvision); trained on COCO, for its terms',
    )


_DETECTION = (
    _detection(
        'maskrcnn_resnet50_fpn', 'Mask R-CNN, norm_epsilon=0',
        'maskrcnn_resnet50_fpn_coco-bf2d0c1e', 'AP 37.9 boxes, 34.6 masks',
    ),
    _detection(
        'maskrcnn_resnet50_fpn_v2', 'Mask R-CNN, version=2',
        'maskrcnn_resnet50_fpn_v2_coco-73cbd019', 'AP 47.4 boxes, 41.8 masks',
    ),
    _detection(
        'fasterrcnn_resnet50_fpn', 'Faster R-CNN, norm_epsilon=0',
        'fasterrcnn_resnet50_fpn_coco-258fb6c6', 'AP 37.0 boxes',
    ),
    _detection(
        'fasterrcnn_resnet50_fpn_v2', 'Faster R-CNN, version=2',
        'fasterrcnn_resnet50_fpn_v2_coco-dd69338a', 'AP 46.7 boxes',
    ),
)  # fmt: skip

# Simonyan and Zisserman's own values, for RGB less the mean: nearest to what FCN started from.
_CAFFE_VGG16 = KnownWeights(
    name='vgg16_caffe',
    model='VGG16',
    layout='torchvision',
    url='https://download.pytorch.org/models/vgg16_features-amdegroot-88682ab5.pth',
    sha256='88682ab5',
    preprocessing='caffe',
    classes='none',
    figure='none for classification: fc6 and fc7 are absent',
    licence='BSD-3-Clause (torchvision); ported from Caffe by amdegroot/ssd.pytorch (MIT)',
    scope='encoder',
    drop=('classifier.*',),  # they are there and hold no values
)

_BVLC = 'http://dl.caffe.berkeleyvision.org'
_UNRESTRICTED = 'unrestricted use (BVLC); trained on ImageNet, for its terms'


def _caffe(
    name: str, model: str, url: str, classes: str, figure: str, licence: str = _UNRESTRICTED
) -> KnownWeights:
    """A .caffemodel."""
    return KnownWeights(
        name=name,
        model=model,
        layout='caffe',
        url=url,
        sha256='',
        preprocessing='caffe',
        classes=classes,
        figure=figure,
        licence=licence,
        channel_order='bgr',
    )


def _fcn(name: str, model: str, file: str, figure: float, note: str = '') -> KnownWeights:
    """A network of fcn.berkeleyvision.org, trained on Pascal VOC; padding='caffe' here."""
    published = f'{figure:.1f} mean IU, seg11valid{note}'
    return _caffe(name, model, f'{_BVLC}/{file}-pascal.caffemodel', '21 of Pascal VOC', published)


_IMAGENET = '1000 of ImageNet-1K'
_VGG_FILE = 'www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_16_layers.caffemodel'
_CAFFE = (
    _caffe(
        'vgg16_ilsvrc', 'VGG16', f'http://{_VGG_FILE}', _IMAGENET,
        '8.1 top-5 error, ImageNet-1K val, dense at 384',
        'CC BY 4.0 (VGG); trained on ImageNet, for its terms',
    ),
    _caffe(
        'caffenet', 'CaffeNet', f'{_BVLC}/bvlc_reference_caffenet.caffemodel', _IMAGENET,
        '57.4 top-1, ImageNet-1K val, center crop',
    ),
    _caffe(
        'bvlc_googlenet', 'GoogLeNet', f'{_BVLC}/bvlc_googlenet.caffemodel', _IMAGENET,
        '68.7 top-1, ImageNet-1K val, center crop',
    ),
    _fcn('fcn32s', 'FCN-32s', 'fcn32s-heavy', 63.6),
    _fcn('fcn16s', 'FCN-16s', 'fcn16s-heavy', 65.0, ', skip_scale=1,1'),
    _fcn('fcn8s', 'FCN-8s', 'fcn8s-heavy', 65.5, ', skip_scale=1,1'),
    _fcn('fcn8s_atonce', 'FCN-8s', 'fcn8s-atonce', 65.4, ', skip_scale=.01,.0001'),
    _fcn('fcn_alexnet', 'FCN-AlexNet', 'fcn-alexnet', 48.0),
)  # fmt: skip


def _milesial(name: str, scale: str) -> KnownWeights:
    """A network of milesial/Pytorch-UNet, trained on Carvana's pictures made smaller by `scale`."""
    return KnownWeights(
        name=name,
        model='U-Net, padding=same norm=batch concat=skip_first',
        layout='milesial',
        url='https://github.com/milesial/Pytorch-UNet/releases/download/v3.0/'
        f'unet_carvana_scale{scale}_epoch2.pth',
        sha256='',
        preprocessing='unit',
        classes='background and car of Carvana',
        figure=f'none; pictures at {scale} of their size',
        licence='GPL-3.0 (milesial/Pytorch-UNet); trained on Carvana, for its terms',
    )


_MILESIAL = (_milesial('unet_carvana', '1.0'), _milesial('unet_carvana_half', '0.5'))


def _by_path(name: str, model: str, layout: str) -> KnownWeights:
    """A network whose files are one's own; `known_networks` has its fields."""
    return KnownWeights(
        name=name,
        model=model,
        layout=layout,
        url='',
        sha256='',
        preprocessing='imagenet',
        classes='as many as the file has',
        figure=NOT_TRIED,
        licence='',
    )


_OWN = (
    *(
        _by_path(f'smp_{kind}_{encoder}', f'{model} over {encoder}', 'smp')
        for kind, model, encoders in (
            ('unet', 'U-Net of smp', 'resnet18 resnet34 resnet50'),
            ('unetplusplus', 'U-Net++ of smp', 'resnet18 resnet34 resnet50'),
            ('deeplabv3plus', 'DeepLabV3+ of smp', 'resnet18 resnet50 resnet101 mobilenet_v2'),
        )
        for encoder in encoders.split()
    ),
    _by_path('ternausnet11', 'TernausNet over VGG11', 'ternausnet'),
    _by_path('ternausnet16', 'TernausNet over VGG16', 'ternausnet'),
    _by_path('ternausnet16_deconv', 'TernausNet over VGG16, deconv', 'ternausnet'),
    _by_path(
        'deeplabv3_mobilenet_v2_half',
        'DeepLabV3 over MobileNetV2, flavor=torchvision width=.5 output_stride=8',
        'torchvision',
    ),
)

KNOWN: dict[str, KnownWeights] = {
    known.name: known
    for known in (
        *(*_TORCHVISION, *_SEGMENTATION, *_DETECTION),
        *(_CAFFE_VGG16, *_CAFFE, *_MILESIAL, *_OWN),
    )
}


def suggest(name: str) -> str:
    """' Did you mean ...?' with the nearest of the known names, or nothing."""
    near = difflib.get_close_matches(name, KNOWN, n=3, cutoff=0.6)
    return f' Did you mean {" or ".join(near)}?' if near else ''


def find(name: str) -> KnownWeights:
    """The known weights of this name.

    Raises:
      UserError: there are none; suggests the nearest name.
    """
    if name in KNOWN:
        return KNOWN[name]
    raise UserError(
        f'no weights are known as {name!r}.{suggest(name)} --list_weights names them all.'
    )


def normalization_note(name: str, normalize: str) -> str:
    """What to say when known weights meet images of another normalisation than theirs, or ''."""
    expected = KNOWN[name].preprocessing if name in KNOWN else normalize
    if expected == normalize:
        return ''
    return (
        f'Note: {name} was trained on images with --normalize={expected}; '
        f'the data is set to {normalize}.'
    )


def listing() -> str:
    """What --list_weights prints: name, model, scope, preprocessing, figure, file; a line each."""
    rows = [('NAME', 'MODEL', 'SCOPE', 'NORMALIZE', 'FILE', 'PUBLISHED')]
    rows += [
        (k.name, k.model, k.scope, k.preprocessing, k.file_name, k.figure) for k in KNOWN.values()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        '  '.join(f'{cell:{width}}' for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    lines += [f'Licence: {x}' for x in sorted({k.licence for k in KNOWN.values()}) if x]
    lines.append('--mode=predict reads a file of such a network, too: --weights=NAME,FILE')
    lines.append(f'All files above: {NOT_TRIED}; figures are those of their publishers.')
    return '\n'.join(line.rstrip() for line in lines)
