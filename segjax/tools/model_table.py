"""Every model's parameters and multiply-adds, beside what was published.

    python -m segjax.tools.model_table

Prints the table of experiments/README.md. Nothing is computed but shapes. 21 classes, U-Nets one or
two, unless the name says otherwise.

Multiply-adds are those of convolutions, from formulas. TensorFlow ran an atrous convolution of rate
r on maps filled up to multiples of r (space_to_batch), and the tables of the DeepLab papers count
the filling: `counted_as_tensorflow` does so too.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn

from segjax.layers.cost import LayerCost, layer_costs
from segjax.models import (
    FCN,
    LRASPP,
    DeepLab,
    DeepLabV3,
    DeepLabV3Plus,
    FCNResNet,
    SegNet,
    UNet,
    UNetPlusPlus,
    UNetTransfer,
)

NESTED = (32, 64, 128, 256, 512)  # widths of U-Net++'s table of parameters


class Row(NamedTuple):
    """A model and what was published of it.

    Attributes:
      name: with what sets it apart.
      model: bound to its number of classes.
      size: of the picture, `h w c`.
      params: as it was published.
      macs: 10^9 multiply-adds as they were published.
    """

    name: str
    model: nn.Module
    size: tuple[int, int, int]
    params: str = ''
    macs: str = ''


def _vgg_rows() -> list[Row]:
    size = (500, 500, 3)
    segnet = (360, 480, 3)
    return [
        Row('FCN-32s, VGG16', FCN(21, 32), size, '134 M'),
        Row('FCN-16s, VGG16', FCN(21, 16), size),
        Row('FCN-8s, VGG16', FCN(21, 8), size, '134.5 M'),
        Row('DeepLab, VGG16, 7x7', DeepLab(21, variant='7x7'), size, '134.3 M'),
        Row('DeepLab, VGG16, 4x4', DeepLab(21, variant='4x4'), size, '65.1 M'),
        Row('DeepLab-LargeFOV, VGG16', DeepLab(21), size, '20.5 M'),
        Row('DeepLabV2, VGG16', DeepLab(21, variant='aspp'), size),
        Row('SegNet, 11 classes', SegNet(11), segnet),
        Row('SegNet-Basic, 11 classes', SegNet(11, 'basic'), segnet, '1.425 M'),
    ]


def _unet_rows() -> list[Row]:
    narrow = UNet(1, widths=NESTED, padding='same')
    pruned = [UNetPlusPlus(1, False, depth=depth) for depth in (1, 2, 3, 4)]
    counts = ('0.1 M', '0.5 M', '2.2 M', '9.04 M')
    return [
        Row('U-Net', UNet(2), (572, 572, 1)),
        Row('U-Net, as U-Net++ has it', narrow, (96, 96, 1), '7.76 M'),
        *(
            Row(f'U-Net++ L{depth}', model, (96, 96, 1), count)
            for depth, (model, count) in enumerate(zip(pruned, counts, strict=True), start=1)
        ),
        Row('TernausNet-11', UNetTransfer(1, 'vgg11'), (512, 512, 3)),
        Row('TernausNet-16', UNetTransfer(1, 'vgg16'), (512, 512, 3)),
    ]


def _torchvision_rows() -> list[Row]:
    """With the auxiliary head, as torchvision counts."""
    size = (520, 520, 3)
    v3 = DeepLabV3(21, 'resnet50', 'torchvision', output_stride=8, aux=True)
    mobile = v3.clone(backbone='mobilenet_v3_large', output_stride=16)
    return [
        Row('fcn_resnet50', FCNResNet(21, 50), size, '35,322,218', '152.717'),
        Row('fcn_resnet101', FCNResNet(21, 101), size, '54,314,346', '232.738'),
        Row('deeplabv3_resnet50', v3, size, '42,004,074', '178.722'),
        Row('deeplabv3_resnet101', v3.clone(backbone='resnet101'), size, '60,996,202', '258.743'),
        Row('deeplabv3_mobilenet_v3_large', mobile, size, '11,029,328', '10.452'),
        Row('lraspp_mobilenet_v3_large', LRASPP(21), size, '3,221,538', '2.086'),
    ]


def deeplab_rows() -> list[Row]:
    """Tables 3 and 5 of the paper of DeepLabV3+, and the mobile networks of its model zoo."""
    size = (513, 513, 3)
    published = {  # without a decoder, with a dense one, with a separable one, at a stride
        ('resnet101', 32): ('52.43', '74.20', ''),
        ('resnet101', 16): ('81.02', '101.28', ''),
        ('resnet101', 8): ('276.18', '297.92', ''),
        ('xception65', 16): ('68.00', '89.76', '54.17'),
        ('xception65', 8): ('240.85', '262.59', '177.10'),
    }
    names = {'resnet101': 'ResNet-101', 'xception65': 'Xception-65'}
    rows = []
    for (backbone, stride), (bare, dense, separable) in published.items():
        fields = {'backbone': backbone, 'output_stride': stride}
        v3, model = DeepLabV3(21).clone(**fields), DeepLabV3Plus(21).clone(**fields)
        name = f'{names[backbone]}, stride {stride}'
        rows += [
            Row(f'DeepLabV3, {name}', v3, size, '', bare),
            Row(f'DeepLabV3+, {name}, dense', model.clone(separable=False), size, '', dense),
            Row(f'DeepLabV3+, {name}, separable', model, size, '', separable),
        ]
    mobile = DeepLabV3Plus(21, 'mobilenet_v2', decoder=False, atrous=False)
    return [
        *rows,
        Row('DeepLab, MobileNetV2', mobile, size, '', '2.75'),
        Row('DeepLab, MobileNetV2, width .5', mobile.clone(width=0.5), size, '', '0.88'),
    ]


def _smp_rows() -> list[Row]:
    size = (512, 512, 3)
    model = DeepLabV3Plus(21, 'resnet50', 'smp')
    return [
        Row('smp.DeepLabV3Plus, ResNet-50', model, size, '26,682,725'),
        Row('smp.DeepLabV3Plus, ResNet-101', model.clone(backbone='resnet101'), size, '45,674,853'),
        Row(
            'smp.DeepLabV3Plus, MobileNetV2',
            model.clone(backbone='mobilenet_v2'),
            size,
            '4,383,653',
        ),
    ]


def counted_as_tensorflow(costs: list[LayerCost]) -> int:
    """Multiply-adds where a map `h w` of a convolution of rate r counts `r ceil(h/r) r ceil(w/r)`
    pixels.
    """
    total = 0
    for layer in costs:
        (h, w), rate = layer.output_shape[1:3], layer.dilation
        filled = (-(-h // rate) * rate) * (-(-w // rate) * rate)
        total += layer.macs * filled // (h * w)
    return total


def _line(row: Row, *, tensorflow: bool) -> str:
    costs = layer_costs(row.model, (1, *row.size))
    params, macs = sum(layer.params for layer in costs), sum(layer.macs for layer in costs)
    counted = f'{counted_as_tensorflow(costs) / 1e9:.2f}' if tensorflow else ''
    picture = '{}x{}x{}'.format(*row.size)
    cells = row.name, f'{params:,}', row.params, picture, f'{macs / 1e9:.3f}', counted, row.macs
    return f'| {" | ".join(cells)} |'


def table() -> str:
    """Markdown."""
    head = (
        '| network | parameters | published | picture | 10^9 multiply-adds | as TensorFlow counts '
        '| published |\n|---|---|---|---|---|---|---|'
    )
    plain = [*_vgg_rows(), *_unet_rows(), *_torchvision_rows(), *_smp_rows()]
    lines = [_line(row, tensorflow=False) for row in plain]
    return '\n'.join([head, *lines, *(_line(row, tensorflow=True) for row in deeplab_rows())])


if __name__ == '__main__':
    print(table())
