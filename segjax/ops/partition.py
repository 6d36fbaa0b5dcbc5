"""Images whose rows lie on several devices.

There XLA's partitioner cuts every operation along its rows and exchanges the rows at the seams. It
does so well for the plain `lax` forms; a faster formulation that it cuts badly asks here first.
"""

from __future__ import annotations

import jax
from jax import lax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

HEIGHT_AXIS = 'height'  # the name of the mesh axis that shares the rows of an image


def height_is_sharded() -> bool:
    """Whether what is being traced will run on a mesh that shares the rows of an image."""
    return jax.sharding.get_abstract_mesh().shape.get(HEIGHT_AXIS, 1) > 1


def whole_height(x: Float[Array, 'b h w c']) -> Float[Array, 'b h w c']:
    """`x`, with all its rows on each of the devices that share an image: for small maps."""
    if not height_is_sharded():
        return x
    free = P.UNCONSTRAINED
    return lax.with_sharding_constraint(x, P(free, None, free, free))
