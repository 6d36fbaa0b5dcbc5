"""One step on all devices: by `jit` over a mesh with a sharded batch, or by `pmap`.

Both give the numbers of a single device, up to the order of additions. The pure step is the same
function; only where the batch is cut differs. With several processes the mesh spans the devices of
all of them, and each process gives its own rows of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from segjax import processes
from segjax.layers import DATA_AXIS
from segjax.types import UserError

Tree = Any
Devices = list[Any]  # of jax.Device


class Parallelism(Protocol):
    """How state and batches are laid over devices."""

    axis_name: str | None
    num_devices: int

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
    """`jax.jit`; XLA's partitioner splits the program along the batch."""

    axis_name = None

    def __init__(self, devices: Devices | None = None):
        devices = devices or processes.devices()
        self.num_devices = len(devices)
        # Auto axes: the explicit ones that make_mesh defaults to refuse gathers along a sharded
        # batch.
        self.mesh = Mesh(np.array(devices), (DATA_AXIS,), axis_types=(AxisType.Auto,))
        self.replicated = NamedSharding(self.mesh, P())
        self.sharded = NamedSharding(self.mesh, P(DATA_AXIS))

    def place_state(self, state: Tree) -> Tree:
        return self._put(state, self.replicated)

    def place_batch(self, batch: Tree) -> Tree:
        return self._put(batch, self.sharded)

    def _put(self, tree: Tree, sharding: NamedSharding) -> Tree:
        if sharding.is_fully_addressable:
            return jax.device_put(tree, sharding)
        put = jax.make_array_from_process_local_data
        return jax.tree.map(lambda x: put(sharding, np.asarray(x)), tree)

    def compile(self, step: Callable) -> Callable:
        return jax.jit(
            step,
            in_shardings=(self.replicated, self.sharded),
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
        self.num_devices = len(self.devices)

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


def parallelism(
    kind: Literal['jit', 'pmap'], batch_size: int, devices: Devices | None = None
) -> Parallelism:
    """The chosen one.

    Raises:
      UserError: the batch cannot be cut into equal parts, or `pmap` with several processes.
    """
    if kind == 'pmap' and jax.process_count() > 1:
        raise UserError('--parallelism=pmap is for one process; several need --parallelism=jit.')
    chosen = {'jit': ShardedJit, 'pmap': Pmap}[kind](devices)
    if batch_size % chosen.num_devices:
        n = chosen.num_devices
        nearest = max(n, round(batch_size / n) * n)
        raise UserError(
            f'a batch of {batch_size} images cannot be shared evenly by {n} devices; '
            f'try --train.batch_size={nearest}'
        )
    return chosen
