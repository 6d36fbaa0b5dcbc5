"""One array here and its counterpart in another library: names and the order of axes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np


class Axes(NamedTuple):
    """How our axes lie in the other library's array.

    Attributes:
      order: axis i of ours is axis `order[i]` of theirs.
      flat: theirs joins all axes but the first: a fully connected layer over a map `c h w`.
    """

    order: tuple[int, ...]
    flat: bool = False

    def _unflattened(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(ours[self.order.index(i)] for i in range(len(self.order)))

    def their_shape(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the counterpart of an array of shape `ours`."""
        shape = self._unflattened(ours)
        return (shape[0], math.prod(shape[1:])) if self.flat else shape

    def to_ours(self, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Our array, of shape `shape`, from theirs."""
        return array.reshape(self._unflattened(shape)).transpose(self.order)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `to_ours`."""
        shape = self.their_shape(array.shape)
        return np.asarray(array.transpose(np.argsort(self.order)), order='C').reshape(shape)


VECTOR = Axes((0,))
CONV = Axes((2, 3, 1, 0))  # h w i o from o i h w; grouped and depthwise ones too
CONV_TRANSPOSE = Axes((2, 3, 0, 1))  # h w i o from i o h w
FULLY_CONNECTED = Axes((2, 3, 1, 0), flat=True)  # h w i o from o (i h w)
LINEAR = Axes((1, 0))  # i o from o i


class Counterpart(NamedTuple):
    """What the other library calls one of our arrays.

    Attributes:
      name: theirs.
      axes: see `Axes`.
      optional: a head, or a layer that theirs has not: where the file has none of that shape, ours
        keeps its initial values.
      first: the kernel of the convolution that reads the image.
    """

    name: str
    axes: Axes
    optional: bool = False
    first: bool = False


class NameMap(NamedTuple):
    """The counterparts of all arrays of a model.

    Attributes:
      counterparts: by our names.
      unused: patterns (fnmatch) of their names that this model has no use for, such as the
        classifier when only the encoder is wanted.
      aliases: second names of theirs for the same array, which modules that are registered twice
        have in a state dict; to the first.
    """

    counterparts: dict[str, Counterpart]
    unused: tuple[str, ...] = ()
    aliases: Mapping[str, str] = MappingProxyType({})


LEAVES = {  # Torch's names; BatchNorm's statistics are among its parameters there
    'kernel': 'weight',
    'scale': 'weight',
    'bias': 'bias',
    'mean': 'running_mean',
    'var': 'running_var',
}


def torch_layer(name: str, layer: str, *, kernel: Axes = CONV, **options: bool) -> Counterpart:
    """The counterpart of one array of a layer that Torch calls `layer`.

    Args:
      name: ours; its last part says which array of the layer it is.
      layer: theirs, as in 'features.0'.
      kernel: how a kernel's axes map.
      options: fields of `Counterpart`; `first` holds for kernels alone.
    """
    leaf = name.rpartition('/')[2]
    if leaf != 'kernel':
        options = {key: value for key, value in options.items() if key != 'first'}
    axes = kernel if leaf == 'kernel' else VECTOR
    return Counterpart(f'{layer}.{LEAVES.get(leaf, leaf)}', axes, **options)


def own_layer(name: str) -> Counterpart:
    """The counterpart of an array of a layer that the other library has not.

    It is exported under our own name, so that nothing is lost, and optional when read.
    """
    _, _, path = name.partition('/')
    layer = path.rpartition('/')[0].replace('/', '.')
    transposed = layer.rpartition('.')[2].startswith(('up', 'deconv'))
    return torch_layer(name, layer, kernel=CONV_TRANSPOSE if transposed else CONV, optional=True)


def renamed(
    names: Collection[str],
    layers: Mapping[str, str],
    *,
    first: str,
    transposed: Collection[str] = (),
    heads: Collection[str] = ('score',),
) -> NameMap | None:
    """Counterparts of a model by a table of its layers; None when one is not in the table.

    Args:
      names: of the model's arrays.
      layers: our name of a layer to Torch's, as in {'down1/conv1': 'inc.double_conv.0'}.
      first: our name of the layer that reads the image.
      transposed: our names of transposed convolutions.
      heads: our names of layers whose shape depends on the classes.
    """
    counterparts = {}
    for name in names:
        layer = name.partition('/')[2].rpartition('/')[0]
        if layer not in layers:
            return None
        counterparts[name] = torch_layer(
            name,
            layers[layer],
            kernel=CONV_TRANSPOSE if layer in transposed else CONV,
            first=layer == first,
            optional=layer in heads,
        )
    return NameMap(counterparts)
