"""Image segmentation in JAX and Flax."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from segjax.loading import load

__all__ = ['load']


def __getattr__(name: str) -> typing.Any:
    """`segjax.load`, found when it is asked for: JAX takes seconds to import."""
    if name == 'load':
        from segjax.loading import load

        return load
    raise AttributeError(f'module segjax has no attribute {name!r}')
