"""One step on all devices: by `jit` over a mesh with a sharded batch, or by `pmap`.

Both give the numbers of a single device, up to the order of additions. The pure step is the same
function; only where the batch is cut differs. With several processes the mesh spans the devices of
all of them, and each process gives its own part of the batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from segjax import processes
from segjax.layers import DATA_AXIS
from segjax.ops import HEIGHT_AXIS
from segjax.types import Batch, UserError

Tree = Any
Devices = list[Any]  # of jax.Device

PICTURES = ('image', 'label', 'weight')  # parts of a Batch with rows of pixels: b h w ...


class Parallelism(Protocol):
    """How state and batches are laid over devices."""

    axis_name: str | None
    num_devices: int
    batch_parts: int  # that a batch is cut into

    def place_state(self, state: Tree) -> Tree:
        """A state given once, on every device."""
        ...

    def place_batch(self, batch: Tree) -> Tree:
        """A host batch, cut along its first axis."""
        ...

    def compile(self, step: Callable) -> Callable:
        """`step(state, batch) -> (state, scalars)` over all devices; the state is donated."""
        ...

    def gather_state(self, state: Tree) -> Tree:
        """The state given once, as `place_state` took it."""
        ...

    def first(self, tree: Tree) -> Tree:
        """Results that are equal on all devices, given once."""
        ...


class ShardedJit(Parallelism):
    """`jax.jit`; XLA's partitioner splits the program along the batch.

    With `shard_height` n > 1 each picture is also cut into n strips of rows, on n neighbouring
    devices: for images too large, or too few, to give each device a whole one. The partitioner
    exchanges the rows at the seams that convolutions and poolings reach for, so the numbers stay
    those of whole images.
    """

    axis_name = None

    def __init__(self, devices: Devices | None = None, shard_height: int = 1):
        devices = devices or processes.devices()
        self.num_devices = len(devices)
        self.batch_parts = self.num_devices // shard_height
        # Auto axes: the explicit ones that make_mesh defaults to refuse gathers along a sharded
        # batch.
        grid = np.array(devices).reshape(self.batch_parts, shard_height)
        self.mesh = Mesh(grid, (DATA_AXIS, HEIGHT_AXIS), axis_types=(AxisType.Auto,) * 2)
        self.replicated = NamedSharding(self.mesh, P())
        whole = NamedSharding(self.mesh, P(DATA_AXIS))
        strips = NamedSharding(self.mesh, P(DATA_AXIS, HEIGHT_AXIS))
        parts: list[Any] = [strips if name in PICTURES else whole for name in Batch._fields]
        self.cut: Any = Batch(*parts)

    def place_state(self, state: Tree) -> Tree:
        return self._put(state, self.replicated)

    def place_batch(self, batch: Batch) -> Batch:
        return Batch(*map(self._put, batch, self.cut))

    def _put(self, tree: Tree, sharding: NamedSharding) -> Tree:
        if sharding.is_fully_addressable:
            return jax.device_put(tree, sharding)
        put = jax.make_array_from_process_local_data
        return jax.tree.map(lambda x: put(sharding, np.asarray(x)), tree)

    def compile(self, step: Callable) -> Callable:
        @functools.wraps(step)
        def on_mesh(state: Tree, batch: Batch) -> tuple[Tree, Tree]:
            with jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh):  # `ops` look at it
                return step(state, batch)

        return jax.jit(
            on_mesh,
            in_shardings=(self.replicated, self.cut),
            out_shardings=(self.replicated, self.replicated),
            donate_argnums=0,
        )

    def gather_state(self, state: Tree) -> Tree:
        if self.replicated.is_fully_addressable:
            return state
        return jax.tree.map(lambda x: x.addressable_data(0), state)  # every device holds it whole

    def first(self, tree: Tree) -> Tree:
        return tree


class Pmap(Parallelism):
    """`jax.pmap`; each device runs the step on its part and sums are taken by name."""

    axis_name = DATA_AXIS

    def __init__(self, devices: Devices | None = None):
        self.devices = devices or jax.local_devices()
        self.num_devices = self.batch_parts = len(self.devices)

    def place_state(self, state: Tree) -> Tree:
        copies = lambda x: np.broadcast_to(np.asarray(x), (self.num_devices, *jnp.shape(x)))
        return self._spread(jax.tree.map(copies, state))

    def place_batch(self, batch: Tree) -> Tree:
        cut = lambda x: x.reshape(self.num_devices, -1, *x.shape[1:])
        return self._spread(jax.tree.map(cut, batch))

    def _spread(self, tree: Tree) -> Tree:
        mesh = Mesh(np.array(self.devices), (DATA_AXIS,), axis_types=(AxisType.Auto,))
        return jax.device_put(tree, NamedSharding(mesh, P(DATA_AXIS)))

    def compile(self, step: Callable) -> Callable:
        return jax.pmap(step, axis_name=DATA_AXIS, devices=self.devices, donate_argnums=0)

    def gather_state(self, state: Tree) -> Tree:
        return self.first(state)

    def first(self, tree: Tree) -> Tree:
        return jax.tree.map(lambda x: x.addressable_shards[0].data[0], tree)


class RowByRow:
    """`f(variables, batch)`, compiled for all devices, each of which computes rows of its own.

    On a CPU a device computes one row at a time, by one program: the numbers of a row are the same
    bits in any batch and on any number of devices. On accelerators it computes all its rows at
    once.

    Args:
      f: returns arrays with a row for each of the batch.
      devices: default: all of this process.
    """

    def __init__(self, f: Callable[[Tree, Batch], Tree], devices: Devices | None = None):
        self._place = ShardedJit(devices or jax.local_devices())
        self.place_state = self._place.place_state
        on_each = jax.shard_map(
            f,
            mesh=self._place.mesh,
            in_specs=(P(), P(DATA_AXIS)),
            out_specs=P(DATA_AXIS),
            check_vma=False,
        )
        self._program = jax.jit(on_each if self._place.num_devices > 1 else f)

    def rows(self, batch_size: int) -> int:
        """How many rows a batch must have, that of a CPU whatever `batch_size` is."""
        n, kind = self._place.num_devices, self._place.mesh.devices.flat[0].platform
        return n if kind == 'cpu' else -(-batch_size // n) * n

    def __call__(self, variables: Tree, batch: Batch) -> Tree:
        """Of variables from `place_state` and a batch on the host."""
        return self._program(variables, self._place.place_batch(batch))


def parallelism(
    kind: Literal['jit', 'pmap'],
    batch_size: int,
    devices: Devices | None = None,
    *,
    shard_height: int = 1,
) -> Parallelism:
    """The chosen one.

    Args:
      shard_height: devices that share the rows of an image.

    Raises:
      UserError: the batch, or with `shard_height` the devices, cannot be cut into equal parts;
        `pmap` with several processes or `shard_height`.
    """
    if kind == 'pmap' and jax.process_count() > 1:
        raise UserError('--parallelism=pmap is for one process; several need --parallelism=jit.')
    if kind == 'pmap' and shard_height > 1:
        raise UserError('--shard_height needs --parallelism=jit: pmap cannot cut an image.')
    # Those of one process: only they can be given strips of the same image.
    together = len(devices or jax.local_devices())
    if together % shard_height:
        fitting = [n for n in range(1, together + 1) if together % n == 0]
        raise UserError(
            f'--shard_height={shard_height}: {together} devices do not fall into groups of '
            f'{shard_height}; what fits: {", ".join(map(str, fitting))}'
        )
    chosen = ShardedJit(devices, shard_height) if kind == 'jit' else Pmap(devices)
    n = chosen.batch_parts
    if batch_size % n:
        nearest = max(n, round(batch_size / n) * n)
        sharers = 'devices' if shard_height == 1 else f'groups of {shard_height} devices'
        raise UserError(
            f'a batch of {batch_size} images cannot be shared evenly by {n} {sharers}; '
            f'try --train.batch_size={nearest}, or hide some (CUDA_VISIBLE_DEVICES=0)'
        )
    return chosen
