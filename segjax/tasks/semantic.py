"""Semantic segmentation: a class for every pixel."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from segjax import ops
from segjax.losses import Criterion, CrossEntropy, head_weights
from segjax.metrics import Confusion, confusion
from segjax.types import Array, Batch, SegmentationOutput, UserError

Variables = dict[str, Any]
Terms = dict[str, tuple[Array, Array]]
Step = Array | int
Score = Literal['image', 'components', 'watershed', 'isbi', 'trimap', 'boundary']
BestMetric = Literal[
    'mean_iou', 'pixel_accuracy', 'mean_accuracy', 'fw_iou', 'image_iou', 'image_dice'
]


def two_classes(logits: Array) -> Array:
    """One sigmoid channel as a softmax of two: `softmax([0, z]) = [1 - sigmoid(z), sigmoid(z)]`."""
    if logits.shape[-1] > 1:
        return logits
    return jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)


@dataclasses.dataclass(frozen=True)
class Semantic:
    """The task of semantic models.

    Attributes:
      criterion: the loss of a head.
      supervision: the weights of several heads: 'given' takes 1 for the main head and aux_weights
        for the others; 'mean', 'sum', 'halving' and 'ramp' are explained in losses/supervision.py,
        and are the plain loss where the model has one head.
      aux_weights: factor of each supervised head besides the main one, from shallow to deep; empty
        leaves such heads unsupervised.
      supervision_steps: after how many steps 'ramp' has come down to the main head; 0: those of the
        training.
      head: which head predicts: 'main', the mean of all heads' probabilities, or '1', '2', ... for
        a supervised head counted from the shallowest.
      scores: what evaluation measures besides, of whole pictures (evaluate/host_scores.py).
      best_metric: what decides between checkpoints, the higher the better.
    """

    criterion: Criterion = CrossEntropy()
    supervision: Literal['given', 'mean', 'sum', 'halving', 'ramp'] = 'given'
    aux_weights: tuple[float, ...] = ()
    supervision_steps: int = 0
    head: Literal['main', 'mean', '1', '2', '3', '4'] = 'main'
    scores: tuple[Score, ...] = ()
    best_metric: BestMetric = 'mean_iou'

    def __post_init__(self):
        if self.best_metric.startswith('image') and 'image' not in self.scores:
            raise UserError(f'--best_metric={self.best_metric} is measured with --scores=image.')

    def loss(
        self, model: nn.Module, variables: Variables, batch: Batch, key: Array, step: Step = 0
    ) -> tuple[Terms, Variables]:
        """The loss terms as (sum, count) over this batch, and the updated non-parameter variables.

        The step adds sums and counts over devices and microbatches, divides, and adds the terms up.
        `step` is the number of steps done, for a criterion that changes on the way.
        """
        mutable = [name for name in variables if name != 'params']
        output, updates = model.apply(
            variables, batch.image, train=True, rngs={'dropout': key}, mutable=mutable
        )
        *aux_factors, factor = self._factors(len(output.aux), step)
        terms = self._terms(output.logits, batch, step, factor)
        for i, (factor, logits) in enumerate(zip(aux_factors, output.aux, strict=False), start=1):
            found = self._terms(logits, batch, step, factor)
            for name, term in found.items():
                terms[f'aux{i}' if len(found) == 1 else f'aux{i}_{name}'] = term
        return terms, dict(updates)

    def _factors(self, num_aux: int, step: Step) -> tuple[Array | float, ...]:
        """Of the auxiliary heads that are supervised, and of the main one."""
        if self.supervision != 'given':
            return head_weights(
                self.supervision, num_aux + 1, step=step, steps=self.supervision_steps
            )
        if self.aux_weights and len(self.aux_weights) != num_aux:
            raise UserError(f'{len(self.aux_weights)} aux_weights for {num_aux} auxiliary heads')
        return (*self.aux_weights, 1.0)

    def _terms(self, logits: Array, batch: Batch, step: Step, factor: Array | float) -> Terms:
        size = logits.shape[1:3]
        weight = None if batch.weight is None else ops.center_crop(batch.weight, size)
        label = ops.center_crop(batch.label, size)
        found = self.criterion.terms(two_classes(logits), label, weight, step)
        return {name: (factor * jnp.sum(s), jnp.sum(c)) for name, (s, c) in found.items()}

    def predict(self, model: nn.Module, variables: Variables, image: Array) -> Array:
        """Class probabilities `b h w k` at the model's output size."""
        output: Any = model.apply(variables, image, train=False)
        return self.probabilities(output)

    def probabilities(self, output: SegmentationOutput) -> Array:
        """Those of the chosen head."""
        heads = (*output.aux, output.logits)
        if self.head == 'mean':
            return sum(jax.nn.softmax(two_classes(h)) for h in heads) / len(heads)
        index = -1 if self.head == 'main' else int(self.head) - 1
        if index >= len(heads):
            raise UserError(f'head {self.head} was asked for; the model has {len(heads)}')
        return jax.nn.softmax(two_classes(heads[index]))

    def score(self, probabilities: Array, batch: Batch) -> dict[str, Array]:
        """What evaluation keeps of each image: its confusion matrix, and `b t` sums and counts of
        the t terms of the loss, that of all pixels, easy ones too."""
        prediction = jnp.argmax(probabilities, axis=-1).astype(jnp.int32)
        k = probabilities.shape[-1]
        tiny = jnp.finfo(probabilities.dtype).tiny
        criterion = self.criterion.of_all_pixels()
        terms = criterion.terms(jnp.log(probabilities + tiny), batch.label, batch.weight)
        loss, count = (jnp.stack(parts, axis=-1) for parts in zip(*terms.values(), strict=True))
        counts = confusion(batch.label, prediction, num_classes=k)
        return {'prediction': prediction, 'confusion': counts, 'loss': loss, 'count': count}

    def evaluator(self, num_classes: int) -> SemanticEvaluator:
        """An empty host evaluator for `num_classes` classes, the background among them."""
        return SemanticEvaluator(num_classes)


class SemanticEvaluator:
    """Gathers the scores of images on the host, each image once; their order does not matter."""

    def __init__(self, num_classes: int):
        self.confusion = Confusion(num_classes)
        self._losses: list[np.ndarray] = []  # of each image, `t`
        self._counts: list[np.ndarray] = []

    @property
    def scores(self) -> dict[str, np.ndarray]:
        """All that was added, as `update` of another evaluator takes it."""
        losses, counts = np.array(self._losses), np.array(self._counts)
        return {'confusion': self.confusion.counts, 'loss': losses, 'count': counts}

    def update(self, scores: dict[str, Any]) -> None:
        """Add the scores of some images (numpy, leading axis b)."""
        self.confusion.update(scores['confusion'])
        self._losses += list(np.asarray(scores['loss'], np.float64))
        self._counts += list(np.asarray(scores['count'], np.float64))

    def merge(self, other: SemanticEvaluator) -> None:
        """Add what another evaluator saw."""
        self.update(other.scores)

    def compute(self) -> dict[str, float]:
        """`loss` and the scores of `metrics.Confusion`. The same bits for any order of images."""
        terms = zip(zip(*self._losses, strict=True), zip(*self._counts, strict=True), strict=True)
        loss = sum(math.fsum(part) / max(math.fsum(count), 1) for part, count in terms)
        return {'loss': float(loss), **self.confusion.compute()}
