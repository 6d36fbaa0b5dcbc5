"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from segjax.config import RunOptions
from segjax.evaluate import Evaluation
from segjax.train.checkpoint import Checkpointer
from segjax.train.interrupt import Interrupted, Interruption
from segjax.train.job import Job
from segjax.train.screen import Pace, Screen
from segjax.train.state import TrainState
from segjax.train.writers import Writers
from segjax.types import Array


class NotFinite(Exception):
    """A loss or gradient was NaN or infinite; the state before that step is intact."""


class Outcome(NamedTuple):
    """What a training ends with."""

    state: TrainState  # given once
    evaluation: Evaluation  # of that state
    images_per_s: float  # while training


class _Dispatched(NamedTuple):
    """A step whose numbers have not been looked at yet."""

    step: int  # steps done with it
    image_ids: np.ndarray
    scalars: dict[str, Array]


class Reporter(NamedTuple):
    """Where the loop speaks."""

    screen: Screen
    writers: Writers
    on_evaluation: Callable[[int, Evaluation], None]  # draws pictures


def fit(
    job: Job,
    state: TrainState,
    *,
    options: RunOptions,
    checkpoints: Checkpointer,
    reporter: Reporter,
    stop: Interruption,
) -> Outcome:
    """Train from `state` (given once) to the last step, evaluating and saving on the way.

    The loop looks at the numbers of a step after it has dispatched the next one, so that devices
    never wait for it. Saving comes before evaluating: what is interrupted is then evaluated again.

    Raises:
      Interrupted: a signal came; the state is saved.
      NotFinite: a step was not finite; nothing after the step before it was kept.
    """
    e, parallel, screen, writers = job.experiment, job.parallel, reporter.screen, reporter.writers
    first = int(state.step)
    pace = Pace(e.num_steps)
    pace.start(first)
    train_step = job.train_step()
    batches = job.train_batches(first)
    state = parallel.place_state(state)
    dispatched = evaluation = None
    trained_s = 0.0
    for step in range(first, e.num_steps + 1):
        last = step == e.num_steps
        evaluate = last or (step > 0 and step % e.eval_every == 0)
        if evaluate or stop.requested or (step > first and step % options.checkpoint_every == 0):
            _look(job, dispatched)
            dispatched = None
            with pace.pause():
                checkpoints.save(step, parallel.gather_state(state))
                if evaluate:
                    evaluation = _evaluate(job, state, step, checkpoints, reporter, stop)
        if stop.requested:
            checkpoints.wait()
            raise Interrupted(stop.requested)
        if last:
            break
        begin = time.perf_counter()
        with pace.waiting():
            batch = next(batches)
        state, scalars = train_step(state, parallel.place_batch(batch))
        _look(job, dispatched)
        dispatched = _Dispatched(step + 1, np.asarray(batch.image_id), parallel.first(scalars))
        if step == first:
            jax.block_until_ready(scalars)  # compilation: not a part of the pace
            pace.start(step + 1)
        elif (step + 1) % options.log_every == 0 or step + 1 == e.num_steps:
            _log(job, step + 1, _look(job, dispatched), pace, screen, writers)
        trained_s += (time.perf_counter() - begin) * (step > first)
    assert evaluation is not None
    images = max(e.num_steps - first - 1, 0) * e.train.batch_size
    rate = images / trained_s if trained_s > 0 else math.nan
    return Outcome(parallel.gather_state(state), evaluation, rate)


def _look(job: Job, dispatched: _Dispatched | None) -> dict[str, float]:
    """Fetch the numbers of a step.

    Raises:
      NotFinite: naming the images of its batch.
    """
    if dispatched is None:
        return {}
    scalars = {name: np.asarray(value).item() for name, value in dispatched.scalars.items()}
    if not scalars.pop('finite'):
        names = [job.train_source.name(int(i)) for i in dispatched.image_ids]
        raise NotFinite(
            f'step {dispatched.step}: loss {scalars["loss"]}, gradient norm '
            f'{scalars["grad_norm"]}. The batch: {", ".join(names)}'
        )
    return scalars


def _log(
    job: Job, step: int, scalars: Mapping[str, float], pace: Pace, screen: Screen, writers: Writers
) -> None:
    e = job.experiment
    speed = pace.report(step, e.train.batch_size)
    screen.step(
        step, e.num_steps, loss=scalars['loss'], learning_rate=scalars['learning_rate'], speed=speed
    )
    values = {**scalars, 'images_per_s': speed.images_per_s, 'wait': speed.wait}
    if job.train_source.bad.may_be_replaced:
        values['bad_samples'] = len(job.train_source.bad)
    writers.scalars(step, 'train', {'epoch': step / job.steps_per_epoch, **values})


def _evaluate(
    job: Job,
    state: Any,
    step: int,
    checkpoints: Checkpointer,
    reporter: Reporter,
    stop: Interruption,
) -> Evaluation | None:
    """Evaluate, mark the best checkpoint, write and draw; None when a signal came in between."""
    e = job.experiment
    name = e.task.best_metric
    try:
        found = job.evaluate(job.parallel.gather_state(state), samples=6, check=stop.check)
    except Interrupted:
        return None
    best = checkpoints.mark_best(step, found.metrics[name], name)
    reporter.screen.evaluation(step, e.eval.split, found.metrics, best=best)
    per_class = {
        f'iou/{label}': value
        for label, value in zip(job.info.class_names, found.evaluator.confusion.iou, strict=True)
    }
    values = {'epoch': step / job.steps_per_epoch, **found.metrics, **per_class}
    reporter.writers.scalars(step, e.eval.split, values)
    reporter.on_evaluation(step, found)
    return found
