"""The levels of an arm: the networks that one training with several heads gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax.models import UNetPlusPlus
from segjax.models.unetplusplus import prune
from segjax.tasks import Semantic
from segjax.train.job import Job
from segjax.types import UserError

Variables = Mapping[str, Any]


def at_depth(job: Job, variables: Variables, depth: int) -> tuple[Job, Variables]:
    """The job of a U-Net++ that is pruned to `depth`, and its share of the variables.

    Raises:
      UserError: the model cannot be pruned, or not to this depth.
    """
    model = job.experiment.model
    if not isinstance(model, UNetPlusPlus):
        raise UserError(
            f'--prune={depth}: only a U-Net++ can be pruned, not {type(model).__name__}'
        )
    model, variables = prune(model, variables, depth)
    task = dataclasses.replace(job.experiment.task, head='main')
    return job.with_network(dataclasses.replace(job.experiment, model=model, task=task)), variables


def _num_supervised(job: Job) -> int:
    """How many heads are trained: 1, or all of them."""
    e = job.experiment
    if not isinstance(e.task, Semantic):
        return 1
    if e.task.supervision == 'given' and not e.task.aux_weights:
        return 1
    image = jnp.zeros(job.image_shape, jnp.float32)
    make = lambda: e.model.init_with_output(jax.random.key(0), image, train=False)[0]
    return 1 + len(jax.eval_shape(make).aux)


def main_level(model: nn.Module) -> str:
    """What the whole network is called in a table: 'L4' for a U-Net++ of that depth, or 'main'."""
    return f'L{model.depth}' if isinstance(model, UNetPlusPlus) else 'main'


def levels(job: Job, variables: Variables) -> dict[str, tuple[Job, Variables]]:
    """The networks that one training gives: those that it was pruned to, and the mean of its heads.

    A network of several supervised heads has a level for each: of a U-Net++ they are pruned, L1 the
    smallest; `mean` is the mean of the heads' probabilities (the paper's accurate mode). All others
    have one.
    """
    e, number = job.experiment, _num_supervised(job)
    predicting = lambda head: job.with_network(
        dataclasses.replace(e, task=dataclasses.replace(e.task, head=head))
    )
    if number == 1:
        return {main_level(e.model): (job, variables)}
    if isinstance(e.model, UNetPlusPlus):
        found = {f'L{d}': at_depth(job, variables, d) for d in range(1, number + 1)}
    else:
        heads = {f'head {d}': str(d) for d in range(1, number)} | {'main': 'main'}
        found = {name: (predicting(head), variables) for name, head in heads.items()}
    return {**found, 'mean': (predicting('mean'), variables)}
