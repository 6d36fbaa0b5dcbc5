"""ResNet in torchvision's layout; basic blocks and bottlenecks carry the same names."""

from __future__ import annotations

from collections.abc import Collection

from segjax.pretrained.layouts.counterpart import NameMap
from segjax.pretrained.layouts.encoder import encoder_map


def torchvision(names: Collection[str]) -> NameMap | None:
    """Counterparts of ResNet-18 to ResNet-101 without the classifier, or of its first stages."""
    stages = (f'layer{k}' for k in (2, 3, 4))
    absent = [stage for stage in stages if not any(f'/{stage}/0/' in name for name in names)]
    unused = tuple(f'{layer}.*' for layer in ('fc', *absent))
    return encoder_map(names, mark='layer1/0/conv1/kernel', first='conv1', unused=unused)
