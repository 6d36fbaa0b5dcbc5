"""The training step: one pure function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from segjax import ops
from segjax.layers import by_running_averages
from segjax.optim import Optimizer
from segjax.train.gradients import Scalars, Terms, accumulated_gradient, batch_gradient
from segjax.train.state import TrainState, join, split_frozen
from segjax.types import Array, Batch

StepFn = Callable[[TrainState, Batch], tuple[TrainState, Scalars]]


def make_train_step(
    model: nn.Module,
    task: Any,
    optimizer: Optimizer,
    *,
    num_steps: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    accumulate: int = 1,
    freeze_batch_norm: bool = False,
    axis_name: str | None = None,
) -> StepFn:
    """Bind everything that does not change; what comes back is pure and can be compiled anywhere.

    Args:
      task: one of segjax.tasks.
      num_steps: length of the training, for the schedule.
      mean, std: normalisation of the image, in its own units.
      accumulate: number of microbatches from which the gradient of a batch is accumulated.
      freeze_batch_norm: as `Experiment`.
      axis_name: the mapped axis under `pmap`; None under `jit`, whose sums already span all
        devices.
    """
    rule = optimizer.build(num_steps)
    keeps = lambda path: freeze_batch_norm or optimizer.keeps_norm(path)
    measure = by_running_averages(task.loss, where=keeps)
    across = (lambda tree: lax.psum(tree, axis_name)) if axis_name else (lambda tree: tree)
    differentiate = partial(batch_gradient, across=across)
    if accumulate > 1:
        differentiate = partial(accumulated_gradient, across=across, microbatches=accumulate)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        trainable, frozen = split_frozen(state.params, optimizer)

        def terms(trainable: Any, extra: Any, rows: Batch, key: Array) -> tuple[Terms, Any]:
            rows = rows._replace(image=ops.normalize(rows.image, mean, std))
            variables = {'params': join(trainable, frozen), **extra}
            found, updates = measure(model, variables, rows, key, step=state.step)
            return found, {**extra, **updates}

        losses, gradient, extra = differentiate(terms, trainable, state.extra, batch, key)
        loss, norm = sum(losses.values()), optax.tree.norm(gradient)
        updates, opt_state = rule.update(gradient, state.opt_state, trainable)
        trained: Any = optax.apply_updates(trainable, updates)
        params = join(trained, frozen)
        done = state._replace(
            params=params,
            extra=extra,
            opt_state=opt_state,
            skipped=jnp.zeros_like(state.skipped),
            average=optimizer.average(state.average, {'params': params, **extra}, state.step),
        )
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        # A step that is not finite changes nothing but the counts: the next batch may be better.
        kept = state._replace(skipped=state.skipped + 1)
        after = jax.tree.map(lambda new, old: jnp.where(finite, new, old), done, kept)
        rate = optimizer.rate(state.updates, num_steps)
        scalars = {
            'loss': loss,
            **losses,
            'learning_rate': rate,
            'grad_norm': norm,
            'skipped': after.skipped,
        }
        return after._replace(step=state.step + 1), scalars

    return train_step
