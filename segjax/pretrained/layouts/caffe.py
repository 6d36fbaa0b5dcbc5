"""VGG, CaffeNet, GoogLeNet and FCN over them, as Caffe's files name them (`caffe_file`).

Layers of VGG and CaffeNet are called there as here. GoogLeNet's are called after table 1 of its
paper, `inception_3a/3x3_reduce`. Kernels of convolutions are `o i h w`; a classifier's fc6 and fc7
are fully connected, `o (i h w)`, which is the same memory. The image is BGR.

FCN's transposed convolutions are in its files though frozen: they are taken by a model that learns
its up-sampling and left by one that interpolates. `upscore` is FCN-32s's last.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from segjax.pretrained.layouts.counterpart import (
    CONV,
    CONV_TRANSPOSE,
    Counterpart,
    NameMap,
    torch_layer,
)

# here, without the backbone's name -> there
_VGG = (r'stage\d/(conv\d_\d+)', r'\1')
_CAFFENET = (r'(conv[1-5])', r'\1')
_GOOGLENET_STEM = {'conv1': 'conv1/7x7_s2', 'conv2': 'conv2/3x3_reduce', 'conv3': 'conv2/3x3'}
_GOOGLENET_BRANCHES = {
    'branch1': '1x1',
    'branch2/0': '3x3_reduce',
    'branch2/1': '3x3',
    'branch3/0': '5x5_reduce',
    'branch3/1': '5x5',
    'branch4/1': 'pool_proj',
}
_INCEPTION = re.compile(r'inception(\d\w)/(branch.+)/conv')
_SCORES = ('score_fr', 'score_pool4', 'score_pool3')
# Patterns of layers that no model here has: classifiers, frozen factors and up-sampling.
_UNUSED = ('fc8*', 'loss*', 'scale_pool*', 'upscore*')


def _backbone_layer(layer: str) -> str | None:
    """Caffe's name of a layer of a backbone."""
    for ours, theirs in (_VGG, _CAFFENET):
        if re.fullmatch(ours, layer):
            return re.sub(ours, theirs, layer)
    if layer.removesuffix('/conv') in _GOOGLENET_STEM:
        return _GOOGLENET_STEM[layer.removesuffix('/conv')]
    if match := _INCEPTION.fullmatch(layer):
        return f'inception_{match[1]}/{_GOOGLENET_BRANCHES[match[2]]}'
    return None


def _counterpart(name: str) -> Counterpart | None:
    """Of one array; None when Caffe's networks have no such layer."""
    layer = name.partition('/')[2].rpartition('/')[0]
    if layer in ('fc6/conv', 'fc7/conv'):
        return torch_layer(name, layer.removesuffix('/conv'), kernel=CONV)
    if layer in _SCORES:
        return torch_layer(name, layer, optional=True)
    if layer.startswith('upscore'):
        theirs = 'upscore' if layer == 'upscore32' else layer
        return torch_layer(name, theirs, kernel=CONV_TRANSPOSE, optional=True)
    inside = re.sub(r'^(vgg\d+|caffenet|googlenet)/', '', layer)
    theirs = _backbone_layer(inside)
    first = inside in ('stage1/conv1_1', 'conv1', 'conv1/conv')
    return torch_layer(name, theirs, first=first) if theirs else None


def caffe(names: Collection[str]) -> NameMap | None:
    """Counterparts of a backbone or of FCN over it; None where batch normalisation is inside."""
    counterparts = {name: _counterpart(name) for name in names}
    found = {name: there for name, there in counterparts.items() if there is not None}
    if len(found) < len(counterparts) or not any(there.first for there in found.values()):
        return None
    encoder = () if 'params/fc6/conv/kernel' in names else ('fc6.*', 'fc7.*')
    return NameMap(found, unused=(*_UNUSED, *encoder))
