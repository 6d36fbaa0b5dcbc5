"""U-Net as milesial/Pytorch-UNet names it, which has four poolings and batch normalisation.

The names do not say in which order the paths are joined: set concat='skip_first'.
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
