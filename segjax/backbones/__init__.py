"""Feature extractors: each returns `{'c1': ..., 'c5': ...}`, cK at stride 2^K."""

from segjax.backbones.vgg import VGG16

__all__ = ['VGG16']
