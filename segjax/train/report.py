"""What is told of an evaluation: protocol, table, pictures."""

from __future__ import annotations

import jax
import numpy as np

from segjax import visualize
from segjax.evaluate import Evaluation
from segjax.train import plots
from segjax.train.job import Job
from segjax.train.screen import Screen


def protocol(job: Job, found: Evaluation) -> dict[str, object]:
    """What was measured, and how: without it a number says nothing."""
    e = job.experiment
    return {
        'split': f'fold {e.fold} of {e.folds} of {e.train.split}' if e.folds else e.eval.split,
        'images': found.num_images,
        'classes': job.info.class_names,
        'metric': "mean IoU, pixel accuracy, mean accuracy and frequency-weighted IoU of FCN's "
        'score.py, from one confusion matrix over all pixels whose label is not 255',
        'absent_classes': 'left out of the mean IoU where they occur in neither labels nor '
        'predictions, of the mean accuracy where they do not occur in labels',
        'resolution': "the labels' own; probabilities are resized to it",
        'input_scale': e.eval.scale,
        'input_stretched_to': e.eval.stretch,
        'tile': e.eval.tile,
        'orientations': e.eval.orientations,
        'head': e.task.head,
        'backend': jax.default_backend(),
        **({'of_whole_pictures': _whole_pictures(e.task.scores)} if e.task.scores else {}),
    }


def _whole_pictures(scores: tuple[str, ...]) -> str:
    return (
        f'{", ".join(scores)} (evaluate/host_scores.py): means over the pictures; a picture scores '
        f'1 where neither label nor prediction has a foreground or an object, 0 where only one has'
    )


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
