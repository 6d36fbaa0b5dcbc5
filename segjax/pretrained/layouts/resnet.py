"""ResNet in torchvision's layout; basic blocks and bottlenecks carry the same names."""

from __future__ import annotations

from collections.abc import Collection

from segjax.pretrained.layouts.counterpart import NameMap
from segjax.pretrained.layouts.encoder import encoder_map


def torchvision(names: Collection[str]) -> NameMap | None:
    """Counterparts of ResNet-18 to ResNet-101 without the classifier."""
    return encoder_map(names, mark='layer1/0/conv1/kernel', first='conv1', unused=('fc.*',))
