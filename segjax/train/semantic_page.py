"""What the page of a run shows of class maps: metrics, classes, confusion, pictures."""

from __future__ import annotations

import jax
import numpy as np

from segjax.evaluate import Evaluation, Sample
from segjax.train import page, plots
from segjax.train.job import Job
from segjax.train.ranking import Ranking
from segjax.train.screen import share
from segjax.train.state import TrainState
from segjax.visualize import Row, image_iou, panel


def mean_iou(sample: Sample) -> float:
    """Of one picture, over the classes that occur in it; NaN without a labelled pixel."""
    ious = [*image_iou(sample.label, sample.prediction).values()]
    return float(np.mean(ious)) if ious else float('nan')


def evaluate(job: Job, state: TrainState) -> tuple[Evaluation, Ranking]:
    """All pixels, and all pictures ranked, batch by batch so that only ranked ones are kept."""
    ranking = Ranking()
    evaluator = job.experiment.task.evaluator(len(job.info.class_names))
    variables = jax.device_put(state.variables)
    number = 0
    for batch in job.eval_batches():
        ids = frozenset(np.asarray(batch.image_id)[np.asarray(batch.valid)].tolist())
        found = job.evaluation(variables, [batch], sample_ids=ids, host_scores=False)
        evaluator.merge(found.evaluator)
        number += found.num_images
        for sample in found.samples:
            ranking.add(mean_iou(sample), sample)
    return Evaluation(evaluator.compute(), evaluator, number, [], {}), ranking


def _metrics(found: Evaluation, ranking: Ranking) -> str:
    rows = [
        (n.replace('_', ' ').replace('iou', 'IoU'), f'{v:.4f}')
        for n, v in found.metrics.items()
        if '/' not in n
    ]
    rows += ranking.told("mean IoU of a picture's own classes")
    return page.table(('metric', 'value'), rows)


def _classes(job: Job, found: Evaluation) -> str:
    counts = found.evaluator.confusion
    columns = (job.info.class_names, counts.iou, counts.accuracy, counts.share)
    rows = [
        (name, share(iou), page.bar(iou), share(accuracy), f'{100 * pixels:.2f}%')
        for name, iou, accuracy, pixels in zip(*columns, strict=True)
    ]
    return page.table(('class', 'IoU', '', 'accuracy', 'share of the pixels'), rows)


def _pictures(job: Job, ranked: list[Sample]) -> str:
    name = job.eval_source.name
    rows = [Row(s.image, s.label, s.prediction, name(s.image_id)) for s in ranked]
    drawn = panel(rows, class_names=job.info.class_names, palette=job.info.palette, errors=True)
    return page.picture(drawn, 'image, ground truth, prediction, errors')


def sections(job: Job, found: Evaluation, ranking: Ranking) -> dict[str, str]:
    """HTML by titles; the first is that of the metrics."""
    counts = found.evaluator.confusion.counts
    confusion = plots.confusion_picture(counts, job.info.class_names)
    parts = {
        'Metrics': _metrics(found, ranking),
        'Classes': _classes(job, found),
        'Confusion': page.picture(confusion, 'confusion matrix'),
    }
    for name, ranked in (('Worst pictures', ranking.worst), ('Best pictures', ranking.best)):
        if ranked:
            parts[name] = _pictures(job, ranked)
    return parts
