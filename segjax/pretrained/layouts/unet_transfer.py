"""U-Net over classifiers as TernausNet and segmentation_models.pytorch name it.

TernausNet registers the encoder's convolutions twice, in `encoder` and in `conv1` to `conv5`, so
that its state dicts hold each of their arrays under two names.
"""

from __future__ import annotations

from collections.abc import Collection

from segjax.pretrained.layouts import vgg
from segjax.pretrained.layouts.counterpart import NameMap, renamed

_STAGES = ('center', 'dec5', 'dec4', 'dec3', 'dec2')
# VGG11's convolutions are attributes, VGG16's members of sequences with a ReLU after each.
_VGG11 = {(1, 1): 'conv1', (2, 1): 'conv2'} | {
    (stage, i): f'conv{stage}{"s" if i == 1 else ""}' for stage in (3, 4, 5) for i in (1, 2)
}


def ternausnet(names: Collection[str]) -> NameMap | None:
    """Counterparts of TernausNet over VGG11 and VGG16."""
    encoder = next((net for net in ('vgg11', 'vgg16') if _has(names, net)), None)
    if encoder is None:
        return None
    numbers = vgg.feature_numbers(names)
    layers = {
        f'{encoder}/stage{stage}/conv{stage}_{i}': f'encoder.{number}'
        for (kind, stage, i), number in numbers.items()
        if kind == 'conv'
    }
    aliases = {
        f'{_alias(encoder, stage, i)}.{leaf}': f'encoder.{number}.{leaf}'
        for (kind, stage, i), number in numbers.items()
        if kind == 'conv'
        for leaf in ('weight', 'bias')
    }
    ups = {f'{block}/upconv': f'{block}.block.1' for block in _STAGES}
    interpolated = 'params/center/conv2/kernel' in names  # `block.0` interpolates
    layers |= {f'{block}/conv': f'{block}.block.{int(interpolated)}.conv' for block in _STAGES}
    layers |= {f'{block}/conv2': f'{block}.block.2.conv' for block in _STAGES}
    layers |= {**ups, 'dec1': 'dec1.conv', 'score': 'final'}
    found = renamed(names, layers, first=f'{encoder}/stage1/conv1_1', transposed=ups)
    return found and found._replace(aliases=aliases)


def _has(names: Collection[str], encoder: str) -> bool:
    return f'params/{encoder}/stage1/conv1_1/kernel' in names and 'params/dec1/kernel' in names


def _alias(encoder: str, stage: int, i: int) -> str:
    return _VGG11[stage, i] if encoder == 'vgg11' else f'conv{stage}.{2 * (i - 1)}'


def smp(names: Collection[str]) -> NameMap | None:
    """Counterparts of a U-Net over ResNet, as segmentation_models names them."""
    layers = {
        f'dec{k}/{layer}{i}': f'decoder.blocks.{5 - k}.conv{i}.{part}'
        for k in (5, 4, 3, 2, 1)
        for layer, part in (('conv', 0), ('bn', 1))
        for i in (1, 2)
    }
    layers['score'] = 'segmentation_head.0'
    prefix = next((n.split('/')[1] for n in names if n.startswith('params/resnet')), None)
    if prefix is None:
        return None
    for name in names:
        layer = name.partition('/')[2].rpartition('/')[0]
        if layer.startswith(f'{prefix}/'):
            layers[layer] = 'encoder.' + layer.removeprefix(f'{prefix}/').replace('/', '.')
    return renamed(names, layers, first=f'{prefix}/conv1')
