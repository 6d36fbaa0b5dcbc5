"""Whole networks: DeepLabV3, FCN over ResNet and LR-ASPP of torchvision, DeepLabV3+ of smp.

torchvision's files name the classifier `backbone.*`, in whose own files the same layers have no
prefix; so a model has a map here and another in `resnet` or `mobilenet`, and `name_map` takes the
one that knows a file's names. Where a file has a second head that the model has not, it is left
out.
"""

from __future__ import annotations

from collections.abc import Collection

from segjax.pretrained.layouts.counterpart import NameMap, renamed

_BACKBONES = ('resnet', 'mobilenet')
_PYRAMID = {  # torchvision numbers the branches and calls the pooling itself number 0
    **{
        f'aspp/aspp{i}/{layer}': f'classifier.0.convs.{i}.{j}'
        for i in range(4)
        for j, layer in enumerate(('conv', 'bn'))
    },
    'aspp/image_pooling/conv': 'classifier.0.convs.4.1',
    'aspp/image_pooling/bn': 'classifier.0.convs.4.2',
    'aspp/concat_projection/conv': 'classifier.0.project.0',
    'aspp/concat_projection/bn': 'classifier.0.project.1',
    'head/conv': 'classifier.1',
    'head/bn': 'classifier.2',
    'score': 'classifier.4',
}
_FCN = {'head/conv': 'classifier.0', 'head/bn': 'classifier.1', 'score': 'classifier.4'}
_AUX = {
    'aux/conv': 'aux_classifier.0',
    'aux/bn': 'aux_classifier.1',
    'score_aux': 'aux_classifier.4',
}
_LRASPP = {
    'cbr/conv': 'classifier.cbr.0',
    'cbr/bn': 'classifier.cbr.1',
    'scale': 'classifier.scale.1',
    'score_low': 'classifier.low_classifier',
    'score_high': 'classifier.high_classifier',
}


_SMP = {
    'aspp/aspp0/conv': 'decoder.aspp.0.convs.0.0',
    'aspp/aspp0/bn': 'decoder.aspp.0.convs.0.1',
    **{
        f'{ours}/{layer}': f'decoder.{theirs}.{part}'
        for ours, theirs in (
            *((f'aspp/aspp{i}', f'aspp.0.convs.{i}') for i in (1, 2, 3)),
            ('decoder_conv0', 'block2'),
        )
        for layer, part in (('depthwise', '0.0'), ('pointwise', '0.1'), ('pointwise_bn', '1'))
    },
    'aspp/image_pooling/conv': 'decoder.aspp.0.convs.4.1',
    'aspp/image_pooling/bn': 'decoder.aspp.0.convs.4.2',
    'aspp/concat_projection/conv': 'decoder.aspp.0.project.0',
    'aspp/concat_projection/bn': 'decoder.aspp.0.project.1',
    'aspp_conv/depthwise': 'decoder.aspp.1.0',
    'aspp_conv/pointwise': 'decoder.aspp.1.1',
    'aspp_conv/pointwise_bn': 'decoder.aspp.2',
    'feature_projection0/conv': 'decoder.block1.0',
    'feature_projection0/bn': 'decoder.block1.1',
    'score': 'segmentation_head.0',
}


def _backbone_layers(names: Collection[str], root: str) -> tuple[str, dict[str, str]]:
    """The backbone's name, and its layers to the other library's, which begin with `root`."""
    layers = {name.partition('/')[2].rpartition('/')[0] for name in names}
    inside = [layer for layer in layers if layer.startswith(_BACKBONES)]
    prefix = inside[0].split('/')[0] if inside else ''
    return prefix, {x: root + x.removeprefix(f'{prefix}/').replace('/', '.') for x in inside}


def _first(prefix: str) -> str:
    """The layer of the backbone that reads the image."""
    return f'{prefix}/conv1' if prefix.startswith('resnet') else f'{prefix}/0/0'


def torchvision(names: Collection[str]) -> NameMap | None:
    """Counterparts of a whole network."""
    prefix, layers = _backbone_layers(names, 'backbone.')
    if not prefix:
        return None
    scores = ('score', 'score_low', 'score_high', *_AUX)
    for heads in (_FCN, _PYRAMID, _LRASPP):  # the pyramid's table has all layers of FCN's
        found = renamed(names, layers | heads | _AUX, first=_first(prefix), heads=scores)
        if found is not None:
            has_aux = 'params/score_aux/kernel' in names
            return found if has_aux else found._replace(unused=('aux_classifier.*',))
    return None


def smp(names: Collection[str]) -> NameMap | None:
    """Counterparts of segmentation_models' DeepLabV3+ over ResNet and MobileNetV2."""
    resnet = any(name.startswith('params/resnet') for name in names)
    prefix, layers = _backbone_layers(names, 'encoder.' if resnet else 'encoder.features.')
    return renamed(names, layers | _SMP, first=_first(prefix)) if prefix else None
