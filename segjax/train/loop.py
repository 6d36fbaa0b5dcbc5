"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from segjax import processes
from segjax.config import RunOptions
from segjax.evaluate import Evaluation
from segjax.train import report
from segjax.train.batch_norm import reestimate_batch_norm
from segjax.train.checkpoint import Checkpointer
from segjax.train.interrupt import Interrupted, Interruption
from segjax.train.job import Job
from segjax.train.screen import Pace, Screen
from segjax.train.state import TrainState
from segjax.train.watchdog import Watchdog
from segjax.train.writers import Writers
from segjax.types import Array, Batch


class NotFinite(Exception):
    """Losses or gradients were NaN or infinite too often; the state from before them is intact."""


class Outcome(NamedTuple):
    """What a training ends with."""

    state: TrainState  # given once
    evaluation: Evaluation  # of that state
    images_per_s: float  # while training


class _Dispatched(NamedTuple):
    """A step whose numbers have not been looked at yet."""

    step: int  # steps done with it
    batch: Batch  # on the host
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
    watch: Watchdog,
) -> Outcome:
    """Train from `state` (given once) to the last step, evaluating and saving on the way.

    The loop looks at the numbers of a step after it has dispatched the next one, so that devices
    never wait for it. Saving comes before evaluating: what is interrupted is then evaluated again.

    Raises:
      Interrupted: a signal came, to whichever process; the state is saved.
      NotFinite: more than `options.max_skips` steps in a row were not finite.
    """
    e, parallel = job.experiment, job.parallel
    look = partial(_look, job, reporter, options.max_skips)
    first = int(state.step)
    pace = Pace(e.num_steps)
    pace.start(first)
    train_step = job.train_step()
    batches = job.train_batches(first)
    state = parallel.place_state(state)
    check = lambda: (watch.beat(), stop.check())
    dispatched = evaluation = None
    trained_s, objects_cut = 0.0, 0
    for step in range(first, e.num_steps + 1):
        last = step == e.num_steps
        watch.beat()
        signal = stop.poll()
        evaluate = last or (step > 0 and step % e.eval_every == 0)
        if last and e.reestimate_batch_norm:
            look(dispatched)
            dispatched = None
            with pace.pause():
                state = reestimate_batch_norm(job, state, beat=watch.beat)
        if evaluate or signal or (step > first and step % options.checkpoint_every == 0):
            look(dispatched)
            dispatched = None
            with pace.pause():
                checkpoints.save(step, parallel.gather_state(state))
                if evaluate:
                    evaluation = _evaluate(job, state, step, checkpoints, reporter, check)
        if signal:
            raise Interrupted(signal)
        if last:
            break
        begin = time.perf_counter()
        with pace.waiting():
            batch = next(batches)
        objects_cut += _objects_cut(batch)
        state, scalars = train_step(state, parallel.place_batch(batch))
        look(dispatched)
        dispatched = _Dispatched(step + 1, batch, parallel.first(scalars))
        if step == first:
            jax.block_until_ready(scalars)  # compilation: not a part of the pace
            pace.start(step + 1)
        elif (step + 1) % options.log_every == 0 or step + 1 == e.num_steps:
            if found := look(dispatched):
                _log(job, reporter, dispatched, found, pace, objects_cut)
                objects_cut = 0
            dispatched = None
        trained_s += (time.perf_counter() - begin) * (step > first)
    assert evaluation is not None
    images = max(e.num_steps - first - 1, 0) * e.train.batch_size
    rate = images / trained_s if trained_s > 0 else math.nan
    return Outcome(parallel.gather_state(state), evaluation, rate)


def _look(
    job: Job, reporter: Reporter, max_skips: int, dispatched: _Dispatched | None
) -> dict[str, float]:
    """Fetch the numbers of a step; none of a step that was skipped, which is said and recorded.

    Raises:
      NotFinite: it is one too many.
    """
    if dispatched is None:
        return {}
    step, batch, scalars = dispatched
    scalars = {name: np.asarray(value).item() for name, value in scalars.items()}
    in_a_row = int(scalars.pop('skipped'))
    if not in_a_row:
        return scalars
    names = _suspects(job, batch)
    record = {'epoch': step / job.steps_per_epoch, 'skipped': in_a_row, 'images': names}
    reporter.writers.scalars(step, 'train', {**scalars, **record})
    found = (
        f'step {step} was skipped ({in_a_row} in a row): loss {scalars["loss"]:g}, '
        f'gradient norm {scalars["grad_norm"]:g}. The images: {", ".join(names)}'
    )
    if in_a_row > max_skips:
        raise NotFinite(found)
    reporter.screen.warn(found)
    return {}


def _suspects(job: Job, batch: Batch) -> list[str]:
    """The images of a batch by name; where some have pixels that are not finite, these alone."""
    finite = np.isfinite(batch.image).reshape(len(batch.image), -1).all(axis=1)
    everyone = processes.gather({'ids': batch.image_id, 'finite': finite})
    ids, finite = (np.concatenate([part[name] for part in everyone]) for name in everyone[0])
    ids = ids if finite.all() else ids[~finite]
    return [job.train_source.name(int(i)) for i in ids]


def _objects_cut(batch: Batch) -> int:
    """Objects for which a batch had no places."""
    known = batch.instances
    return 0 if known is None or known.cut is None else int(np.sum(known.cut))


def _log(
    job: Job,
    reporter: Reporter,
    done: _Dispatched,
    scalars: Mapping[str, float],
    pace: Pace,
    objects_cut: int,
) -> None:
    """Write a step's numbers; `objects_cut` are those since the last record."""
    e, step, batch = job.experiment, done.step, done.batch
    speed = pace.report(step, e.train.batch_size)
    reporter.screen.step(
        step, e.num_steps, loss=scalars['loss'], learning_rate=scalars['learning_rate'], speed=speed
    )
    values = {**scalars, 'images_per_s': speed.images_per_s, 'wait': speed.wait}
    if job.train_source.bad.may_be_replaced:
        values['bad_samples'] = len(job.train_source.bad)
    if batch.instances is not None:
        values['objects_cut'] = objects_cut
    reporter.writers.scalars(step, 'train', {'epoch': step / job.steps_per_epoch, **values})


def _evaluate(
    job: Job,
    state: Any,
    step: int,
    checkpoints: Checkpointer,
    reporter: Reporter,
    check: Callable[[], object],
) -> Evaluation:
    """Evaluate, mark the best checkpoint, write and draw. Raises what `check` raises."""
    e = job.experiment
    name = job.evaluation.best_metric
    found = job.evaluate(job.parallel.gather_state(state), samples=6, check=check)
    best = checkpoints.mark_best(step, found.metrics[name], name)
    reporter.screen.evaluation(step, e.eval.split, found.metrics, best=best)
    if said := report.no_room(job, found):
        reporter.screen.line(f'  {said}')
    per_class = report.per_class(job, found)
    values = {'epoch': step / job.steps_per_epoch, **found.metrics, **per_class}
    reporter.writers.scalars(step, e.eval.split, values)
    reporter.on_evaluation(step, found)
    return found
