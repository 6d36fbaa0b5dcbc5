"""What a training carries from step to step."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from segjax.optim import Optimizer
from segjax.types import Array


class TrainState(NamedTuple):
    """The whole of it: with the data's (seed, step) rule, all that a resumed run needs.

    params is the nested dict that Flax made; extra holds the other collections (`batch_stats`,
    ...).
    """

    step: Array  # int32, steps done, those among them that were skipped
    params: dict[str, Any]
    extra: dict[str, Any]
    opt_state: Any  # optax.OptState: a tuple, its last entry that of the schedule
    key: Array  # uint32 2, the raw random key of the run; a step folds its number in
    skipped: Array  # int32, how many of the last steps in a row were not finite and skipped
    average: dict[str, Any]  # moving average of params and extra; {} unless the optimizer keeps one

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes to predict: the averages where they are kept."""
        return self.average or {'params': self.params, **self.extra}

    @property
    def updates(self) -> Array:
        """int32, how many steps were not skipped: the schedule, last in the optimizer's chain, has
        counted them."""
        return self.opt_state[-1].count


def split_frozen(params: dict, optimizer: Optimizer) -> tuple[dict, dict]:
    """(trainable, frozen), both flat: {'vgg16/stage1/conv1_1/kernel': array}."""
    flat = flatten_dict(params, sep='/')
    frozen = {path: leaf for path, leaf in flat.items() if optimizer.is_frozen(path)}
    return {path: leaf for path, leaf in flat.items() if path not in frozen}, frozen


def join(trainable: dict, frozen: dict) -> dict:
    """The nested dict again."""
    return unflatten_dict({**frozen, **trainable}, sep='/')


def init_state(
    model: nn.Module, optimizer: Optimizer, *, num_steps: int, image: Array, seed: int
) -> TrainState:
    """The state before the first step.

    Args:
      image: anything with the shape that the model is initialised for; its values do not matter.
    """
    init_key, _ = jax.random.split(jax.random.key(seed))
    variables = dict(model.init(init_key, jnp.zeros(image.shape, jnp.float32), train=False))
    params = variables.pop('params')
    return state_from(variables, params, optimizer, num_steps=num_steps, seed=seed)


def state_from(
    extra: dict, params: dict, optimizer: Optimizer, *, num_steps: int, seed: int
) -> TrainState:
    """A state at step 0 with given values."""
    trainable, _ = split_frozen(params, optimizer)
    _, step_key = jax.random.split(jax.random.key(seed))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        extra=extra,
        opt_state=optimizer.build(num_steps).init(trainable),
        key=jax.random.key_data(step_key),
        skipped=jnp.zeros((), jnp.int32),
        # A copy, because a step gives its state's memory away, and no array can be given twice.
        average=jax.tree.map(jnp.copy, {'params': params, **extra}) if optimizer.ema else {},
    )
