"""MobileNetV2 and MobileNetV3 in torchvision's layout: numbered blocks below `features`."""

from __future__ import annotations

from collections.abc import Collection

from segjax.pretrained.layouts.counterpart import NameMap
from segjax.pretrained.layouts.encoder import encoder_map

_LAST_V2 = 'features.18.*'  # the 1x1 convolution to 1280 channels, which an encoder may leave out


def torchvision(names: Collection[str]) -> NameMap | None:
    """Counterparts of MobileNetV2 or MobileNetV3 without the classifier."""
    found = encoder_map(
        names,
        mark='1/conv/0/0/kernel',  # version 2; version 3 says block
        first='0/0',
        unused=('classifier.*',),
        root='features.',
    )
    if found is None:
        return encoder_map(
            names,
            mark='1/block/0/0/kernel',
            first='0/0',
            unused=('classifier.*',),
            root='features.',
        )
    whole = any(c.name.startswith(_LAST_V2[:-1]) for c in found.counterparts.values())
    return found if whole else found._replace(unused=(*found.unused, _LAST_V2))
