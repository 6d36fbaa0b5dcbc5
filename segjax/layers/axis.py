"""The mapped batch axis, where there is one."""

from __future__ import annotations

from jax import lax

DATA_AXIS = 'data'  # the name of the batch axis wherever a step is mapped over devices


def bound_axis() -> str | None:
    """`DATA_AXIS` inside a `pmap` or `shard_map` of that axis, None elsewhere.

    Under `jit` with a sharded batch there is no named axis and none is needed: a mean over the
    batch already is a mean over all devices.
    """
    try:
        lax.axis_size(DATA_AXIS)
    except NameError:
        return None
    return DATA_AXIS
