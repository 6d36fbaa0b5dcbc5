"""Images whose rows lie on several devices.

There XLA's partitioner cuts every operation along its rows and exchanges the rows at the seams. It
does so well for the plain `lax` forms; a faster formulation that it cuts badly asks here first.
"""

from __future__ import annotations

import jax

HEIGHT_AXIS = 'height'  # the name of the mesh axis that shares the rows of an image


def height_is_sharded() -> bool:
    """Whether what is being traced will run on a mesh that shares the rows of an image."""
    return jax.sharding.get_abstract_mesh().shape.get(HEIGHT_AXIS, 1) > 1
