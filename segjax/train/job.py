"""A job: an experiment with everything that is made from it before the first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp

from segjax import processes
from segjax.data import folds, normalize
from segjax.data.dataset import Info, Roots, Source
from segjax.data.detection import DetectionEval
from segjax.data.pipeline import load_readable
from segjax.evaluate import Evaluation, Inference, InstanceEvaluation, SemanticEvaluation
from segjax.sharding import Devices, Parallelism, ShardedJit, parallelism
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment, bind
from segjax.train.heights import check_height
from segjax.train.state import TrainState, init_state, state_from
from segjax.train.step import make_train_step
from segjax.types import Batch, UserError


@dataclasses.dataclass(frozen=True)
class Job:
    """What the modes work with.

    Attributes:
      experiment: bound to its data (the number of classes is known).
      info: class names and palette.
      train_source, eval_source: the samples.
      mean, std: normalisation of an image, in its own units.
      parallel: how a step is spread over devices.
      evaluation: compiled when first called.
      num_threads: that read and augment.
    """

    experiment: Experiment
    info: Info
    train_source: Source
    eval_source: Source
    mean: tuple[float, ...]
    std: tuple[float, ...]
    parallel: Parallelism
    evaluation: SemanticEvaluation | InstanceEvaluation
    num_threads: int

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """Of the batch of one that the model is initialised and measured with."""
        return (1, *self.experiment.train.crop, self.experiment.dataset.channels)

    @property
    def steps_per_epoch(self) -> float:
        """A pass over the training images, in steps."""
        return len(self.train_source) / self.experiment.train.batch_size

    def initial_state(self) -> TrainState:
        """The state at step 0, the same for a given seed.

        One program, compiled with little optimization: it runs once, and most of its time would go
        into the compiler.
        """
        return jax.jit(self._make_state, compiler_options={'xla_backend_optimization_level': 1})()

    def state_of(self, variables: dict[str, Any]) -> TrainState:
        """The state at step 0 with given values in place of random ones."""
        e = self.experiment
        extra = {name: tree for name, tree in variables.items() if name != 'params'}
        return state_from(
            extra, variables['params'], e.optimizer, num_steps=e.num_steps, seed=e.seed
        )

    def abstract_state(self) -> TrainState:
        """Its shapes and dtypes; nothing is computed."""
        return jax.eval_shape(self._make_state)

    def with_network(self, experiment: Experiment) -> Job:
        """The job on the same data, with another model or task."""
        statistics = self.mean, self.std
        evaluation = _make_evaluation(experiment, self.info, self.eval_source, statistics)
        return dataclasses.replace(self, experiment=experiment, evaluation=evaluation)

    def _make_state(self) -> TrainState:
        e = self.experiment
        image = jax.ShapeDtypeStruct(self.image_shape, jnp.float32)
        return init_state(e.model, e.optimizer, num_steps=e.num_steps, image=image, seed=e.seed)

    def train_step(self) -> Callable:
        """The compiled step over all devices."""
        e = self.experiment
        step = make_train_step(
            e.model,
            e.task,
            e.optimizer,
            num_steps=e.num_steps,
            mean=self.mean,
            std=self.std,
            accumulate=e.accumulate,
            freeze_batch_norm=e.freeze_batch_norm,
            axis_name=self.parallel.axis_name,
        )
        return self.parallel.compile(step)

    def train_batches(self, start: int) -> Iterator[Batch]:
        """Host batches from step `start` on; of several processes each gets its own rows."""
        return self.experiment.train.batches(
            self.train_source,
            seed=self.experiment.seed,
            start=start,
            shard=processes.shard(),
            fill=self.mean,
            num_threads=self.num_threads,
        )

    def eval_batches(self) -> Iterator[Batch]:
        """Host batches of every evaluated image, once; shared out among several processes."""
        pipeline = self.experiment.eval
        return pipeline.batches(
            self.eval_source,
            rows=self.evaluation.rows(-(-pipeline.batch_size // jax.process_count())),
            shard=processes.shard(),
            fill=self.mean,
            num_threads=self.num_threads,
        )

    def evaluate(
        self,
        state: TrainState,
        *,
        batches: Iterator[Batch] | None = None,
        samples: int = 0,
        check: Callable[[], object] = lambda: None,
    ) -> Evaluation:
        """Metrics of a state (given once, not per device), and some predictions, evenly spread.

        Of `batches` that are not the whole split, only the metrics of pixels.
        """
        evaluated = self.experiment.eval.indices(self.eval_source)
        places = (i * len(evaluated) // samples for i in range(samples))
        return self.evaluation(
            state.variables,
            self.eval_batches() if batches is None else batches,
            sample_ids=frozenset(evaluated[place] for place in places),
            host_scores=batches is None,
            check=check,
        )


def _check_microbatches(experiment: Experiment, num_devices: int) -> None:
    """Raises UserError when microbatches cannot be equal, also on every device."""
    n, batch_size = experiment.accumulate, experiment.train.batch_size
    if n < 1:
        raise UserError(f'--accumulate={n}: must be at least 1.')
    if batch_size % (n * num_devices):
        on = f' on {num_devices} devices' if num_devices > 1 else ''
        least, share = n * num_devices, batch_size // num_devices
        fewer = next(k for k in range(min(n, share), 0, -1) if share % k == 0)
        raise UserError(
            f'a batch of {batch_size} images cannot be cut into {n} equal microbatches{on}; '
            f'try --accumulate={fewer}, or '
            f'--train.batch_size={max(round(batch_size / least), 1) * least}'
        )


def _check_criterion(experiment: Experiment, kind: str) -> None:
    """Raises UserError when images may not be taken apart, and would be."""
    if not isinstance(experiment.task, Semantic) or experiment.task.criterion.is_sum_over_images:
        return
    if experiment.accumulate > 1 or kind == 'pmap':
        what = '--parallelism=pmap' if kind == 'pmap' else f'--accumulate={experiment.accumulate}'
        raise UserError(
            f'{what} takes a batch apart, and a loss over all of it is no sum over its images; '
            f'give --over=image.'
        )


def _share(
    experiment: Experiment, kind: Literal['jit', 'pmap'], shard_height: int, devices: Devices | None
) -> Parallelism:
    """Raises UserError when devices cannot share the batches, or the images, of a training."""
    parallel = parallelism(kind, experiment.train.batch_size, devices, shard_height=shard_height)
    _check_microbatches(experiment, parallel.batch_parts)
    _check_criterion(experiment, kind)
    if shard_height > 1:
        shape = (1, *experiment.train.crop, experiment.dataset.channels)
        check_height(experiment.model, shape, shard_height)
    return parallel


def _check_batch_norm(experiment: Experiment) -> None:
    """Raises UserError when the statistics of a model that has none are to be measured."""
    e, number = experiment, experiment.reestimate_batch_norm
    if number < 0:
        raise UserError(f'--reestimate_batch_norm={number}: a number of batches, or 0.')
    if not number:
        return
    image = jax.ShapeDtypeStruct((1, *e.train.crop, e.dataset.channels), jnp.float32)
    variables = jax.eval_shape(lambda x: e.model.init(jax.random.key(0), x, train=False), image)
    if 'batch_stats' not in variables:
        raise UserError(
            f'--reestimate_batch_norm={number}: {type(e.model).__name__} as it is set has no batch '
            'normalisation; set it to 0.'
        )


def _sources(experiment: Experiment, roots: Roots) -> tuple[Source, Source]:
    """What is trained on, and what is evaluated. Raises UserError when either is empty."""
    e = experiment
    train_source = e.dataset.source(e.train.split, roots)
    if e.folds:
        return folds.cut(train_source, folds=e.folds, fold=e.fold)
    eval_source = e.dataset.source(e.eval.split, roots)
    for pipeline, source in ((e.train, train_source), (e.eval, eval_source)):
        if not len(source):
            raise UserError(f'the split {pipeline.split!r} has no images')
    return train_source, eval_source


def _make_evaluation(
    experiment: Experiment,
    info: Info,
    source: Source,
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    devices: Devices | None = None,
) -> SemanticEvaluation | InstanceEvaluation:
    mean, std = statistics
    how = experiment.eval
    if isinstance(how, DetectionEval):
        return InstanceEvaluation(
            experiment.model,
            experiment.task,
            mean=mean,
            std=std,
            num_classes=len(info.class_names),
            source=source,
            max_dets=how.max_dets,
            devices=devices,
        )
    return SemanticEvaluation(
        experiment.model,
        experiment.task,
        mean=mean,
        std=std,
        num_classes=len(info.class_names),
        source=source,
        inference=Inference.of(how),
        devices=devices,
    )


def make_job(
    experiment: Experiment,
    roots: Roots,
    *,
    kind: Literal['jit', 'pmap'] = 'jit',
    shard_height: int = 1,
    num_threads: int = 2,
    devices: Devices | None = None,
    trains: bool = True,
) -> Job:
    """Find the data (preparing it when needed) and lay out the devices.

    Args:
      trains: False for evaluation alone, to which it is all one whether devices can share the
        batches of a training.

    Raises:
      UserError: data that is absent or does not fit the model; a batch, or with `shard_height` an
        image, that devices cannot share.
    """
    info = experiment.dataset.info(roots)
    experiment = bind(experiment, info)
    _check_batch_norm(experiment)
    train_source, eval_source = _sources(experiment, roots)
    statistics = normalize.statistics(
        experiment.dataset.normalize,
        load_readable(train_source, 0).image.dtype,
        channels=experiment.dataset.channels,
    )
    mean, std = statistics
    evaluation = _make_evaluation(experiment, info, eval_source, statistics, devices)
    parallel = _share(experiment, kind, shard_height, devices) if trains else ShardedJit(devices)
    return Job(
        experiment=experiment,
        info=info,
        train_source=train_source,
        eval_source=eval_source,
        mean=mean,
        std=std,
        parallel=parallel,
        evaluation=evaluation,
        num_threads=num_threads,
    )
