"""What is measured of an arm: the scores of every image at every level, and what a level costs."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from segjax import ops
from segjax.ablation.arm import Arm
from segjax.ablation.levels import Variables, levels, main_level
from segjax.evaluate import Sample
from segjax.evaluate.host_scores import RowScores
from segjax.layers.cost import layer_costs
from segjax.tasks import Instance
from segjax.train.job import Job

NUM_PICTURES = 6
WARM_UP = 3  # runs before the first that counts
RUNS, SECONDS = (10, 50), 20.0  # timed runs: 50, or fewer where they take longer than this

Row = dict[str, Any]


class Measured(NamedTuple):
    """Of one training."""

    # a level and an image each: arm, seed, fold, level, image, group, and iou, dice or the two APs
    rows: list[Row]
    samples: list[Sample]  # some images with what the whole network made of them; none of objects


def _place(arm: Arm, level: str, job: Job, image: int) -> Row:
    """What a row says beside its scores."""
    source = job.eval_source
    return {
        'arm': arm.name,
        'seed': arm.seed,
        'fold': arm.experiment.fold,
        'level': level,
        'image': source.name(image),
        'group': source.group(image),
    }


def _measure_objects(arm: Arm, job: Job, variables: Variables) -> Measured:
    """COCO's average precisions within each image that has objects.

    The network without masks has a mask AP of 0: it finds none.
    """
    evaluator = job.evaluation(dict(variables), job.eval_batches()).evaluator
    rows = []
    for i in sorted(evaluator.images):
        found = {kind: evaluator.scores(kind, [i]).ap() for kind in evaluator.kinds}
        if not np.isnan(found['box']):
            scores = {'mask_ap': found.get('mask', 0.0), 'box_ap': found['box']}
            rows.append({**_place(arm, main_level(job.experiment.model), job, i), **scores})
    return Measured(rows, [])


def measure(arm: Arm, job: Job, variables: Variables) -> Measured:
    """IoU and Dice of the foreground (`evaluate.host_scores.ImageScores`), native resolution; of
    objects the average precision of masks and boxes."""
    if isinstance(job.experiment.task, Instance):
        return _measure_objects(arm, job, variables)
    rows, samples = [], []
    for level, (there, own) in levels(job, variables).items():
        task = dataclasses.replace(there.experiment.task, scores=('image',))
        there = there.with_network(dataclasses.replace(there.experiment, task=task))
        ids = there.experiment.eval.indices(there.eval_source)
        wanted = [ids[i * len(ids) // NUM_PICTURES] for i in range(NUM_PICTURES)]
        shown = frozenset(wanted) if level == main_level(job.experiment.model) else frozenset()
        found = there.evaluation(dict(own), there.eval_batches(), sample_ids=shown)
        samples += found.samples
        scores = found.host['image']
        assert isinstance(scores, RowScores)
        rows += [
            {
                **_place(arm, level, there, i),
                'iou': scores.rows[i]['image_iou'],
                'dice': scores.rows[i]['image_dice'],
            }
            for i in ids
        ]
    return Measured(rows, sorted(samples, key=lambda sample: sample.image_id))


def _latencies(call: Any) -> np.ndarray:
    """Seconds of each call, its result waited for; the first calls, which compile, do not count."""

    def once() -> float:
        begin = time.perf_counter()
        jax.block_until_ready(call())
        return time.perf_counter() - begin

    expected = min(once() for _ in range(WARM_UP))
    runs = int(np.clip(SECONDS / max(expected, 1e-6), *RUNS))
    return np.array([once() for _ in range(runs)])


def cost(job: Job, variables: Variables) -> Row:
    """Parameters, multiply-accumulates, memory and latency of one image of the training's size.

    `params` are the live ones, those a saved model has; `memory_bytes` is XLA's account of the
    compiled forward pass: arguments, results and intermediate values; 0 where it gives none.
    """
    e, device = job.experiment, jax.local_devices()[0]

    def predict(variables: dict, image: jax.Array) -> jax.Array:
        return e.task.predict(e.model, variables, ops.normalize(image, job.mean, job.std))

    arguments = jax.device_put((dict(variables), jnp.zeros(job.image_shape, jnp.uint8)), device)
    compiled = jax.jit(predict).lower(*arguments).compile()
    seconds = _latencies(lambda: compiled(*arguments))
    memory = compiled.memory_analysis()
    parts = ('argument', 'output', 'temp')
    return {
        'input': list(job.image_shape),
        'params': sum(leaf.size for leaf in jax.tree.leaves(variables['params'])),
        'macs': sum(row.macs for row in layer_costs(e.model, job.image_shape)),
        'latency_p50_s': float(np.quantile(seconds, 0.5)),
        'latency_p95_s': float(np.quantile(seconds, 0.95)),
        'memory_bytes': sum(getattr(memory, f'{part}_size_in_bytes', 0) for part in parts),
        'device': device.device_kind if device.platform != 'cpu' else 'CPU',
    }


def save_samples(path: Path, samples: list[Sample]) -> None:
    """Keep some images with their predictions, so that they can be drawn again."""
    arrays = {
        f'{i}/{name}': np.asarray(part)
        for i, sample in enumerate(samples)
        for name, part in sample._asdict().items()
    }
    np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]


def load_samples(path: Path) -> list[Sample]:
    """What `save_samples` kept."""
    with np.load(path) as file:
        parts = {name: file[name] for name in file.files}
    return [
        Sample(**{name: parts[f'{i}/{name}'] for name in Sample._fields})
        for i in range(len(parts) // len(Sample._fields))
    ]
