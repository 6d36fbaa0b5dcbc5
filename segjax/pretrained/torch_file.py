"""Reads what `torch.save` wrote, without torch and without executing anything.

Two formats. Since torch 1.6, a zip archive: `NAME/data.pkl` is a pickle whose persistent ids name
the storages `NAME/data/KEY`, `NAME/byteorder` tells their byte order. Before that (most of
torchvision's older files) five pickles, one after the other: a magic number, the version, facts
about the system, the object, the keys of the storages; then each storage, its length before it.
A tensor is a view of a storage: offset, sizes and strides, in elements.
"""

from __future__ import annotations

import io
import math
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from segjax.pretrained.pickle_reader import read_pickle
from segjax.types import UserError

MAX_PICKLE = 64 << 20  # bytes; the pickle holds names and shapes, a state dict's is some 100 kB
_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py, as is the version
_LEGACY_VERSION = 1001
_MAX_RANK = 32

_DTYPES = {
    'DoubleStorage': np.dtype(np.float64),
    'FloatStorage': np.dtype(np.float32),
    'HalfStorage': np.dtype(np.float16),
    'BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
    'LongStorage': np.dtype(np.int64),
    'IntStorage': np.dtype(np.int32),
    'ShortStorage': np.dtype(np.int16),
    'CharStorage': np.dtype(np.int8),
    'ByteStorage': np.dtype(np.uint8),
    'BoolStorage': np.dtype(np.bool_),
}


@dataclass
class _Storage:
    """A run of elements of one type; `elements` is empty until they have been read."""

    dtype: np.dtype
    numel: int
    elements: np.ndarray | None = None


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage, made into an array when all storages are there."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """A read-only view, without a copy."""
        assert self.storage.elements is not None
        size = self.storage.dtype.itemsize
        return np.lib.stride_tricks.as_strided(
            self.storage.elements[self.offset :],
            self.shape,
            tuple(size * stride for stride in self.strides),
            writeable=False,
        )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """Stands for torch._utils._rebuild_tensor_v2; refuses views that leave their storage."""
    shape, strides = tuple(shape), tuple(strides)
    whole = all(map(_is_count, (offset, *shape, *strides)))
    if not isinstance(storage, _Storage) or not whole or not len(shape) == len(strides) < _MAX_RANK:
        raise ValueError('a tensor is not described by a storage, an offset, sizes and strides')
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= storage.numel:
        raise ValueError(f'a tensor of {shape} reaches beyond its {storage.numel} elements')
    if not math.prod(shape):
        offset, strides = 0, (0,) * len(shape)
    return _Tensor(storage, offset, shape, strides)


def _parameter(data: Any, *_: Any) -> Any:
    """Stands for torch._utils._rebuild_parameter: the tensor itself."""
    return data


def _size(values: Any = ()) -> tuple:
    """Stands for torch.Size."""
    return tuple(values)


def _ordered(items: Any = ()) -> OrderedDict:
    """Stands for collections.OrderedDict; Python 2 wrote a list of pairs."""
    return OrderedDict((key, value) for key, value in items)


def _storage_type(*_: Any) -> Any:
    raise ValueError('a storage type is called')


ALLOWED: dict[str, Callable[..., Any]] = {
    'collections.OrderedDict': _ordered,
    'torch._utils._rebuild_tensor': _tensor,
    'torch._utils._rebuild_tensor_v2': _tensor,
    'torch._utils._rebuild_parameter': _parameter,
    'torch.nn.parameter.Parameter': _parameter,
    'torch.Size': _size,
    **{f'torch.{name}': _storage_type for name in _DTYPES},
}


class _Storages:
    """The storages that a pickle names, by key."""

    def __init__(self) -> None:
        self.by_key: dict[str, _Storage] = {}

    def __call__(self, identity: Any) -> _Storage:
        """What the persistent id ('storage', type, key, device, length[, view]) stands for."""
        tag, kind, key, _, numel, *view = identity
        name = getattr(kind, 'name', '').removeprefix('torch.')
        plain = tag == 'storage' and isinstance(key, str | int) and view in ([], [None])
        if not plain or name not in _DTYPES or not _is_count(numel):
            raise ValueError('a storage is not described by type, key and length')
        storage = self.by_key.setdefault(str(key), _Storage(_DTYPES[name], numel))
        if storage.dtype != _DTYPES[name] or storage.numel != numel:
            raise ValueError(f'storage {key} is described twice, differently')
        return storage

    def fill(self, key: str, content: bytes, order: str) -> None:
        """Take the bytes of a storage; `order` is 'little' or 'big'."""
        storage = self.by_key[key]
        size = storage.dtype.itemsize
        if len(content) != storage.numel * size:
            expected = storage.numel * size
            raise ValueError(f'storage {key} has {len(content)} bytes instead of {expected}')
        bits = np.frombuffer(content, f'u{size}')
        if order != sys.byteorder and size > 1:
            bits = bits.byteswap()
        bits = bits != 0 if storage.dtype == np.bool_ else bits.view(storage.dtype)
        storage.elements = bits


def _member(archive: zipfile.ZipFile, name: str, *, max_bytes: int) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise UserError(f'{name} in it is compressed or encrypted, which torch never does')
    if info.file_size > max_bytes:
        raise UserError(f'{name} in it has {info.file_size} bytes, more than there can be')
    return archive.read(info)


def _read_zip(path: Path) -> Any:
    """The object in a zip archive. Stored uncompressed, no part can be longer than the file."""
    length = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if sum(info.file_size for info in archive.infolist()) > length:
            raise UserError('its parts claim to be longer than the file')
        found = [n for n in names if n.count('/') == 1 and n.endswith('/data.pkl')]
        if len(found) != 1:
            raise UserError('it is a zip archive without the data.pkl of torch.save')
        root = found[0].removesuffix('data.pkl')
        storages = _Storages()
        program = io.BytesIO(_member(archive, found[0], max_bytes=MAX_PICKLE))
        value = read_pickle(program, allowed=ALLOWED, persistent=storages)
        order = 'little'
        if root + 'byteorder' in names:
            order = _member(archive, root + 'byteorder', max_bytes=16).decode('ascii')
        if order not in ('little', 'big'):
            raise ValueError(f'byte order {order!r}')
        for key in storages.by_key:
            storages.fill(key, _member(archive, f'{root}data/{key}', max_bytes=length), order)
    return value


def _read_legacy(file: IO[bytes], length: int) -> Any:
    """The object in a file from before torch 1.6."""
    if read_pickle(file, allowed={}) != _MAGIC:
        raise UserError('it does not begin as torch.save begins a file')
    if read_pickle(file, allowed={}) != _LEGACY_VERSION:
        raise UserError('it is of an unknown version of the old format of torch.save')
    system = read_pickle(file, allowed={})
    order = 'little' if dict(system).get('little_endian', True) else 'big'
    storages = _Storages()
    value = read_pickle(file, allowed=ALLOWED, persistent=storages)
    keys = read_pickle(file, allowed={})
    if sorted(map(str, keys)) != sorted(storages.by_key):
        raise ValueError('the storages are not those that the tensors use')
    for key in map(str, keys):
        (numel,) = struct.unpack('<q' if order == 'little' else '>q', file.read(8))
        storage = storages.by_key[key]
        if numel != storage.numel or numel * storage.dtype.itemsize > length:
            raise ValueError(f'storage {key} has {numel} elements instead of {storage.numel}')
        storages.fill(key, file.read(numel * storage.dtype.itemsize), order)
    return value


def _read(path: Path) -> Any:
    """The object in a file of either format."""
    with path.open('rb') as file:
        start = file.read(4)
        file.seek(0)
        if start == b'PK\x03\x04':
            return _read_zip(path)
        if start[:1] == b'\x80':
            return _read_legacy(file, path.stat().st_size)
        file.seek(257)
        if file.read(5) == b'ustar':
            raise UserError(
                'it is a tar archive, the format of torch before 0.1.10; '
                'save it again with a newer torch, or take a .safetensors file'
            )
    raise UserError('it is no file of torch.save')


_DAMAGE = (
    OSError, KeyError, ValueError, TypeError, RuntimeError, EOFError, struct.error,
    zipfile.BadZipFile,
)  # fmt: skip
WRAPPERS = ('state_dict', 'model', 'model_state_dict')  # where checkpoints keep the weights
PARALLEL = 'module.'  # what torch's DataParallel puts before every name
COMPANIONS = ('mask_values',)  # milesial/Pytorch-UNet puts the values of its masks among the arrays


def _state_dict(value: Any) -> dict[str, _Tensor]:
    """The tensors by name, of a state dict or of a checkpoint that holds one."""
    if not isinstance(value, dict):
        raise UserError('it holds no state dict')
    for wrapper in WRAPPERS:
        if isinstance(value.get(wrapper), dict):
            value = value[wrapper]
            break
    value = {key: x for key, x in value.items() if key not in COMPANIONS}
    wrong = [str(key) for key, x in value.items() if not isinstance(x, _Tensor)]
    if wrong or not value or not all(isinstance(key, str) for key in value):
        kept = ', '.join(wrong[:5]) or 'nothing'
        raise UserError(f'it holds no state dict but {kept}; expected arrays by name')
    if all(key.startswith(PARALLEL) for key in value):
        value = {key.removeprefix(PARALLEL): x for key, x in value.items()}
    return value


def load_torch(path: str | Path) -> dict[str, np.ndarray]:
    """Arrays by name from a .pth or .pt file that holds a state dict.

    The arrays are read-only views; those that shared memory in torch share it here. bfloat16 is
    `ml_dtypes.bfloat16`. Wrappers of `WRAPPERS` around the state dict are opened; names are those
    without DataParallel.

    Raises:
      UserError: there is no such file, it is damaged or of another format, or it asks for anything
        but arrays: a pickle can name any function, and none is called.
    """
    path = Path(path)
    try:
        return {name: tensor.array() for name, tensor in _state_dict(_read(path)).items()}
    except FileNotFoundError:
        raise UserError(f'there is no weights file {path}') from None
    except UserError as error:
        raise UserError(f'{path} is refused: {error}. Nothing in it was executed.') from None
    except _DAMAGE as error:
        problem = str(error) or type(error).__name__
        raise UserError(
            f'{path} is damaged or cut off ({problem}): copy or download it again'
        ) from None
