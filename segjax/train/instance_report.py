"""What is told of an evaluation of objects: protocol, table, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from segjax import visualize_instances
from segjax.data.detection import DetectionEval
from segjax.evaluate import Evaluation
from segjax.evaluate.detection_steps import detection_steps
from segjax.evaluate.instance import describe_dropped
from segjax.train import plots
from segjax.train.job import Job
from segjax.train.screen import Screen, share

KINDS = {'mask': 'masks', 'box': 'boxes'}


def protocol(job: Job, found: Evaluation) -> dict[str, object]:
    """What was measured, and how."""
    how, limits = job.experiment.eval, found.evaluator.max_dets
    assert isinstance(how, DetectionEval)
    return {
        'metric': "COCO's average precision and recall (cocoapi's rules, counted by "
        'faster-coco-eval): AP is the mean over IoU .50:.05:.95 and over the classes that occur, '
        f'of at most {limits[-1]} detections a picture',
        'of': ' and '.join(KINDS[kind] for kind in found.evaluator.kinds),
        'max_dets': limits,
        'empty': '0 where nothing is found, no number where there is nothing to find',
        'resolution': "the pictures' own; boxes are scaled to it and masks pasted at a probability "
        'of one half',
        'input_short_side': how.short,
        'input_long_side': how.long,
        'dropped_candidates': found.evaluator.dropped,
        'dropped_objects': found.evaluator.cut,
    }


def no_room(job: Job, found: Evaluation) -> str:
    """What fixed sizes had no room for, in a line; '' where everything had its place."""
    e, evaluator, said = job.experiment, found.evaluator, []
    if evaluator.dropped:
        said.append(describe_dropped(evaluator.dropped, e.model.detection_candidates))
    if evaluator.cut:
        said.append(
            f'the loss, not the scores, leaves out {evaluator.cut} objects, as a picture has '
            f'places for --eval.instances={e.eval.instances}'
        )
    return '; '.join(said)


def class_scores(job: Job, found: Evaluation) -> dict[str, list[tuple[float, float]]]:
    """{kind: (AP, AP50) of each class but the background}."""
    number = len(job.info.class_names) - 1
    scores = {kind: found.evaluator.scores(kind) for kind in found.evaluator.kinds}
    return {
        kind: [(table.ap(place=i), table.ap(place=i, threshold=0.5)) for i in range(number)]
        for kind, table in scores.items()
    }


def class_table(screen: Screen, job: Job, found: Evaluation, *, step: int) -> None:
    """AP and AP50 of each class, under a heading; the means of those that occur last."""
    screen.heading(f'{job.experiment.eval.split} after step {step}')
    kinds = found.evaluator.kinds
    columns = class_scores(job, found).values()
    rows = [
        (name, *(share(value) for pair in pairs for value in pair))
        for name, *pairs in zip(job.info.class_names[1:], *columns, strict=True)
    ]
    metrics = found.metrics
    means = [share(metrics[f'{kind}_{name}']) for kind in kinds for name in ('ap', 'ap50')]
    header = [f'{kind} {name}' for kind in kinds for name in ('AP', 'AP50')]
    screen.table(('class', *header), [*rows, ('mean', *means)])
    screen.line()


def per_class(job: Job, found: Evaluation) -> dict[str, float]:
    """The numbers of single classes, as they stand in metrics.jsonl."""
    names = job.info.class_names[1:]
    return {
        f'{kind}_ap/{name}': ap
        for kind, pairs in class_scores(job, found).items()
        for name, (ap, _) in zip(names, pairs, strict=True)
    }


def details(job: Job, found: Evaluation) -> dict[str, object]:
    """What eval.json holds beside metrics and protocol."""
    return {'classes': per_class(job, found)}


def headline(found: Evaluation) -> dict[str, str]:
    """The numbers that a training ends with."""
    metrics, kinds = found.metrics, found.evaluator.kinds
    names = {'ap': 'AP', 'ap50': 'AP50'}
    return {f'{k} {shown}': share(metrics[f'{k}_{n}']) for k in kinds for n, shown in names.items()}


def steps(job: Job, variables: dict[str, Any]) -> np.ndarray:
    """What the network does with the first picture that is evaluated, as RGB."""
    found = detection_steps(
        job.experiment.model, variables, next(job.eval_batches()), mean=job.mean, std=job.std
    )
    return visualize_instances.steps_picture(found, class_names=job.info.class_names)


def pictures(job: Job, found: Evaluation) -> dict[str, np.ndarray]:
    """Detections, their comparison with the truth, and precision over recall, as RGB."""
    samples = sorted(found.samples, key=lambda sample: sample.image_id)
    names = [job.eval_source.name(sample.image_id) for sample in samples]
    options = {'class_names': job.info.class_names, 'palette': job.info.palette}
    scores = {kind: found.evaluator.scores(kind) for kind in found.evaluator.kinds}
    return {
        'predictions': visualize_instances.panel(samples, names, **options),
        'precision_recall': plots.precision_recall_picture(scores),
    }


# --- Several detectors on the same pictures ------------------------------------------------------


def table_row(found: Evaluation) -> dict[str, str]:
    """The numbers by which detectors are compared, under the titles of their columns."""
    names = {'ap': 'AP', 'ap50': 'AP50', 'ap75': 'AP75'}
    return {
        f'{kind} {shown}': share(found.metrics[f'{kind}_{name}'])
        for kind in found.evaluator.kinds
        for name, shown in names.items()
    }


def same_truth(first: Evaluation, other: Evaluation) -> bool:
    """Whether both were to find the same objects in the same pictures."""
    a, b = first.evaluator, other.evaluator
    return a.images == b.images and a.annotations == b.annotations


def comparison(job: Job, titles: Sequence[str], everything: Sequence[Evaluation]) -> np.ndarray:
    """`image | ground truth | detector | detector | ...` of the sampled pictures, as RGB."""
    in_order = lambda found: sorted(found.samples, key=lambda sample: sample.image_id)
    rows = [
        visualize_instances.Compared(
            same[0].image,
            same[0].known,
            [sample.found for sample in same],
            job.eval_source.name(same[0].image_id),
        )
        for same in zip(*map(in_order, everything), strict=True)
    ]
    told = [' '.join(next(iter(headline(found).items()))) for found in everything]
    return visualize_instances.comparison(
        rows, titles, subtitles=told, class_names=job.info.class_names
    )
