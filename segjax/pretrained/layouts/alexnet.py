"""AlexNet in torchvision's layout: numbered layers below `features`, no groups.

In FCN over it, fc6, fc7 and the scores are `classifier.1`, `.4` and `.6`; fc6 reads the 6x6 map
flattened as `c h w`. CaffeNet, with groups, is another network (conv1 to conv5 here) and has no
counterpart there.
"""

from __future__ import annotations

from collections.abc import Collection

from segjax.pretrained.layouts.counterpart import FULLY_CONNECTED, NameMap, torch_layer
from segjax.pretrained.layouts.encoder import encoder_map

_LAYERS = {'0', '3', '6', '8', '10'}  # the convolutions
_CLASSIFIER = {'fc6/conv': 'classifier.1', 'fc7/conv': 'classifier.4', 'score_fr': 'classifier.6'}


def torchvision(names: Collection[str]) -> NameMap | None:
    """Counterparts of AlexNet, without its classifier or as FCN."""
    layers = {name: name.partition('/')[2].rpartition('/')[0] for name in names}
    if not {layer.rpartition('/')[2] for layer in layers.values()} >= _LAYERS:
        return None
    found = encoder_map(
        names, mark='10/kernel', first='0', unused=('classifier.*',), root='features.'
    )
    if found is None or 'fc6/conv' not in layers.values():
        return found
    classifier = {
        name: torch_layer(
            name, _CLASSIFIER[layer], kernel=FULLY_CONNECTED, optional=layer == 'score_fr'
        )
        for name, layer in layers.items()
        if layer in _CLASSIFIER
    }
    return NameMap(found.counterparts | classifier)
