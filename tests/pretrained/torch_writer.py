"""Writes files as torch.save does, without torch, and files that a villain would write."""

import contextlib
import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np

STORAGES = {
    'float64': 'DoubleStorage', 'float32': 'FloatStorage', 'float16': 'HalfStorage',
    'bfloat16': 'BFloat16Storage', 'int64': 'LongStorage', 'int32': 'IntStorage',
    'int16': 'ShortStorage', 'int8': 'CharStorage', 'uint8': 'ByteStorage', 'bool': 'BoolStorage',
}  # fmt: skip


class Storage:
    """A run of elements with a key, as torch's storages are."""

    def __init__(self, key, elements):
        self.key, self.elements = key, np.ascontiguousarray(elements).reshape(-1)


class View:
    """A tensor: a storage, an offset, sizes, strides."""

    def __init__(self, storage, offset, shape, strides, parameter=False):
        self.storage, self.parameter = storage, parameter
        self.geometry = (offset, shape, strides)


class Call:
    """An object that is pickled as the call of a named function."""

    def __init__(self, function, arguments):
        self.function, self.arguments = function, arguments


def tensor(key, array, **options):
    """A contiguous tensor with a storage of its own."""
    array = np.asarray(array, order='C')
    strides = tuple(s // array.itemsize for s in array.strides)
    return View(Storage(key, array), 0, array.shape, strides, **options)


def _modules():
    """Modules named torch with the names that files ask for: pickle looks every one up."""
    names = {'torch': list(STORAGES.values())}
    names['torch._utils'] = ['_rebuild_tensor_v2', '_rebuild_parameter']
    modules = {module: types.ModuleType(module) for module in names}
    for module, owned in names.items():
        for name in owned:
            thing = type(name, (), {'__module__': module, '__qualname__': name})
            setattr(modules[module], name, thing)
    return modules


MODULES = _modules()


class _Pickler(pickle._Pickler):
    """The pickler of the standard library, which asks the two methods below."""

    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            kind = getattr(MODULES['torch'], STORAGES[obj.elements.dtype.name])
            identity = ('storage', kind, obj.key, 'cpu', obj.elements.size)
            return (*identity, None) if self.legacy else identity
        return None

    def reducer_override(self, obj):
        if isinstance(obj, View):
            functions = MODULES['torch._utils']
            if obj.parameter:
                inner = View(obj.storage, *obj.geometry)
                return functions._rebuild_parameter, (inner, True, OrderedDict())
            arguments = (obj.storage, *obj.geometry, False, OrderedDict())
            return functions._rebuild_tensor_v2, arguments
        if isinstance(obj, Call):
            return obj.function, obj.arguments
        return NotImplemented


@contextlib.contextmanager
def _pretended_torch():
    """The modules are there while something is pickled."""
    before = {name: sys.modules[name] for name in MODULES if name in sys.modules}
    sys.modules.update(MODULES)
    try:
        yield
    finally:
        for name in MODULES:
            del sys.modules[name]
        sys.modules.update(before)


def dumps(value, *, protocol=2, legacy=False):
    """The pickle of a value with Storage, View and Call in it."""
    file = io.BytesIO()
    pickler = _Pickler(file, protocol, fix_imports=False)
    pickler.legacy = legacy
    with _pretended_torch():
        pickler.dump(value)
    return file.getvalue()


def _storages(value):
    """All storages of a state dict, each once."""
    views = [v for v in _leaves(value) if isinstance(v, View)]
    return list({id(v.storage): v.storage for v in views}.values())


def _leaves(value):
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    else:
        yield value


def _content(storage, order='little'):
    bits = storage.elements.view(f'u{storage.elements.itemsize}')
    swap = order != sys.byteorder and bits.itemsize > 1
    return (bits.byteswap() if swap else bits).tobytes()


def save_zip(path, value, *, order='little', protocol=2, root='archive', **changes):
    """A file of torch 1.6 and later; `changes` replace members: data_0=b'...'."""
    members = {'data.pkl': dumps(value, protocol=protocol), 'byteorder': order.encode()}
    members |= {f'data/{s.key}': _content(s, order) for s in _storages(value)}
    members |= {'version': b'3\n'}
    members |= {name.replace('_', '/'): content for name, content in changes.items()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(f'{root}/{name}', content)


def save_legacy(path, value):
    """A file of torch before 1.6: pickles and raw storages one after the other."""
    system = {'protocol_version': 1001, 'little_endian': True, 'type_sizes': {'int': 4}}
    storages = _storages(value)
    with open(path, 'wb') as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, system):
            file.write(dumps(part))
        file.write(dumps(value, legacy=True))
        file.write(dumps([s.key for s in storages]))
        for storage in storages:
            file.write(struct.pack('<q', storage.elements.size) + _content(storage))


def example(dtype):
    """Values that any dtype can hold."""
    kind = ml_dtypes.bfloat16 if dtype == 'bfloat16' else dtype
    return (np.arange(6).reshape(2, 3) % 5).astype(kind)
