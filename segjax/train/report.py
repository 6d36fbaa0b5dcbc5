"""What is told of an evaluation; a file a task says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from segjax.evaluate import Evaluation, InstanceEvaluation
from segjax.train import instance_report, semantic_report
from segjax.train.job import Job
from segjax.train.screen import Screen


def finds_objects(job: Job) -> bool:
    """Whether the job is of objects; else it is of class maps."""
    return isinstance(job.evaluation, InstanceEvaluation)


def _of(job: Job) -> Any:
    """The module that knows the job's task."""
    return instance_report if finds_objects(job) else semantic_report


def protocol(job: Job, found: Evaluation) -> dict[str, object]:
    """What was measured, and how: without it a number says nothing."""
    e = job.experiment
    return {
        'split': f'fold {e.fold} of {e.folds} of {e.train.split}' if e.folds else e.eval.split,
        'images': found.num_images,
        'classes': job.info.class_names,
        'backend': jax.default_backend(),
        **_of(job).protocol(job, found),
    }


def class_table(screen: Screen, job: Job, found: Evaluation, *, step: int) -> None:
    """A line a class, under a heading."""
    _of(job).class_table(screen, job, found, step=step)


def no_room(job: Job, found: Evaluation) -> str:
    """What a detector's fixed sizes had no room for, in a line; '' for nothing."""
    return instance_report.no_room(job, found) if finds_objects(job) else ''


def per_class(job: Job, found: Evaluation) -> dict[str, float]:
    """The numbers of single classes, as they stand in metrics.jsonl."""
    return _of(job).per_class(job, found)


def pictures(job: Job, found: Evaluation) -> dict[str, np.ndarray]:
    """Predictions beside the truth, and what else is drawn of an evaluation, as RGB."""
    return _of(job).pictures(job, found)


def steps(job: Job, variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """How a detector comes to what it finds in one picture, as RGB; nothing of class maps."""
    if not finds_objects(job):
        return {}
    return {'steps': instance_report.steps(job, variables)}


def details(job: Job, found: Evaluation) -> dict[str, object]:
    """What eval.json holds beside metrics and protocol."""
    return _of(job).details(job, found)


def headline(job: Job, found: Evaluation) -> dict[str, str]:
    """The numbers that a training ends with."""
    return _of(job).headline(found)


def table_row(job: Job, found: Evaluation) -> dict[str, str]:
    """The numbers by which networks are compared, under the titles of their columns."""
    return _of(job).table_row(found)


def same_truth(job: Job, first: Evaluation, other: Evaluation) -> bool:
    """Whether two evaluations are of the same pictures."""
    return _of(job).same_truth(first, other)


def comparison(job: Job, titles: Sequence[str], everything: Sequence[Evaluation]) -> np.ndarray:
    """What several networks make of the same pictures, beside the truth, as RGB."""
    return _of(job).comparison(job, titles, everything)
