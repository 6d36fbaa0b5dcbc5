"""The experiment: the object itself, not a description of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn

from segjax.data.dataset import Dataset, Info
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.optim import Optimizer
from segjax.tasks import Semantic
from segjax.types import UserError


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A model, what it learns, from which data, and how.

    Attributes:
      model: the network.
      task: loss, prediction and metrics: one of segjax.tasks.
      optimizer: with its learning-rate schedule.
      dataset: what the data is.
      train: how training is fed.
      eval: how evaluation is fed.
      num_steps: length of the training, in steps of one batch.
      eval_every: steps between evaluations; the last step is always evaluated.
      seed: of the initial values, the order of the data, augmentation and dropout.
      accumulate: the gradient of a batch is accumulated from so many microbatches, one after
        another; they need the memory of one, and batch normalisation sees only one at a time.
      folds: cross-validation for small data: the training split is cut into so many parts
        (data/folds.py), part number `fold` is evaluated in place of `eval.split`, the others train.
        0: the splits are what they are.
      fold: counted from 0.
      freeze_batch_norm: normalise by the running averages in training, too, and keep them; scales
        and biases are still trained. For weights of one's own, where batches have to be small.
      reestimate_batch_norm: after the last step the running averages are replaced by the statistics
        of so many training batches; 0 keeps them.
    """

    model: nn.Module
    task: Any
    optimizer: Optimizer
    dataset: Dataset
    train: TrainPipeline
    eval: EvalPipeline
    num_steps: int
    eval_every: int = dataclasses.field(default=500, metadata={'compared': False})
    seed: int = 0
    accumulate: int = 1
    folds: int = 0
    fold: int = 0
    freeze_batch_norm: bool = False
    reestimate_batch_norm: int = 0


def bind(experiment: Experiment, info: Info) -> Experiment:
    """The experiment with the number of classes that its data has, where the model leaves it open
    (0), the learning rate for its batches, and a ramp of supervision as long as the training where
    the task leaves it open (0).

    A semantic model with one class is a sigmoid for the foreground of two.

    Raises:
      UserError: the model says another number of classes than the data.
    """
    optimizer = experiment.optimizer.scaled(experiment.train.batch_size)
    task = experiment.task
    if isinstance(task, Semantic) and task.supervision_steps == 0:
        task = dataclasses.replace(task, supervision_steps=experiment.num_steps)
    experiment = dataclasses.replace(experiment, optimizer=optimizer, task=task)
    there, wanted = len(info.class_names), experiment.model.num_classes
    if wanted == 0:
        return dataclasses.replace(experiment, model=experiment.model.clone(num_classes=there))
    is_sigmoid = (wanted, there) == (1, 2) and isinstance(experiment.task, Semantic)
    if wanted != there and not is_sigmoid:
        raise UserError(
            f'the data has {there} classes ({", ".join(info.class_names)}), the model {wanted}; '
            f'give --model.num_classes={there}'
        )
    return experiment
