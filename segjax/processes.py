"""Several processes: what they tell one another. With one process every function here is trivial.

Everything travels as bytes, so that values arrive to the bit (a sum would turn -0.0 into 0.0, and
int64 into int32). Each function must be called by all processes, in the same order.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from segjax.types import UserError

Tree = Any
Arrays = dict[str, np.ndarray]

_CHUNK = 1 << 26  # bytes broadcast at a time: bounds memory, and the number of shapes compiled


def is_first() -> bool:
    """Whether this is process 0, the one that writes and speaks."""
    return jax.process_index() == 0


def shard() -> tuple[int, int]:
    """(index of this process, number of processes)."""
    return jax.process_index(), jax.process_count()


def devices() -> list[Any]:
    """The devices of all processes, those of each process together."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def _gather_bytes(content: bytes) -> list[bytes]:
    """The bytes of every process, in order of the processes."""
    from jax.experimental import multihost_utils

    lengths = multihost_utils.process_allgather(np.array([len(content)], np.uint32))
    lengths = lengths.reshape(-1).tolist()
    padded = np.zeros(max(lengths), np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    rows = multihost_utils.process_allgather(padded).reshape(len(lengths), -1)
    return [rows[i, :length].tobytes() for i, length in enumerate(lengths)]


def gather(arrays: Mapping[str, np.ndarray]) -> list[Arrays]:
    """The arrays of every process, in order of the processes; names and shapes may differ."""
    if jax.process_count() == 1:
        return [dict(arrays)]
    file = io.BytesIO()
    np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    found = []
    for content in _gather_bytes(file.getvalue()):
        with np.load(io.BytesIO(content), allow_pickle=False) as entries:
            found.append({name: entries[name] for name in entries.files})
    return found


def gather_values(value: Any) -> list[Any]:
    """A JSON value of every process, in order of the processes."""
    if jax.process_count() == 1:
        return [value]
    return [json.loads(content) for content in _gather_bytes(json.dumps(value).encode())]


def on_first(function: Callable[[], Any]) -> Any:
    """Calls `function` on process 0 alone; its result, a JSON value, on all.

    Raises, on all processes, the UserError that it raised; another exception of process 0 becomes a
    RuntimeError elsewhere.
    """
    if jax.process_count() == 1:
        return function()
    message, error = {}, None
    if is_first():
        try:
            message = {'value': function()}
        except Exception as caught:
            error = caught
            message = {'error': str(error), 'user': isinstance(error, UserError)}
    message = gather_values(message)[0]
    if error is not None:
        raise error
    if 'error' in message:
        kind = UserError if message['user'] else RuntimeError
        raise kind(message['error'])
    return message['value']


def from_first(make: Callable[[], Tree], *, like: Tree) -> Tree:
    """A tree of arrays that process 0 makes, on all processes, to the bit.

    Args:
      make: called on process 0 alone.
      like: a tree with the shapes and dtypes of the result.
    """
    if jax.process_count() == 1:
        return make()
    made = []
    on_first(lambda: made.append(make()))
    leaves, structure = jax.tree.flatten(like)
    if made:
        values = [np.asarray(leaf) for leaf in jax.tree.leaves(made[0])]
    else:
        values = [np.zeros(leaf.shape, leaf.dtype) for leaf in leaves]
    content = np.concatenate([np.ravel(value).view(np.uint8) for value in values])
    content = _broadcast(content)
    ends = np.cumsum([value.nbytes for value in values])
    parts = np.split(content, ends[:-1])
    arrays = [
        jnp.array(part.view(value.dtype).reshape(value.shape), copy=True)
        for part, value in zip(parts, values, strict=True)
    ]
    return jax.tree.unflatten(structure, arrays)


def _broadcast(content: np.ndarray) -> np.ndarray:
    """The bytes of process 0; all processes give as many."""
    from jax.experimental import multihost_utils

    padded = np.pad(content, (0, -len(content) % min(_CHUNK, max(len(content), 1))))
    chunks = np.split(padded, range(_CHUNK, len(padded), _CHUNK))
    found = [np.asarray(multihost_utils.broadcast_one_to_all(chunk)) for chunk in chunks]
    return np.concatenate(found)[: len(content)]


@functools.cache
def _largest() -> tuple[NamedSharding, Callable]:
    """Where the number of each process lies, and the compiled maximum over them."""
    sharding = NamedSharding(Mesh(np.array(devices()), 'device'), P('device'))
    everywhere = NamedSharding(sharding.mesh, P())
    return sharding, jax.jit(jnp.max, out_shardings=everywhere)


def start_maximum(value: int) -> jax.Array:
    """The largest value of all processes, on its way: `int()` of it waits for its arrival."""
    sharding, largest = _largest()
    mine = np.full(jax.local_device_count(), value, np.int32)
    return largest(jax.make_array_from_process_local_data(sharding, mine))
