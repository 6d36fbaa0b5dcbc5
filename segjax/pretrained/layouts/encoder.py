"""Encoders whose layers carry the other library's names: slashes stand for dots, no more."""

from __future__ import annotations

from collections.abc import Collection

from segjax.pretrained.layouts.counterpart import NameMap, own_layer, torch_layer


def encoder_map(
    names: Collection[str],
    *,
    mark: str,
    first: str,
    unused: tuple[str, ...],
    root: str = '',
) -> NameMap | None:
    """Counterparts of an encoder, by itself or inside a model; None where there is none.

    Whatever surrounds the encoder is the model's own and optional.

    Args:
      names: of the model's arrays.
      mark: an array that only this family has, as in 'layer1/0/conv1/kernel'; what stands before it
        in the model's name is the encoder's.
      first: the layer that reads the image.
      unused: patterns of the other library's names that an encoder has no use for.
      root: what the other library puts before every layer.
    """
    prefix = next((n[: -len(mark)] for n in names if f'/{n}'.endswith(f'/{mark}')), None)
    if prefix is None:
        return None
    inside = prefix.partition('/')[2]  # the same for every collection
    counterparts = {}
    for name in names:
        path = name.partition('/')[2]
        layer = path.removeprefix(inside).rpartition('/')[0]
        if path.startswith(inside):
            theirs = root + layer.replace('/', '.')
            counterparts[name] = torch_layer(name, theirs, first=layer == first)
        else:
            counterparts[name] = own_layer(name)
    return NameMap(counterparts, unused)
