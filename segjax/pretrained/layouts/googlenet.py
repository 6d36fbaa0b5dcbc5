"""GoogLeNet in torchvision's layout, which has batch normalisation and two auxiliary classifiers.

The paper's flavour, with biases, has no counterpart there and is reported as not fitting.
"""

from __future__ import annotations

from collections.abc import Collection

from segjax.pretrained.layouts.counterpart import NameMap
from segjax.pretrained.layouts.encoder import encoder_map


def torchvision(names: Collection[str]) -> NameMap | None:
    """Counterparts of GoogLeNet without its classifiers."""
    return encoder_map(
        names,
        mark='inception3a/branch1/conv/kernel',
        first='conv1/conv',
        unused=('fc.*', 'aux1.*', 'aux2.*'),
    )
