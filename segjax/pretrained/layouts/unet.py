"""U-Net as other projects name it.

milesial/Pytorch-UNet has four poolings and batch normalisation; the names do not say in which order
the paths are joined: set concat='skip_first'. torch_em, whose networks many models of bioimage.io
are, has any number of poolings; its plain ones (norm=None) are
UNet(padding='same', up='bilinear', up_kernel=1, dropout=0).
"""

from __future__ import annotations

from collections.abc import Collection

from segjax.pretrained.layouts.counterpart import NameMap, renamed

_NUMBERS = {'conv1': 0, 'bn1': 1, 'conv2': 3, 'bn2': 4}  # of the layers in `double_conv`


def milesial(names: Collection[str]) -> NameMap | None:
    """Counterparts of a U-Net of five levels with batch normalisation."""
    if 'params/down5/bn1/scale' not in names or 'params/down6/bn1/scale' in names:
        return None
    blocks = {'down1': 'inc'}
    blocks |= {f'down{i + 1}': f'down{i}.maxpool_conv.1' for i in (1, 2, 3, 4)}
    blocks |= {f'up{i}': f'up{5 - i}.conv' for i in (1, 2, 3, 4)}  # theirs count upwards
    layers = {
        f'{block}/{layer}': f'{theirs}.double_conv.{number}'
        for block, theirs in blocks.items()
        for layer, number in _NUMBERS.items()
    }
    ups = {f'upconv{i}': f'up{5 - i}.up' for i in (1, 2, 3, 4)}
    layers |= {**ups, 'score': 'outc.conv'}
    return renamed(names, layers, first='down1/conv1', transposed=ups)


def torch_em(names: Collection[str]) -> NameMap | None:
    """Counterparts of a U-Net without normalisation, of any depth."""
    levels = {name.split('/')[1] for name in names}
    depth = sum(level.startswith('upconv') for level in levels)
    expected = {f'down{i + 1}' for i in range(depth + 1)} | {'score'}
    expected |= {f'{kind}{i + 1}' for i in range(depth) for kind in ('up', 'upconv')}
    if levels != expected or any('/bn1/' in name for name in names):
        return None
    blocks = {f'down{i + 1}': f'encoder.blocks.{i}.block' for i in range(depth)}
    blocks[f'down{depth + 1}'] = 'base.block'
    blocks |= {f'up{depth - i}': f'decoder.blocks.{i}.block' for i in range(depth)}
    layers = {
        f'{block}/conv{i}': f'{theirs}.{2 * i - 2}'  # a ReLU between
        for block, theirs in blocks.items()
        for i in (1, 2)
    }
    layers |= {f'upconv{depth - i}': f'decoder.samplers.{i}.conv' for i in range(depth)}
    return renamed(names, layers | {'score': 'out_conv'}, first='down1/conv1')
