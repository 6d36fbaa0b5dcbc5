"""What is told of an evaluation of class maps: protocol, table, pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segjax import visualize
from segjax.evaluate import Evaluation, Sample
from segjax.train import plots
from segjax.train.job import Job
from segjax.train.screen import Screen, share

NOT_MEANS = {
    'isbi': "the challenge's metrics, of all slices together",
    'trimap': 'mean IoU of the labelled pixels within N of another label, void among them',
    'boundary': 'F1 of the boundaries within .75 % of the diagonal, a mean over the classes of a '
    'picture, then over the pictures',
}


def protocol(job: Job, found: Evaluation) -> dict[str, object]:
    """What was measured, and how."""
    del found
    e = job.experiment
    return {
        'metric': "mean IoU, pixel accuracy, mean accuracy and frequency-weighted IoU of FCN's "
        'score.py, from one confusion matrix over all pixels whose label is not 255',
        'absent_classes': 'left out of the mean IoU where they occur in neither labels nor '
        'predictions, of the mean accuracy where they do not occur in labels',
        'resolution': "the labels' own; probabilities are resized to it",
        'input_scale': e.eval.scale,
        'input_stretched_to': e.eval.stretch,
        'tile': e.eval.tile,
        'orientations': e.eval.orientations,
        'scales': e.eval.scales,
        'flip': e.eval.flip,
        'head': e.task.head,
        **({'of_whole_pictures': _whole_pictures(e.task.scores)} if e.task.scores else {}),
    }


def _whole_pictures(scores: tuple[str, ...]) -> str:
    means = [name for name in scores if name not in NOT_MEANS]
    told = [f'{name}: {NOT_MEANS[name]}' for name in scores if name in NOT_MEANS]
    if means:
        told.append(
            f'{", ".join(means)} (evaluate/host_scores.py): means over the pictures; a picture '
            f'scores 1 where neither label nor prediction has a foreground or an object, 0 where '
            f'only one has'
        )
    return '; '.join(told)


def class_table(screen: Screen, job: Job, found: Evaluation, *, step: int) -> None:
    """IoU, accuracy and share of each class, under a heading."""
    counts = found.evaluator.confusion
    screen.heading(f'{job.experiment.eval.split} after step {step}')
    screen.class_table(
        job.info.class_names, iou=counts.iou, accuracy=counts.accuracy, pixels=counts.share
    )
    screen.line()


def pictures(job: Job, found: Evaluation) -> dict[str, np.ndarray]:
    """The sampled predictions beside their ground truth, and the confusion matrix, as RGB."""
    names = job.info.class_names
    rows = [
        visualize.Row(s.image, s.label, s.prediction, job.eval_source.name(s.image_id))
        for s in sorted(found.samples, key=lambda s: s.image_id)
    ]
    return {
        'predictions': visualize.panel(rows, class_names=names, palette=job.info.palette),
        'confusion': plots.confusion_picture(found.evaluator.confusion.counts, names),
    }


def per_class(job: Job, found: Evaluation) -> dict[str, float]:
    """The numbers of single classes, as they stand in metrics.jsonl."""
    ious = found.evaluator.confusion.iou
    return {f'iou/{name}': v for name, v in zip(job.info.class_names, ious, strict=True)}


def details(job: Job, found: Evaluation) -> dict[str, object]:
    """What eval.json holds beside metrics and protocol."""
    counts = found.evaluator.confusion
    return {
        'iou': dict(zip(job.info.class_names, counts.iou, strict=True)),
        'confusion': counts.counts,
    }


def headline(found: Evaluation) -> dict[str, str]:
    """The numbers that a training ends with."""
    metrics = found.metrics
    return {'mean IoU': share(metrics['mean_iou']), 'accuracy': share(metrics['pixel_accuracy'])}


# --- Several networks on the same pictures -------------------------------------------------------


def table_row(found: Evaluation) -> dict[str, str]:
    """The numbers by which networks are compared, under the titles of their columns."""
    names = ('mean_iou', 'pixel_accuracy', 'mean_accuracy', 'fw_iou')
    return {name.replace('_', ' '): share(found.metrics[name]) for name in names}


def _samples(found: Evaluation) -> list[Sample]:
    return sorted(found.samples, key=lambda sample: sample.image_id)


def same_truth(first: Evaluation, other: Evaluation) -> bool:
    """Whether both saw the same pictures, as far as their samples tell."""
    pairs = [*zip(_samples(first), _samples(other), strict=False)]
    return first.num_images == other.num_images and all(
        a.image_id == b.image_id and np.array_equal(a.label, b.label) for a, b in pairs
    )


def comparison(job: Job, titles: Sequence[str], everything: Sequence[Evaluation]) -> np.ndarray:
    """`image | ground truth | network | network | ...` of the sampled pictures, as RGB."""
    samples = [_samples(found) for found in everything]
    rows = [
        visualize.Compared(
            same[0].image,
            same[0].label,
            [sample.prediction for sample in same],
            job.eval_source.name(same[0].image_id),
        )
        for same in zip(*samples, strict=True)
    ]
    return visualize.comparison(
        rows,
        titles,
        subtitles=[f'mean IoU {share(found.metrics["mean_iou"])}' for found in everything],
        class_names=job.info.class_names,
        palette=job.info.palette,
    )
