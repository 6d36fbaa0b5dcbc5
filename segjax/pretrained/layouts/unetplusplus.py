"""U-Net++ as 4uiiurz1/pytorch-nested-unet and segmentation_models.pytorch name it.

The names do not say in which order nodes join their inputs: set concat='up_last' for the first and
'newest_first' for the second.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from segjax.pretrained.layouts.counterpart import NameMap, own_layer, renamed, torch_layer

_HEAD = re.compile(r'params/score_(\d)/kernel')
_NODE = re.compile(r'x_(\d)_(\d)/(conv|bn)([12])')
_FULL = re.compile(r'full_(\d)/(conv|bn)([12])')
_BACKBONE = re.compile(r'resnet\d+/')


def _heads(names: Collection[str]) -> list[int]:
    """The numbers of the heads of a U-Net++, from shallow to deep."""
    return sorted(int(match[1]) for name in names if (match := _HEAD.fullmatch(name)))


def nested_unet(names: Collection[str]) -> NameMap | None:
    """Counterparts of a U-Net++ that up-samples by interpolation, as 4uiiurz1 names them."""
    if not (heads := _heads(names)):
        return None
    ours = {name.partition('/')[2].rpartition('/')[0] for name in names}
    nodes = {layer: match for layer in ours if (match := _NODE.fullmatch(layer))}
    layers = {layer: f'conv{m[1]}_{m[2]}.{m[3]}{m[4]}' for layer, m in nodes.items()}
    final = {f'score_{j}': f'final{j}' if len(heads) > 1 else 'final' for j in heads}
    return renamed(names, layers | final, first='x_0_0/conv1', heads=final)


def _smp_layer(layer: str, depth: int) -> str | None:
    """segmentation_models' name of a layer; None for a head that it has not.

    There a node x_D_L has the level L of the decoder, from coarse to fine, and starts at D.
    """
    part = {'conv': 0, 'bn': 1}
    if match := _BACKBONE.match(layer):
        return 'encoder.' + layer[match.end() :].replace('/', '.')
    if match := _NODE.fullmatch(layer):
        i, j = int(match[1]), int(match[2])
        node = f'x_{depth - i - j}_{depth - 1 - i}'
        return f'decoder.blocks.{node}.conv{match[4]}.{part[match[3]]}'
    if (match := _FULL.fullmatch(layer)) and int(match[1]) == depth:
        return f'decoder.blocks.x_0_{depth}.conv{match[3]}.{part[match[2]]}'
    return 'segmentation_head.0' if layer == f'score_{depth}' else None


def smp(names: Collection[str]) -> NameMap | None:
    """Counterparts of a U-Net++ over ResNet, as segmentation_models names them.

    Supervised heads but the deepest have no counterpart there and are optional.
    """
    heads = _heads(names)
    if not heads or not any(name.startswith('params/full_') for name in names):
        return None
    counterparts = {}
    for name in names:
        layer = name.partition('/')[2].rpartition('/')[0]
        if (theirs := _smp_layer(layer, heads[-1])) is None:
            counterparts[name] = own_layer(name)
        else:
            first = theirs == 'encoder.conv1'
            head = theirs == 'segmentation_head.0'
            counterparts[name] = torch_layer(name, theirs, first=first, optional=head)
    return NameMap(counterparts)
