"""What the page of a run shows of objects: COCO's numbers, precision and recall, pictures."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from segjax import visualize_instances
from segjax.evaluate import Evaluation, InstanceEvaluation
from segjax.evaluate.instance import InstanceEvaluator
from segjax.metrics.coco import AREAS
from segjax.metrics.matching import Objects, compressed, match_objects
from segjax.train import instance_report, page, plots
from segjax.train.job import Job
from segjax.train.ranking import Ranking
from segjax.train.screen import share
from segjax.train.state import TrainState
from segjax.visualize_instances import SURE

QUALITY = (
    f"A picture's quality is the panoptic quality of its detections with a score of {SURE} or "
    'more: the sum of the IoU of those that find an object, divided by their number plus half that '
    'of the others and of the missed objects.'
)


def quality(evaluator: InstanceEvaluator, image_id: int) -> float:
    """Panoptic quality of one picture's sure detections; by masks, without them by boxes."""
    size = evaluator.images[image_id]['height'], evaluator.images[image_id]['width']
    masks = 'mask' in evaluator.kinds
    shape = lambda o: compressed(o['segmentation'], size) if masks else o['bbox']

    def objects(found: list[dict[str, Any]]) -> Objects:
        classes = np.array([o['category_id'] for o in found], int)
        crowd = np.array([o.get('iscrowd', 0) for o in found], bool)
        return Objects([shape(o) for o in found], classes, crowd)

    sure = [o for o in evaluator.detections[image_id] if o['score'] >= SURE]
    sure.sort(key=lambda o: -o['score'])
    return match_objects(objects(evaluator.annotations[image_id]), objects(sure)).quality


def evaluate(job: Job, state: TrainState) -> tuple[Evaluation, Ranking]:
    """COCO's numbers of all pictures, and the pictures' numbers ranked."""
    found, ranking = job.evaluate(state), Ranking()
    for image_id in sorted(found.evaluator.images):
        ranking.add(quality(found.evaluator, image_id), image_id)
    return found, ranking


def _metrics(found: Evaluation, ranking: Ranking) -> str:
    kinds, limits = found.evaluator.kinds, found.evaluator.max_dets
    names = {'ap': 'AP', 'ap50': 'AP at IoU .5', 'ap75': 'AP at IoU .75'}
    names |= {f'ap_{area}': f'AP of {area} objects' for area in AREAS[1:]}
    names |= {f'ar{number}': f'AR of {number} at most' for number in limits}
    names |= {f'ar_{area}': f'AR of {area} objects' for area in AREAS[1:]}
    tables = [found.evaluator.scores(kind).summary() for kind in kinds]
    rows = [
        (shown, *(cell for t in tables for cell in (share(t[name]), page.bar(t[name]))))
        for name, shown in names.items()
    ]
    losses = [(n, f'{v:.4f}') for n, v in found.metrics.items() if n.startswith('loss')]
    losses += ranking.told('quality of a picture')
    header = [cell for kind in kinds for cell in (kind, '')]
    return (
        page.table(('metric', *header), rows)
        + page.note(QUALITY)
        + page.table(('metric', 'value'), losses)
    )


def _classes(job: Job, found: Evaluation) -> str:
    kinds, scores = found.evaluator.kinds, instance_report.class_scores(job, found)
    number = Counter(
        o['category_id'] for objects in found.evaluator.annotations.values() for o in objects
    )
    rows = []
    for place, name in enumerate(job.info.class_names[1:]):
        pairs = [scores[kind][place] for kind in kinds]
        cells = [c for ap, ap50 in pairs for c in (share(ap), page.bar(ap), share(ap50))]
        rows.append((name, str(number[place + 1]), *cells))
    header = [cell for kind in kinds for cell in (f'{kind} AP', '', f'{kind} AP50')]
    return page.table(('class', 'objects', *header), rows)


def _pictures(job: Job, found: Evaluation, ranked: list[int]) -> str:
    assert isinstance(job.evaluation, InstanceEvaluation)
    samples = [job.evaluation.sample(found.evaluator, image_id) for image_id in ranked]
    names = [job.eval_source.name(image_id) for image_id in ranked]
    drawn = visualize_instances.panel(
        samples, names, class_names=job.info.class_names, palette=job.info.palette
    )
    return page.picture(drawn, 'image, ground truth, detections, differences')


def sections(job: Job, found: Evaluation, ranking: Ranking) -> dict[str, str]:
    """HTML by titles; the first is that of the metrics."""
    scores = {kind: found.evaluator.scores(kind) for kind in found.evaluator.kinds}
    curves = plots.precision_recall_picture(scores)
    parts = {
        'Metrics': _metrics(found, ranking),
        'Classes': _classes(job, found),
        'Precision and recall': page.picture(curves, 'precision over recall'),
    }
    for name, ranked in (('Worst pictures', ranking.worst), ('Best pictures', ranking.best)):
        if ranked:
            parts[name] = _pictures(job, found, ranked)
    return parts
