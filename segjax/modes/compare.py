"""--mode=compare: image | ground truth | run | run | ..., the same images for every run.

    python launch.py --mode=compare RUN1 RUN2 RUN3

Each run is made from its own config.json, so networks of any kind can stand side by side; their
data must be the same. It also says which fields differ. Split and number of images are those of the
first run, or with --exp=NAME --eval.split=SPLIT --eval.limit=NUMBER those; --checkpoint holds for
all runs.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segjax import config
from segjax.config import RunOptions
from segjax.data.dataset import Roots
from segjax.evaluate import Evaluation, Sample
from segjax.modes.eval import find_trained
from segjax.train import distributed, machine, opening, report
from segjax.train.experiment import Experiment
from segjax.train.job import Job, make_job
from segjax.train.rundir import find_runs, output_folder, read_config, write_json
from segjax.train.screen import Screen, share
from segjax.train.writers import plain
from segjax.types import UserError
from segjax.visualize import Compared, comparison, write_png

NUM_IMAGES = 6
METRICS = ('mean_iou', 'pixel_accuracy', 'mean_accuracy', 'fw_iou')


class _Evaluated(NamedTuple):
    """A run with what its evaluation found."""

    folder: Path
    fields: dict[str, Any]  # of its config.json
    job: Job
    step: int
    found: Evaluation

    @property
    def samples(self) -> list[Sample]:
        return sorted(self.found.samples, key=lambda sample: sample.image_id)


def _titles(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, or all of it where two have the same."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _evaluate(folder: Path, experiment: Experiment, options: RunOptions) -> _Evaluated:
    """Split and number of images are those of `experiment`, all else is the run's own."""
    fields = read_config(folder).fields
    own: Experiment = config.build(fields)
    asked = experiment.eval
    pipeline = dataclasses.replace(own.eval, split=asked.split, limit=asked.limit)
    own = dataclasses.replace(own, eval=pipeline)
    roots = Roots(options.raw_dir, options.data_dir)
    job = make_job(own, roots, num_threads=options.num_threads, trains=False)
    report.require_class_maps(job, 'compare')
    state, step = find_trained(job, folder, options)
    found = job.evaluate(state, samples=NUM_IMAGES)
    return _Evaluated(folder, fields, job, step, found)


def _check_alone(options: RunOptions) -> None:
    """Raises UserError where several processes would draw the same picture."""
    if options.distributed == 'auto' and distributed.find_cluster(os.environ) is not None:
        raise UserError(
            '--mode=compare is for one process: start it outside the job, or one task of it with '
            '--distributed=off.'
        )


def _check_same_data(first: _Evaluated, other: _Evaluated) -> None:
    """Raises UserError unless both runs have the same classes and saw the same pictures."""
    same = first.job.info.class_names == other.job.info.class_names
    same = same and first.found.num_images == other.found.num_images
    for a, b in zip(first.samples, other.samples, strict=True) if same else ():
        same = same and a.image_id == b.image_id and np.array_equal(a.label, b.label)
    if not same:
        raise UserError(
            f'{first.folder} and {other.folder} have other data, so they cannot be compared: '
            f'classes, pictures or labels differ.'
        )


def _draw(titles: Sequence[str], runs: Sequence[_Evaluated]) -> np.ndarray:
    first = runs[0]
    rows = [
        Compared(
            sample.image,
            sample.label,
            [run.samples[i].prediction for run in runs],
            first.job.eval_source.name(sample.image_id),
        )
        for i, sample in enumerate(first.samples)
    ]
    return comparison(
        rows,
        titles,
        subtitles=[f'mean IoU {share(run.found.metrics["mean_iou"])}' for run in runs],
        class_names=first.job.info.class_names,
        palette=first.job.info.palette,
    )


def _say_fields(screen: Screen, titles: Sequence[str], runs: Sequence[_Evaluated]) -> None:
    """What was set otherwise in each run than in the first."""
    for title, run in zip(titles[1:], runs[1:], strict=True):
        screen.heading(f'fields, {titles[0]} -> {title}')
        for line in config.diff(runs[0].fields, run.fields) or ['no difference']:
            screen.line(f'  {line}')


def _describe(run: _Evaluated, first: _Evaluated) -> dict[str, object]:
    return {
        'run': str(run.folder),
        'fields': config.diff(first.fields, run.fields),  # from the first run to this one
        'step': run.step,
        'metrics': run.found.metrics,
        'protocol': report.protocol(run.job, run.found),
    }


def run(experiment: Experiment | None, options: RunOptions) -> int:
    """Evaluate all runs, print their fields and metrics, write comparison.png and compare.json; the
    exit code.

    Raises:
      UserError: a run is not there, has no weights, or has other data than the first.
    """
    screen = Screen()
    _check_alone(options)
    folders = find_runs(options.runs)
    asked: Experiment = experiment or config.build(read_config(folders[0]).fields)
    machine.prepare()
    opening.describe_devices(screen)
    runs: list[_Evaluated] = []
    for folder in folders:
        screen.facts({'run': str(folder)})
        runs.append(_evaluate(folder, asked, options))
        _check_same_data(runs[0], runs[-1])
    titles = _titles(folders)
    _say_fields(screen, titles, runs)
    split = runs[0].job.experiment.eval.split
    screen.heading(f'{split}, {runs[0].found.num_images} images')
    rows = [
        (title, str(run.step), *(share(run.found.metrics[name]) for name in METRICS))
        for title, run in zip(titles, runs, strict=True)
    ]
    screen.table(('run', 'step', *(name.replace('_', ' ') for name in METRICS)), rows)
    target = output_folder(options, 'compare')
    write_png(target / 'comparison.png', _draw(titles, runs))
    write_json(target / 'compare.json', plain([_describe(run, runs[0]) for run in runs]))
    screen.facts({'written to': str(target / 'comparison.png')})
    return 0
