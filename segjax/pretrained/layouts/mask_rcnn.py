"""torchvision's Mask R-CNN and Faster R-CNN over ResNet with FPN, versions 1 and 2.

torchvision has renamed layers since it published the files of version 1, and reads both; so do
`torchvision` and `torchvision_old`, of which `name_map` takes the one that knows a file's names.
Predictors, whose shape depends on the classes, start anew where the file has others.
"""

from __future__ import annotations

from collections.abc import Collection

from segjax.pretrained.layouts.counterpart import (
    CONV,
    CONV_TRANSPOSE,
    FULLY_CONNECTED,
    LINEAR,
    Axes,
    NameMap,
    torch_layer,
)

_PYRAMID = {
    f'fpn/{ours}{k}{norm}': f'backbone.fpn.{theirs}_blocks.{k - 2}.{number}'
    for ours, theirs in (('lateral', 'inner'), ('p', 'layer'))
    for k in (2, 3, 4, 5)
    for norm, number in (('', 0), ('_bn', 1))
}
_TOWERS = {
    f'{ours}/tower/{layer}{i}': f'{theirs}.{i - 1}.{number}'
    for ours, theirs in (
        ('rpn', 'rpn.head.conv'),
        ('box_head', 'roi_heads.box_head'),
        ('mask_head', 'roi_heads.mask_head'),
    )
    for i in (1, 2, 3, 4)
    for layer, number in (('conv', 0), ('bn', 1))
}
_SINGLE = {
    'rpn/cls_logits': 'rpn.head.cls_logits',
    'rpn/bbox_pred': 'rpn.head.bbox_pred',
    'box_head/fc6': 'roi_heads.box_head.fc6',
    'box_head/fc7': 'roi_heads.box_head.fc7',
    'box_predictor/cls_score': 'roi_heads.box_predictor.cls_score',
    'box_predictor/bbox_pred': 'roi_heads.box_predictor.bbox_pred',
    'mask_head/conv5_mask': 'roi_heads.mask_predictor.conv5_mask',
    'mask_head/mask_fcn_logits': 'roi_heads.mask_predictor.mask_fcn_logits',
}
_OLD = {
    **{layer: name.removesuffix('.0') for layer, name in _PYRAMID.items()},
    'rpn/tower/conv1': 'rpn.head.conv',
    **{f'mask_head/tower/conv{i}': f'roi_heads.mask_head.mask_fcn{i}' for i in (1, 2, 3, 4)},
}
_LAST_LINEAR = {'box_head/fc6': 'roi_heads.box_head.5'}  # of version 2, behind four convolutions
_AXES = {
    'fc6': FULLY_CONNECTED,
    'fc7': LINEAR,
    'cls_score': LINEAR,
    'bbox_pred': LINEAR,
    'conv5_mask': CONV_TRANSPOSE,
}
_PREDICTORS = ('cls_score', 'bbox_pred', 'mask_fcn_logits')


def torchvision(names: Collection[str]) -> NameMap | None:
    """Counterparts of a whole network, in the names that torchvision's modules have today."""
    return _network(names, {})


def torchvision_old(names: Collection[str]) -> NameMap | None:
    """Those of the files that were published first."""
    return _network(names, _OLD)


def _network(names: Collection[str], renamed: dict[str, str]) -> NameMap | None:
    layers = {name: name.partition('/')[2].rpartition('/')[0] for name in names}
    has = set(layers.values())
    if not {'rpn/cls_logits', 'fpn/p2'} <= has:
        return None
    table = _PYRAMID | _TOWERS | _SINGLE | renamed
    if 'box_head/fc7' not in has:
        table |= _LAST_LINEAR
    counterparts = {}
    for name, layer in layers.items():
        if layer.startswith('resnet'):
            inside = layer.partition('/')[2]
            theirs = 'backbone.body.' + inside.replace('/', '.')
            counterparts[name] = torch_layer(name, theirs, first=inside == 'conv1')
        elif layer in table:
            last = layer.rpartition('/')[2]
            counterparts[name] = torch_layer(
                name, table[layer], kernel=_axes(layer), optional=last in _PREDICTORS
            )
        else:
            return None
    # A detector without masks may be read from the file of one with masks.
    masks = any(layer.startswith('mask_head/') for layer in has)
    return NameMap(counterparts, () if masks else ('roi_heads.mask_*',))


def _axes(layer: str) -> Axes:
    """How the kernel's axes lie; the RPN's `bbox_pred` is a convolution."""
    return CONV if layer.startswith('rpn/') else _AXES.get(layer.rpartition('/')[2], CONV)
