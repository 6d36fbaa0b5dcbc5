"""Deep supervision: how much each of several heads counts in the loss."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp

from segjax.types import Array

Supervision = Literal['given', 'mean', 'sum', 'halving', 'ramp']


def head_weights(
    supervision: Supervision, number: int, *, step: Array | int, steps: int
) -> tuple[Array | float, ...]:
    """The weights of `number` heads, from the shallowest to the main one, which is the last.

    'mean': 1/n each, so that the loss is the mean of the heads' losses. 'sum': 1 each, as Keras
    adds up the outputs of the official U-Net++; n times the gradient of 'mean'. 'halving':
    1/2^(n - j) for head j, divided by their sum (nnU-Net's rule, turned to our order). 'ramp':
    from 'mean' at step 0, linearly, to the main head alone after `steps` steps.
    """
    if supervision == 'sum':
        return (1.0,) * number
    if supervision == 'halving':
        total = 2 - 2.0 ** (1 - number)
        return tuple(2.0 ** (j - number) / total for j in range(1, number + 1))
    if supervision == 'mean':
        return (1 / number,) * number
    if supervision != 'ramp':
        raise ValueError(f'{supervision!r} says nothing about weights')
    done = jnp.minimum(jnp.asarray(step, jnp.float32) / max(steps, 1), 1.0)
    return (*((1 - done) / number,) * (number - 1), done + (1 - done) / number)
