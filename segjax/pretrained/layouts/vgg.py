"""VGG in torchvision's layout, as an encoder and as the whole classifier that FCN is made of.

torchvision numbers the layers of `features` one after the other: convolution, (BatchNorm,) ReLU,
and one number for each pooling. `classifier.0`, `.3` and `.6` are fc6, fc7 and the scores. fc6
reads the 7x7 map flattened as `c h w`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from segjax.pretrained.layouts.counterpart import (
    CONV,
    FULLY_CONNECTED,
    Counterpart,
    NameMap,
    own_layer,
    torch_layer,
)

_LAYER = re.compile(r'(?:^|/)stage(\d)/(conv|bn)(\d)_(\d+)/\w+$')
_CLASSIFIER = {'fc6/conv': 'classifier.0', 'fc7/conv': 'classifier.3', 'score_fr': 'classifier.6'}


def feature_numbers(names: Iterable[str]) -> dict[tuple[str, int, int], int]:
    """('conv' or 'bn', stage, i) -> the layer's number in torchvision's `features`."""
    layers = {(int(m[1]), int(m[4]), m[2]) for name in names if (m := _LAYER.search(name))}
    convs = sorted({(stage, i) for stage, i, _ in layers})
    normalised = any(kind == 'bn' for *_, kind in layers)
    numbers, number, last = {}, 0, 1
    for stage, i in convs:
        number += stage - last  # a pooling
        numbers['conv', stage, i], numbers['bn', stage, i] = number, number + 1
        number += 3 if normalised else 2
        last = stage
    return numbers


def _classifier(name: str, normalised: bool) -> Counterpart | None:
    """fc6, fc7 and the scores; with batch normalisation they are no longer the classifier's."""
    layer = name.partition('/')[2].rpartition('/')[0]
    if normalised or layer not in _CLASSIFIER:
        return None
    head = layer == 'score_fr'
    return torch_layer(name, _CLASSIFIER[layer], kernel=FULLY_CONNECTED, optional=head)


def torchvision(names: Collection[str]) -> NameMap | None:
    """Counterparts of VGG11 to VGG19, with or without batch normalisation, and of FCN over them."""
    found = {name: match for name in names if (match := _LAYER.search(name))}
    if not found:
        return None
    numbers = feature_numbers(found)
    normalised = any(match[2] == 'bn' for match in found.values())
    counterparts = {}
    for name in names:
        if match := found.get(name):
            kind, stage, i = match[2], int(match[1]), int(match[4])
            first = stage == i == 1 and kind == 'conv'
            layer = f'features.{numbers[kind, stage, i]}'
            counterparts[name] = torch_layer(name, layer, kernel=CONV, first=first)
        else:
            counterparts[name] = _classifier(name, normalised) or own_layer(name)
    used = {counterpart.name.rpartition('.')[0] for counterpart in counterparts.values()}
    layers = sorted({*_CLASSIFIER.values()} - used)
    return NameMap(counterparts, unused=tuple(f'{layer}.*' for layer in layers))
