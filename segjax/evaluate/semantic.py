"""Evaluation of semantic segmentation at the labels' own resolution.

The counts do not depend on how images are grouped. On a CPU every image goes through a program of
its own, one image a device, so that its logits, and with them the counts, are the same bits for any
batch size and any number of devices. On accelerators whole batches are computed: counts are exact
given equal logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from segjax import ops, processes
from segjax.data.dataset import Source
from segjax.evaluate.host_scores import HOST_SCORES, HostScores, Seen
from segjax.evaluate.tiles import ONE_PASS, Inference, predict_picture
from segjax.sharding import Devices, RowByRow
from segjax.tasks import Semantic
from segjax.types import Array, Batch


def probabilities(
    model: nn.Module,
    task: Semantic,
    variables: dict,
    image: Array,
    size: tuple[int, int],
    *,
    inference: Inference = ONE_PASS,
) -> Array:
    """Class probabilities `b h w k` for every pixel of images of any size, resized to `size`.

    Where the model needs a larger input (a margin that unpadded convolutions eat, or a multiple of
    its stride) the image is continued by mirroring. Tiles and orientations: see tiles.py.
    """
    predict = lambda image: task.predict(model, variables, image)
    found = predict_picture(model, predict, image, inference)
    return found if size == image.shape[1:3] else ops.resize_bilinear(found, size)


class Sample(NamedTuple):
    """One image with what was made of it, on the host, without padding."""

    image: np.ndarray  # h w c
    label: np.ndarray  # h w
    prediction: np.ndarray  # h w
    image_id: int


class Evaluation(NamedTuple):
    """What an evaluation found."""

    metrics: dict[str, float]
    evaluator: Any  # the task's, with the counts
    num_images: int
    samples: list[Any]  # Sample, or of objects InstanceSample
    host: dict[str, HostScores]  # by the names of the task's scores


class SemanticEvaluation:
    """A compiled evaluation; each shape of image is compiled once.

    Args:
      mean, std: normalisation of the image, in its own units.
      num_classes: of the data, the background among them.
      source: of the images, for scores of whole pictures; not needed if the task has none.
      inference: tiles and orientations of each image.
      devices: default: all of this process.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Semantic,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        num_classes: int,
        source: Source | None = None,
        inference: Inference = ONE_PASS,
        devices: Devices | None = None,
    ):
        self._task, self.best_metric = task, task.best_metric
        self._num_classes = num_classes
        self._source = source

        def score(variables: dict, batch: Batch) -> dict[str, Array]:
            image = ops.normalize(batch.image, mean, std)
            size = batch.image.shape[1:3] if batch.label is None else batch.label.shape[1:3]
            found = probabilities(model, task, variables, image, size, inference=inference)
            kept = {'probabilities': found} if task.scores else {}
            return {**task.score(found, batch), **kept}

        self._score = RowByRow(score, devices)

    def rows(self, batch_size: int) -> int:
        """How many images are computed at once: one a device on a CPU (see the file head)."""
        return self._score.rows(batch_size)

    def __call__(
        self,
        variables: dict,
        batches: Iterable[Batch],
        *,
        sample_ids: frozenset[int] = frozenset(),
        host_scores: bool = True,
        check: Callable[[], object] = lambda: None,
    ) -> Evaluation:
        """Evaluate; each image of `batches` counts once.

        Args:
          batches: of `rows(...)` rows each.
          sample_ids: images whose predictions are wanted.
          host_scores: whether the task's scores of whole pictures are wanted.
          check: called between batches; may raise.
        """
        variables = self._score.place_state(variables)
        evaluator = self._task.evaluator(self._num_classes)
        seen: set[int] = set()
        samples: list[Sample] = []
        host = {name: HOST_SCORES[name]() for name in self._task.scores if host_scores}
        for batch in batches:
            check()
            scores = self._score(variables, batch)
            ids = np.asarray(batch.image_id)[np.asarray(batch.valid)]
            if seen.intersection(ids.tolist()):
                raise ValueError(f'images {sorted(seen.intersection(ids.tolist()))} came twice')
            seen.update(ids.tolist())
            kept = ('confusion', 'loss', 'count')
            evaluator.update({name: np.asarray(scores[name])[batch.valid] for name in kept})
            if host:
                self._update(host, batch, np.asarray(scores['probabilities']))
            if sample_ids.intersection(ids.tolist()):
                samples += _samples(batch, np.asarray(scores['prediction']), sample_ids)
        if jax.process_count() > 1:
            evaluator, seen, samples = self._gather(evaluator, seen, samples)
            _merge(host)
        metrics = evaluator.compute()
        for scores in host.values():
            metrics |= scores.compute()
        return Evaluation(metrics, evaluator, len(seen), samples, host)

    def _update(self, host: dict[str, HostScores], batch: Batch, found: np.ndarray) -> None:
        """Show the pictures of a batch to those that score whole ones."""
        assert self._source is not None
        for row in np.flatnonzero(batch.valid):
            image_id, (h, w) = int(batch.image_id[row]), batch.size[row]
            seen = Seen(
                image_id=image_id,
                group=self._source.group(image_id),
                label=np.asarray(batch.label[row])[:h, :w],
                instances=self._source[image_id].instances,
                probabilities=found[row, :h, :w],
            )
            for scores in host.values():
                scores.update(seen)

    def _gather(
        self, evaluator: Any, seen: set[int], samples: list[Sample]
    ) -> tuple[Any, set[int], list[Sample]]:
        """What all processes found, on each of them."""
        everyone = processes.gather({**evaluator.scores, 'seen': np.array(sorted(seen), np.int64)})
        evaluator = self._task.evaluator(self._num_classes)
        all_seen: set[int] = set()
        for scores in everyone:
            ids = scores.pop('seen').tolist()
            if twice := sorted(all_seen.intersection(ids)):
                raise ValueError(f'images {twice} came twice')
            all_seen.update(ids)
            evaluator.update(scores)
        arrays = {
            f'{i}/{name}': np.asarray(part)
            for i, sample in enumerate(samples)
            for name, part in sample._asdict().items()
        }
        samples = []
        for found in processes.gather(arrays):
            for i in range(len(found) // len(Sample._fields)):
                *pictures, image_id = (found[f'{i}/{name}'] for name in Sample._fields)
                samples.append(Sample(*pictures, image_id=int(image_id)))
        return evaluator, all_seen, samples


def _merge(host: dict[str, HostScores]) -> None:
    """Add what the other processes gathered."""
    for scores in host.values():
        for arrays in processes.gather(scores.arrays):
            scores.merge(arrays)


def _samples(batch: Batch, prediction: np.ndarray, wanted: frozenset[int]) -> list[Sample]:
    """The wanted rows of a batch, cut to the pictures in their canvases."""
    samples = []
    for row in np.flatnonzero(batch.valid):
        image_id = int(batch.image_id[row])
        if image_id not in wanted:
            continue
        label = batch.label[row]
        h, w = batch.size[row]
        # The image may have been shrunk for the network; its canvas is the label's, scaled.
        scale = [
            side / full for side, full in zip(batch.image.shape[1:3], label.shape, strict=True)
        ]
        image = batch.image[row, : round(h * scale[0]), : round(w * scale[1])]
        samples.append(Sample(image, label[:h, :w], prediction[row, :h, :w], image_id))
    return samples
