"""Batch normalisation's running averages, measured anew after training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from segjax import ops
from segjax.layers import BatchNorm, by_running_averages
from segjax.train.job import Job
from segjax.train.state import TrainState
from segjax.types import Array, Batch

Tree = Any
Path = tuple[str, ...]


def _measurement(job: Job) -> Callable[[TrainState, Batch], tuple[TrainState, dict[Path, Array]]]:
    """A function from state and batch to the state as it is and the means and variances that
    `BatchNorm` finds in the batch; of one that is frozen, those that it keeps.

    Running averages that begin at zero are, after k batches equal to b, `(1 - momentum^k) b`; k is
    more than one where a model calls a layer several times.
    """
    e, keeps = job.experiment, job.experiment.optimizer.keeps_norm
    loss = by_running_averages(e.task.loss, where=keeps)

    def measure(state: TrainState, batch: Batch) -> tuple[TrainState, dict[Path, Array]]:
        calls: Counter[Path] = Counter()
        momenta: dict[Path, float] = {}
        known: dict[Path, Any] = flatten_dict(state.variables['batch_stats'])
        kept = {path: leaf for path, leaf in known.items() if keeps(path[:-1])}

        def note(next_fun: Any, args: Any, kwargs: Any, context: Any) -> Any:
            module = context.module
            if isinstance(module, BatchNorm) and context.method_name == '__call__':
                calls[module.path] += 1
                momenta[module.path] = module.momentum
            return next_fun(*args, **kwargs)

        blank = {path: kept.get(path, jnp.zeros_like(leaf)) for path, leaf in known.items()}
        variables = {**state.variables, 'batch_stats': unflatten_dict(blank)}
        batch = batch._replace(image=ops.normalize(batch.image, job.mean, job.std))
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        with nn.intercept_methods(note):
            _, updates = loss(e.model, variables, batch, key, step=state.step)
        weight = {path: 1 - momenta[path] ** count for path, count in calls.items()}
        found: dict[Path, Any] = flatten_dict(updates['batch_stats'])
        return state, {path: leaf / weight[path[:-1]] for path, leaf in found.items()} | kept

    return measure


def _pool(batches: list[dict[Path, np.ndarray]]) -> Tree:
    """Mean and variance of all batches together: `E[var + mean^2] - E[mean]^2`, as the variance
    about the common mean."""
    pooled = {}
    for path in batches[0]:
        layer, kind = path[:-1], path[-1]
        means = np.array([found[*layer, 'mean'] for found in batches], np.float64)
        if kind == 'mean':
            value = means.mean(axis=0)
        else:
            variances = np.array([found[path] for found in batches], np.float64)
            value = variances.mean(axis=0) + means.var(axis=0)
        pooled[path] = value.astype(np.float32)
    return unflatten_dict(pooled)


def reestimate_batch_norm(
    job: Job, state: TrainState, *, beat: Callable[[], object] = lambda: None
) -> TrainState:
    """The state with the statistics of `experiment.reestimate_batch_norm` training batches in place
    of the running averages, those of the averaged weights where such are kept.

    The batches are those that training would see next, so that the result depends on nothing but
    the weights. SegNet's release, and Wu and Johnson, "Rethinking 'Batch' in BatchNorm", section 3:
    running averages lag behind the weights, and are noisy where batches are small.

    Args:
      state: placed on the devices; it is given away, and so is what comes back.
      beat: called before every batch.
    """
    e, parallel = job.experiment, job.parallel
    measure = parallel.compile(_measurement(job))
    batches, found = job.train_batches(e.num_steps), []
    for _ in range(e.reestimate_batch_norm):
        beat()
        state, statistics = measure(state, parallel.place_batch(next(batches)))
        found.append(jax.tree.map(np.asarray, parallel.first(statistics)))
    given = parallel.gather_state(state)
    fresh = {'batch_stats': _pool(found)}
    if given.average:
        return parallel.place_state(given._replace(average={**given.average, **fresh}))
    return parallel.place_state(given._replace(extra={**given.extra, **fresh}))
