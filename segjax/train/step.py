"""The training step: one pure function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from segjax import ops
from segjax.optim import Optimizer
from segjax.tasks import Semantic
from segjax.train.state import TrainState, join, split_frozen
from segjax.types import Array, Batch

Scalars = dict[str, Array]
StepFn = Callable[[TrainState, Batch], tuple[TrainState, Scalars]]


def make_train_step(
    model: nn.Module,
    task: Semantic,
    optimizer: Optimizer,
    *,
    num_steps: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    axis_name: str | None = None,
) -> StepFn:
    """Bind everything that does not change; what comes back is pure and can be compiled anywhere.

    Args:
      num_steps: length of the training, for the schedule.
      mean, std: normalisation of the image, in its own units.
      axis_name: the mapped axis under `pmap`; None under `jit`, whose sums already span all
        devices.
    """
    rule = optimizer.build(num_steps)
    across = (lambda tree: lax.psum(tree, axis_name)) if axis_name else (lambda tree: tree)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        batch = batch._replace(image=ops.normalize(batch.image, mean, std))
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        trainable, frozen = split_frozen(state.params, optimizer)

        def objective(trainable: Any) -> tuple[Array, tuple[Scalars, dict]]:
            variables = {'params': join(trainable, frozen), **state.extra}
            terms, extra = task.loss(model, variables, batch, key)
            # This device's share of sum / count over all devices; the shares add up to the loss.
            counts = across({name: lax.stop_gradient(count) for name, (_, count) in terms.items()})
            shares = {
                name: total / jnp.maximum(counts[name], 1) for name, (total, _) in terms.items()
            }
            return sum(shares.values()), (shares, extra)

        (_, (shares, extra)), gradients = jax.value_and_grad(objective, has_aux=True)(trainable)
        losses, gradients = across((shares, gradients))
        loss, norm = sum(losses.values()), optax.tree.norm(gradients)
        updates, opt_state = rule.update(gradients, state.opt_state, trainable)
        done = TrainState(
            step=state.step + 1,
            params=join(optax.apply_updates(trainable, updates), frozen),
            extra={**state.extra, **extra},
            opt_state=opt_state,
            key=state.key,
        )
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        # A step that is not finite changes nothing, so that the loop can stop with a good state.
        state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), done, state)
        rate = optimizer.rate(state.step - 1, num_steps)
        scalars = {
            'loss': loss,
            **losses,
            'learning_rate': rate,
            'grad_norm': norm,
            'finite': finite,
        }
        return state, scalars

    return train_step
