"""Reads the weights in a .caffemodel without Caffe: a protocol buffer, of which little is needed.

A message is a row of fields, each a number (field << 3 | wire type) and a value: a varint, 8 or 4
bytes, or a length and that many bytes. Of `NetParameter` (caffe.proto) only the layers are read, in
their present form (`layer`) and in that of 2014 (`layers`); of a layer its name and blobs; of a
blob its shape and data. Everything else is stepped over by its length, nothing nests deeper, and an
array is a view of the file, so that none can ask for memory that it has not bytes for.

Layers in the format of 2013 have their name one message deeper and are refused with a hint.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segjax.types import UserError

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # wire types
_MAX_RANK = 32


class _LayerFields(NamedTuple):
    """Numbers of the fields of a layer."""

    name: int
    blobs: int


_LAYERS = {100: _LayerFields(name=1, blobs=7), 2: _LayerFields(name=4, blobs=6)}
_SHAPE, _DATA, _DOUBLE_DATA = 7, 5, 8  # fields of BlobProto
_OLD_SHAPE = (1, 2, 3, 4)  # num, channels, height, width
_LEAVES = ('weight', 'bias')  # the first two blobs of a layer


def _varint(buffer: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the place behind it."""
    value = 0
    for i in range(10):
        byte = buffer[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError('a number of more than ten bytes')


def _fields(buffer: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message: an int for a varint, else the bytes."""
    at = 0
    while at < len(buffer):
        key, at = _varint(buffer, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(buffer, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            length, at = _varint(buffer, at)
        elif kind in (_EIGHT, _FOUR):
            length = 8 if kind == _EIGHT else 4
        else:
            raise ValueError(f'wire type {kind}')
        if length > len(buffer) - at:
            raise ValueError(f'a field of {length} bytes where {len(buffer) - at} are left')
        yield key >> 3, buffer[at : at + length]
        at += length


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError('a number where bytes belong')
    return value


def _dims(buffer: memoryview) -> tuple[int, ...]:
    """BlobShape: packed varints in field 1."""
    dims: list[int] = []
    for number, value in _fields(buffer):
        at, packed = 0, _bytes(value) if number == 1 else memoryview(b'')
        while at < len(packed):
            dim, at = _varint(packed, at)
            dims.append(dim)
            if len(dims) > _MAX_RANK:
                raise ValueError(f'a blob of more than {_MAX_RANK} axes')
    return tuple(dims)


def _blob(buffer: memoryview) -> np.ndarray:
    """The array of a BlobProto.

    One of before 2015 has four sides, always; ones in front that it had to have are dropped.
    """
    shape: tuple[int, ...] | None = None
    old = dict.fromkeys(_OLD_SHAPE, 0)
    data = np.zeros(0, np.float32)
    for number, value in _fields(buffer):
        if number == _SHAPE:
            shape = _dims(_bytes(value))
        elif number in (_DATA, _DOUBLE_DATA):
            data = np.frombuffer(_bytes(value), '<f4' if number == _DATA else '<f8')
        elif number in old and isinstance(value, int):
            old[number] = value
    if shape is None:
        shape = tuple(old.values())
        shape = shape[3:] if shape[:3] == (1, 1, 1) else shape[2:] if shape[:2] == (1, 1) else shape
    if math.prod(shape) != data.size:
        raise ValueError(f'a blob of shape {shape} with {data.size} numbers')
    return data.reshape(shape)


def _layer(buffer: memoryview, numbers: _LayerFields) -> tuple[str, list[np.ndarray]]:
    """Name and blobs of a layer."""
    name, blobs, nested = '', [], False
    for number, value in _fields(buffer):
        if number == numbers.name:
            name = bytes(_bytes(value)).decode('utf-8')
        elif number == numbers.blobs:
            blobs.append(_blob(_bytes(value)))
        nested |= number == 1 and numbers is _LAYERS[2]
    if nested and not name:
        raise UserError(
            "it is in Caffe's format of 2013: Caffe's upgrade_net_proto_binary turns it into the "
            'present one'
        )
    return name, blobs


def _arrays(buffer: memoryview) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for number, value in _fields(buffer):
        if number not in _LAYERS:
            continue
        name, blobs = _layer(_bytes(value), _LAYERS[number])
        for i, blob in enumerate(blobs):
            full = f'{name}.{_LEAVES[i] if i < len(_LEAVES) else i}'
            if full in arrays:
                raise ValueError(f'two layers {name!r}')
            arrays[full] = blob
    if not arrays:
        raise UserError('it holds no layer with weights')
    return arrays


def load_caffe(path: str | Path) -> dict[str, np.ndarray]:
    """Arrays by name from a .caffemodel: the blobs of layer L are `L.weight`, `L.bias`, `L.2`, ...

    The arrays are read-only views of the file, in Caffe's axes (`o i h w`; `o i` for a fully
    connected layer) and colours (BGR).

    Raises:
      UserError: there is no such file, or it is damaged or of another kind.
    """
    path = Path(path)
    try:
        with path.open('rb') as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _arrays(memoryview(content))
    except FileNotFoundError:
        raise UserError(f'there is no weights file {path}') from None
    except UserError as error:
        raise UserError(f'{path} is refused: {error}') from None
    except (OSError, ValueError, IndexError) as error:
        raise UserError(
            f'{path} is no .caffemodel, or damaged or cut off ({error}): copy or download it again'
        ) from None
