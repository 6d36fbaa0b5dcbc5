"""--mode=report: a run on one page of HTML, which holds all that it shows.

    python launch.py --mode=report RUN          or --exp=NAME

Its best checkpoint is evaluated once more, picture by picture, for the table of classes, the
confusion matrix and the pictures it did best and worst; --eval.limit=50 with --exp takes less time.
"""

from __future__ import annotations

import bisect
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from segjax import config
from segjax.config import RunOptions
from segjax.data.dataset import Roots
from segjax.evaluate import Evaluation, Sample
from segjax.files import write_whole
from segjax.layers.cost import layer_costs
from segjax.modes.eval import find_trained
from segjax.train import machine, page, plots, report
from segjax.train.experiment import Experiment
from segjax.train.job import Job, make_job
from segjax.train.rundir import RunConfig, find_runs, output_folder, read_config, read_result
from segjax.train.screen import Screen, duration, quantity, share
from segjax.train.state import TrainState
from segjax.types import UserError
from segjax.visualize import Row, image_iou, panel

NUM_PICTURES = 4  # of the best, and of the worst


class Ranked(NamedTuple):
    """A picture with its mean IoU, over the classes that occur in it."""

    score: float
    sample: Sample


class Ranking:
    """The best and the worst of many pictures, at most `number` each; the others are forgotten.

    Attributes:
      scores: of all pictures that have a labelled pixel.
    """

    def __init__(self, number: int):
        self.scores: list[float] = []
        self._number = number
        self._low: list[Ranked] = []
        self._high: list[Ranked] = []

    def add(self, sample: Sample) -> None:
        """Rank another picture."""
        ious = list(image_iou(sample.label, sample.prediction).values())
        if not ious:
            return
        score = float(np.mean(ious))
        self.scores.append(score)
        bisect.insort(self._low, Ranked(score, sample), key=lambda r: r.score)
        del self._low[self._number :]
        bisect.insort(self._high, Ranked(score, sample), key=lambda r: -r.score)
        del self._high[self._number :]

    @property
    def worst(self) -> list[Ranked]:
        """The worst first; of the worse half."""
        return self._low[: (len(self.scores) + 1) // 2]

    @property
    def best(self) -> list[Ranked]:
        """The best first; of the better half."""
        return self._high[: len(self.scores) // 2]


def rank(job: Job, state: TrainState) -> tuple[Evaluation, Ranking]:
    """An evaluation of all pixels, batch by batch, so that only ranked pictures are kept."""
    ranking = Ranking(NUM_PICTURES)
    evaluator = job.experiment.task.evaluator(len(job.info.class_names))
    variables = jax.device_put(state.variables)
    number = 0
    for batch in job.eval_batches():
        ids = frozenset(np.asarray(batch.image_id)[np.asarray(batch.valid)].tolist())
        found = job.evaluation(variables, [batch], sample_ids=ids, host_scores=False)
        evaluator.merge(found.evaluator)
        number += found.num_images
        for sample in found.samples:
            ranking.add(sample)
    return Evaluation(evaluator.compute(), evaluator, number, [], {}), ranking


# --- The sections --------------------------------------------------------------------------------


def _facts(folder: Path, job: Job, run: RunConfig, step: int) -> str:
    """What the run is."""
    origin, result = run.origin, read_result(folder) or {}
    costs = layer_costs(job.experiment.model, job.image_shape)
    params, macs = sum(c.params for c in costs), sum(c.macs for c in costs)
    e = job.experiment
    size = 'x'.join(map(str, job.image_shape[1:3]))
    values = {
        'run': folder,
        'model': f'{type(e.model).__name__}, {quantity(params)} parameters, '
        f'{macs / 1e9:.3g} GMAC at {size}',
        'data': f'{type(e.dataset).__name__}, {len(job.train_source)} pictures to train, '
        f'{len(job.eval_source)} to evaluate',
        'checkpoint': f'after step {step} of {e.num_steps}',
        'finished': f'in {duration(result["wall_time_s"])}' if result else 'no',
        'started': origin.get('time', '?'),
        'command': origin.get('command', '?'),
        'code': origin.get('git_sha') or 'not in a repository',
        'devices': ', '.join(f'{k} {v}' for k, v in origin.get('devices', {}).items()),
    }
    return page.facts(values)


def _metrics(found: Evaluation, ranking: Ranking) -> str:
    rows = [
        (n.replace('_', ' ').replace('iou', 'IoU'), f'{v:.4f}')
        for n, v in found.metrics.items()
        if '/' not in n
    ]
    if ranking.scores:
        low, middle, high = np.percentile(ranking.scores, (10, 50, 90))
        rows.append(("mean IoU of a picture's own classes: median", f'{middle:.4f}'))
        rows.append(('its 10th and 90th percentile', f'{low:.4f}, {high:.4f}'))
    return page.table(('metric', 'value'), rows)


def _classes(job: Job, found: Evaluation) -> str:
    counts = found.evaluator.confusion
    columns = (job.info.class_names, counts.iou, counts.accuracy, counts.share)
    rows = [
        (name, share(iou), page.bar(iou), share(accuracy), f'{100 * pixels:.2f}%')
        for name, iou, accuracy, pixels in zip(*columns, strict=True)
    ]
    return page.table(('class', 'IoU', '', 'accuracy', 'share of the pixels'), rows)


def _pictures(job: Job, ranked: list[Ranked]) -> str:
    rows = [
        Row(s.image, s.label, s.prediction, job.eval_source.name(s.image_id)) for _, s in ranked
    ]
    drawn = panel(rows, class_names=job.info.class_names, palette=job.info.palette, errors=True)
    return page.picture(drawn, 'image, ground truth, prediction, errors')


def _curves(folder: Path) -> str:
    try:
        lines = plots.read_metrics(folder / 'metrics.jsonl')
    except OSError:
        return page.text('This run holds no metrics.jsonl.')
    return page.picture(plots.progress_picture(lines), 'loss, learning rate and metrics by step')


def _fields(run: RunConfig) -> str:
    shown = {path: config.show(v) if v is not None else '' for path, v in run.fields.items()}
    versions = {name: version for name, version in run.origin.get('versions', {}).items()}
    return page.folded(f'{len(shown)} fields', page.facts(shown)) + page.folded(
        'versions', page.facts({'python': run.origin.get('python', '?'), **versions})
    )


def _sections(
    folder: Path, job: Job, step: int, found: Evaluation, ranking: Ranking
) -> dict[str, str]:
    run, counts = read_config(folder), found.evaluator.confusion.counts
    confusion = plots.confusion_picture(counts, job.info.class_names)
    protocol = {k: config.show(v) for k, v in report.protocol(job, found).items()}
    split = job.experiment.eval.split
    sections = {
        'Run': _facts(folder, job, run, step),
        f'Metrics on {split}, {found.num_images} pictures': _metrics(found, ranking),
        'Curves': _curves(folder),
        'Classes': _classes(job, found),
        'Confusion': page.picture(confusion, 'confusion matrix'),
    }
    for name, ranked in (('Worst pictures', ranking.worst), ('Best pictures', ranking.best)):
        if ranked:
            sections[name] = _pictures(job, ranked)
    return sections | {'Protocol': page.facts(protocol), 'Fields': _fields(run)}


def run(experiment: Experiment | None, options: RunOptions) -> int:
    """Evaluate the run, write report.html into it (or into --output); the exit code.

    Raises:
      UserError: there is no such run, it has no weights, or its data is absent.
    """
    screen = Screen()
    folders = find_runs(options.runs) if options.runs else [options.workdir]
    if len(folders) > 1:
        raise UserError('--mode=report is of one run; --mode=compare shows several.')
    (folder,) = folders
    machine.prepare()
    own: Experiment = experiment or config.build(read_config(folder).fields)
    roots = Roots(options.raw_dir, options.data_dir)
    job = make_job(own, roots, num_threads=options.num_threads, trains=False)
    report.require_class_maps(job, 'report')
    report.require_class_maps(job, 'report')
    state, step = find_trained(job, folder, options)
    number = len(own.eval.indices(job.eval_source))
    screen.facts({'run': f'{folder}, step {step}: evaluating {number} pictures'})
    found, ranking = rank(job, state)
    name = read_config(folder).origin.get('exp') or folder.resolve().name
    subtitle = f'mean IoU {share(found.metrics["mean_iou"])} on {own.eval.split}'
    content = page.page(name, subtitle, _sections(folder, job, step, found, ranking))
    target = output_folder(options) if options.output else folder
    write_whole(target / 'report.html', content.encode())
    screen.facts({'written to': str(target / 'report.html')})
    return 0
