"""AlexNet in torchvision's layout: numbered layers below `features`, no groups.

CaffeNet, with groups, is another network (conv1 to conv5 here) and has no counterpart there.
"""

from __future__ import annotations

from collections.abc import Collection

from segjax.pretrained.layouts.counterpart import NameMap
from segjax.pretrained.layouts.encoder import encoder_map

_LAYERS = {'0', '3', '6', '8', '10'}  # the convolutions


def torchvision(names: Collection[str]) -> NameMap | None:
    """Counterparts of AlexNet without its classifier."""
    numbers = {name.rpartition('/')[0].rpartition('/')[2] for name in names}
    if not numbers >= _LAYERS:
        return None
    return encoder_map(
        names, mark='10/kernel', first='0', unused=('classifier.*',), root='features.'
    )
