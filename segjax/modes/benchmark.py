"""--mode=benchmark: how fast an experiment runs on this machine, and where its time goes.

The training step and inference are timed on a batch that already lies on the devices, each run
waited for; compilation without the cache on disk. Training with data and the input pipeline alone
follow. --input=HxW measures another input size on noise: then no data is needed, and nothing is
said about reading it.

FLOP/s are nominal, by formula: two operations for each multiply-accumulate of the convolutions
(`macs_per_image` of --mode=summary), once for inference and three times for a training step
(forward, and the gradients by input and by weights). Rematerialisation, normalisation and frozen
layers, whose gradients are not computed, are not looked at.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from jax.stages import Compiled

from segjax import ops
from segjax.config import RunOptions
from segjax.data.dataset import Dataset, Info, Roots, Source, color_map, make_sample
from segjax.layers.cost import layer_costs
from segjax.sharding import ShardedJit
from segjax.train import machine, opening, provenance
from segjax.train.experiment import Experiment
from segjax.train.job import Job, make_job
from segjax.train.memory import compiled_memory
from segjax.train.rundir import output_folder, write_json
from segjax.train.screen import Pace, Screen, quantity
from segjax.train.state import TrainState
from segjax.types import Array, Batch, Detections, Instances

TIMED_S = 10.0  # each thing is measured for about this long
RUNS = (10, 200)  # but at least and at most so many times
LOOP_STEPS = (5, 30)  # of the loop with data, likewise
WARM_UP = 2  # runs before the first that counts

TRAINING, INFERENCE = 3, 1  # passes of the multiply-accumulates
FLOP_RULE = (
    'nominal: 2 for each multiply-accumulate of the convolutions (macs_per_image), once for '
    'inference, 3 times for a training step'
)

Found = dict[str, Any]

# --- Noise in the place of data ------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Noise(Dataset):
    """Random 8-bit pictures with random labels and objects, in every split.

    Attributes:
      size: height and width.
      num_classes: the background among them.
      num_images: in a split.
    """

    size: tuple[int, int] = (256, 256)
    num_classes: int = 2
    num_images: int = 64

    def info(self, roots: Roots) -> Info:
        names = tuple(f'class {i}' for i in range(self.num_classes))
        return Info(names, color_map(self.num_classes))

    def splits(self, roots: Roots) -> tuple[str, ...]:
        return ('train', 'val')

    def source(self, split: str, roots: Roots) -> Source:
        return _NoiseSource(self)


def _squares(rng: np.random.Generator, size: tuple[int, int], num_classes: int) -> Instances:
    """Eight squares of a quarter of the shorter side, at random places and of random classes."""
    n, side = 8, max(min(size) // 4, 1)
    corner = rng.integers(0, [size[1] - side + 1, size[0] - side + 1], (n, 2))
    return Instances(
        boxes=np.concatenate([corner, corner + side], axis=1).astype(np.float32),
        classes=rng.integers(1, num_classes, n, np.int32),
        masks=tuple(np.ones((side, side), np.uint8) for _ in range(n)),
        crowd=np.zeros(n, bool),
        valid=np.ones(n, bool),
    )


class _NoiseSource(Source):
    def __init__(self, dataset: Noise):
        self._dataset = dataset
        self.normalize = dataset.normalize

    def __len__(self) -> int:
        return self._dataset.num_images

    def __getitem__(self, index: int) -> Batch:
        rng, of = np.random.default_rng(index), self._dataset
        image = rng.integers(0, 256, (*of.size, of.channels), np.uint8)
        label = rng.integers(0, of.num_classes, of.size, np.int32)
        objects = _squares(rng, of.size, of.num_classes)
        return make_sample(image, label, index=index, normalize=self.normalize, instances=objects)

    def name(self, index: int) -> str:
        return f'noise/{index}'

    def size(self, index: int) -> tuple[int, int]:
        return self._dataset.size


def _on_noise(experiment: Experiment, size: tuple[int, int], roots: Roots) -> Experiment:
    """The experiment on noise of `size`, not augmented, as batches of the same size."""
    e = experiment
    classes = e.model.num_classes or len(e.dataset.info(roots).class_names)
    noise = Noise(e.dataset.normalize, e.dataset.channels, size=size, num_classes=max(classes, 2))
    train = dataclasses.replace(
        e.train, crop=size, scale=1.0, transforms=(), max_class_share=1.0, margin=0
    )
    return dataclasses.replace(e, dataset=noise, train=train)


# --- Measuring -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _no_compilation_cache() -> Iterator[None]:
    """Programs are compiled, not read from disk, so that the time taken is that of compiling."""

    def switch(enabled: bool) -> None:
        jax.config.update('jax_enable_compilation_cache', enabled)
        compilation_cache.reset_cache()  # JAX asks the setting once and remembers the answer

    before = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    switch(False)
    try:
        yield
    finally:
        switch(before)


def _compile(function: Callable, *arguments: Any) -> tuple[Compiled, dict[str, float]]:
    """`function`, jitted, as a program for these arguments; and what making it took."""
    with _no_compilation_cache():
        begin = time.perf_counter()
        lowered = function.lower(*arguments)  # pyright: ignore[reportFunctionMemberAccess]
        middle = time.perf_counter()
        compiled = lowered.compile()
        end = time.perf_counter()
    return compiled, {'trace_and_lower_s': middle - begin, 'compile_s': end - middle}


def _milliseconds(seconds: float) -> str:
    return f'{1e3 * seconds:,.{2 if seconds < 0.1 else 0}f}'


def _times(limits: tuple[int, int], seconds: float) -> int:
    """How often something that takes `seconds` is done."""
    return int(np.clip(TIMED_S / max(seconds, 1e-6), *limits))


def _time(call: Callable[[], Any], screen: Screen) -> np.ndarray:
    """Seconds of each call, its results waited for. Says beforehand how long it will take."""

    def once() -> float:
        begin = time.perf_counter()
        jax.block_until_ready(call())
        return time.perf_counter() - begin

    expected = min(once() for _ in range(WARM_UP))
    runs = _times(RUNS, expected)
    screen.line(f'  {runs} runs of about {_milliseconds(expected)} ms')
    return np.array([once() for _ in range(runs)])


def _speed(seconds: np.ndarray, *, images: int, macs: int, passes: int) -> Found:
    """Median and spread; rates at the median.

    Args:
      images: of one run.
      macs: multiply-accumulates of one image and pass.
    """
    p10, median, p90, p95 = np.percentile(seconds, (10, 50, 90, 95)).tolist()
    rate = images / median
    return {
        'batch_size': images,
        'runs': len(seconds),
        'median_s': median,
        'p10_s': p10,
        'p90_s': p90,
        'p95_s': p95,
        'images_per_s': rate,
        'flop_per_s': 2 * passes * macs * rate,
    }


def _peak_memory() -> dict[str, int | None]:
    """The most bytes that this process has held so far, on the fullest device and on the host."""
    peaks = [(d.memory_stats() or {}).get('peak_bytes_in_use') for d in jax.local_devices()]
    known = [peak for peak in peaks if peak is not None]
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    host *= 1 if sys.platform == 'darwin' else 1024  # Linux counts kibibytes
    return {'device_bytes': max(known, default=None), 'host_bytes': host}


# --- What is measured ----------------------------------------------------------------------------


class _Training:
    """The compiled training step and the state that it was last given back."""

    def __init__(self, job: Job, batch: Batch):
        self._job = job
        self._state = job.parallel.place_state(job.initial_state())
        self._batch = job.parallel.place_batch(batch)
        self._step, self.compilation = _compile(job.train_step(), self._state, self._batch)
        self.memory = compiled_memory(self._step)

    @property
    def state(self) -> TrainState:
        """Given once."""
        return self._job.parallel.gather_state(self._state)

    def once(self, batch: Batch | None = None) -> tuple[TrainState, dict[str, Array]]:
        """One step on `batch`, from the host; without one, on the batch that is there already."""
        placed = self._batch if batch is None else self._job.parallel.place_batch(batch)
        self._state, scalars = self._step(self._state, placed)
        return self._state, scalars

    def in_loop(self, num_steps: int) -> Found:
        """Steps as in training: reading data beside them, looking at their numbers one step late.

        `wait` is the share of the time spent waiting for the next batch, as training reports it.
        """
        job, pace = self._job, Pace(num_steps)
        batches, before = job.train_batches(0), {}
        for i in range(-WARM_UP, num_steps):
            if i == 0:
                jax.block_until_ready(self._state)
                pace.start(0)
            with pace.waiting():
                batch = next(batches)
            _, scalars = self.once(batch)
            jax.device_get(before)
            before = job.parallel.first(scalars)
        jax.block_until_ready(self._state)
        speed = pace.report(num_steps, job.experiment.train.batch_size)
        return {'steps': num_steps, 'images_per_s': speed.images_per_s, 'wait': speed.wait}


def _input_pipeline(job: Job) -> Found:
    """Reading and augmenting alone: images a second, and a second of processor time."""
    batches, limit = job.train_batches(0), TIMED_S / 2
    for _ in range(WARM_UP):
        next(batches)
    count, wall, cpu = 0, time.perf_counter(), time.process_time()
    while count < RUNS[0] or time.perf_counter() - wall < limit:
        next(batches)
        count += 1
    images = count * job.experiment.train.batch_size
    return {
        'batches': count,
        'images_per_s': images / (time.perf_counter() - wall),
        'images_per_cpu_s': images / (time.process_time() - cpu),
        'num_threads': job.num_threads,
    }


def _inference(job: Job, screen: Screen, variables: dict, image: Array, *, macs: int) -> Found:
    """From raw pixels to classes, or detections, of a batch over all devices of `image`."""
    e = job.experiment

    @jax.jit
    def classes(variables: dict, image: Array) -> Array | Detections:
        found = e.task.predict(e.model, variables, ops.normalize(image, job.mean, job.std))
        if isinstance(found, Detections):
            return found
        return jnp.argmax(found, axis=-1).astype(jnp.int32)

    compiled, compilation = _compile(classes, variables, image)
    seconds = _time(lambda: compiled(variables, image), screen)
    speed = _speed(seconds, images=len(image), macs=macs, passes=INFERENCE)
    return {**speed, **compilation}


def _inferences(
    job: Job, screen: Screen, variables: dict, image: np.ndarray, *, macs: int
) -> Found:
    """Of the batch over all devices, and of its first image on one: its latency."""
    everywhere, one = ShardedJit(), jax.local_devices()[0]
    spread = everywhere.place_state(variables), everywhere.place_batch(Batch(image)).image
    single = jax.device_put((variables, image[:1]), one)
    return {
        'batch': _inference(job, screen, *spread, macs=macs),
        'single': _inference(job, screen, *single, macs=macs),
    }


def _measure(job: Job, screen: Screen, *, with_data: bool) -> Found:
    """Everything of benchmark.json that is measured."""
    e = job.experiment
    macs = sum(row.macs for row in layer_costs(e.model, job.image_shape))
    batch = next(job.train_batches(0))
    screen.line('Compiling the training step, then timing it.')
    training = _Training(job, batch)
    seconds = _time(training.once, screen)
    speed = _speed(seconds, images=e.train.batch_size, macs=macs, passes=TRAINING)
    found: Found = {
        'input_shape': list(batch.image.shape),
        'macs_per_image': macs,
        'flop_rule': FLOP_RULE,
        'train_step': {**speed, **training.compilation},
        'step_memory': training.memory,
        'peak_memory': _peak_memory(),
        'input_pipeline': None,
        'loop': None,
    }
    if with_data:
        screen.line('Training with data, and reading data alone.')
        found['loop'] = training.in_loop(_times(LOOP_STEPS, speed['median_s']))
        found['input_pipeline'] = _input_pipeline(job)
    screen.line('Inference.')
    found['inference'] = _inferences(job, screen, training.state.variables, batch.image, macs=macs)
    return found


# --- What is said --------------------------------------------------------------------------------


def _table(screen: Screen, found: Found) -> None:
    """A line for each program, then a line for each of the other facts."""
    names = {
        'training step': found['train_step'],
        'inference': found['inference']['batch'],
        'inference of one image': found['inference']['single'],
    }
    header = ('', 'images', 'median ms', 'p10', 'p90', 'p95', 'images/s', 'FLOP/s', 'compiled in s')
    times = ('median_s', 'p10_s', 'p90_s', 'p95_s')
    rows = [
        (
            name,
            str(row['batch_size']),
            *(_milliseconds(row[key]) for key in times),
            f'{row["images_per_s"]:,.1f}',
            quantity(row['flop_per_s']),
            f'{row["trace_and_lower_s"] + row["compile_s"]:.1f}',
        )
        for name, row in names.items()
    ]
    screen.table(header, rows)


def _facts(found: Found) -> dict[str, str]:
    """What is no program, in words."""
    peak, step, facts = found['peak_memory'], found['step_memory'], {}
    if step:
        parts = (f'{name.replace("_", " ")} {quantity(n)}B' for name, n in step.items())
        facts['memory of a step'] = ', '.join(parts) + ' (a device)'
    on_device = f'{quantity(peak["device_bytes"])}B on a device, ' if peak['device_bytes'] else ''
    facts['peak memory'] = f'{on_device}{quantity(peak["host_bytes"])}B of the process'
    if data := found['input_pipeline']:
        facts['input pipeline'] = (
            f'{data["images_per_s"]:,.0f} images/s with {data["num_threads"]} threads, '
            f'{data["images_per_cpu_s"]:,.0f} a second of processor time'
        )
    if loop := found['loop']:
        facts['with data'] = (
            f'{loop["images_per_s"]:,.1f} images/s, {100 * loop["wait"]:.0f}% of the time '
            'waiting for data'
        )
    return facts


def run(experiment: Experiment, options: RunOptions) -> int:
    """Measure, print the table and write `benchmark.json`; the exit code.

    The run directory is made where it is missing, but not claimed: training may still begin in it.
    """
    screen = Screen()
    folder = output_folder(options)
    cores = {'cores': os.cpu_count(), 'load_average': os.getloadavg()[0]}  # work of others
    machine.prepare()
    opening.describe_devices(screen)
    roots = Roots(options.raw_dir, options.data_dir)
    if options.input_size:
        experiment = _on_noise(experiment, options.input_size, roots)
    job = make_job(
        experiment,
        roots,
        kind=options.parallelism,
        shard_height=options.shard_height,
        num_threads=options.num_threads,
    )
    opening.describe_job(screen, job)
    found = _measure(job, screen, with_data=not options.input_size)
    shape = 'x'.join(map(str, found['input_shape']))
    screen.heading(f'{type(job.experiment.model).__name__} at {shape}')
    _table(screen, found)
    path = folder / 'benchmark.json'
    layout = {'parallelism': options.parallelism, 'shard_height': options.shard_height}
    what = {'exp': options.exp, **layout, **found}
    write_json(path, {**what, **cores, 'made_with': provenance.collect()})
    screen.facts({**_facts(found), 'written to': str(path)})
    return 0
