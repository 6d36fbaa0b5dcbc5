"""How long an ablation will take, from its work and the speed of this machine."""

from __future__ import annotations

import time

import jax
import numpy as np

from segjax.layers.cost import layer_costs
from segjax.train.job import Job

STEPS = 3  # that are timed


def work(job: Job) -> float:
    """The multiply-accumulates of a training: 3 passes a step, and one for each image evaluated."""
    e = job.experiment
    images = e.eval.indices(job.eval_source)
    pixels = np.mean([np.prod(job.eval_source.size(i)) for i in images]) * e.eval.scale**2
    in_eval = len(images) * float(pixels) / (e.train.crop[0] * e.train.crop[1])
    evaluations = -(-e.num_steps // e.eval_every)
    macs = sum(row.macs for row in layer_costs(e.model, job.image_shape))
    return macs * (3 * e.train.batch_size * e.num_steps + evaluations * in_eval)


def seconds_per_mac(job: Job) -> float:
    """Of the training step on this machine; compiled first, which the training need not repeat."""
    step, state = job.train_step(), job.parallel.place_state(job.initial_state())
    batch = job.parallel.place_batch(next(job.train_batches(0)))
    state, _ = jax.block_until_ready(step(state, batch))
    begin = time.perf_counter()
    for _ in range(STEPS):
        state, _ = step(state, batch)
    jax.block_until_ready(state)
    seconds = (time.perf_counter() - begin) / STEPS
    macs = sum(row.macs for row in layer_costs(job.experiment.model, job.image_shape))
    return seconds / (3 * macs * job.experiment.train.batch_size)
