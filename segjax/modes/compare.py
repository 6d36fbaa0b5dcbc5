"""--mode=compare: image | ground truth | run | run | ..., the same images for every run.

    python launch.py --mode=compare RUN1 RUN2 RUN3

Each run is made from its own config.json, so networks of any kind can stand side by side; task and
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

from segjax import config
from segjax.config import RunOptions
from segjax.data.dataset import Roots
from segjax.evaluate import Evaluation
from segjax.modes.eval import find_trained
from segjax.tasks import Instance
from segjax.train import distributed, machine, opening, report
from segjax.train.experiment import Experiment
from segjax.train.job import Job, make_job
from segjax.train.rundir import (
    find_runs,
    output_folder,
    read_config,
    read_experiment,
    write_json,
    writing,
)
from segjax.train.screen import Screen
from segjax.train.writers import plain
from segjax.types import UserError
from segjax.visualize import write_png

NUM_IMAGES = 6


class _Evaluated(NamedTuple):
    """A run with what its evaluation found."""

    folder: Path
    fields: dict[str, Any]  # of its config.json
    job: Job
    step: int
    found: Evaluation


def _titles(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, or all of it where two have the same."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _evaluate(folder: Path, experiment: Experiment, options: RunOptions) -> _Evaluated:
    """Split and number of images are those of `experiment`, all else is the run's own."""
    own: Experiment = read_experiment(folder)
    asked = experiment.eval
    pipeline = dataclasses.replace(own.eval, split=asked.split, limit=asked.limit)
    own = dataclasses.replace(own, eval=pipeline)
    roots = Roots(options.raw_dir, options.data_dir)
    job = make_job(own, roots, num_threads=options.num_threads, trains=False)
    state, step = find_trained(job, folder, options)
    found = job.evaluate(state, samples=NUM_IMAGES)
    return _Evaluated(folder, read_config(folder).fields, job, step, found)


def _check_alone(options: RunOptions) -> None:
    """Raises UserError where several processes would draw the same picture."""
    if options.distributed == 'auto' and distributed.find_cluster(os.environ) is not None:
        raise UserError(
            '--mode=compare is for one process: start it outside the job, or one task of it with '
            '--distributed=off.'
        )


def _check_same_task(folders: Sequence[Path]) -> None:
    """Raises UserError where some find objects and others classify pixels."""
    finds = lambda folder: isinstance(read_experiment(folder).task, Instance)
    kinds = {finds(folder): folder for folder in folders}
    if len(kinds) > 1:
        raise UserError(
            f'{kinds[True]} finds objects and {kinds[False]} classifies pixels, so no number is of '
            'both; compare detectors with detectors.'
        )


def _check_same_data(first: _Evaluated, other: _Evaluated) -> None:
    """Raises UserError unless both runs have the same classes and saw the same pictures."""
    same = first.job.info.class_names == other.job.info.class_names
    if not same or not report.same_truth(first.job, first.found, other.found):
        raise UserError(
            f'{first.folder} and {other.folder} have other data, so they cannot be compared: '
            f'classes, pictures or labels differ.'
        )


def _say_fields(screen: Screen, titles: Sequence[str], runs: Sequence[_Evaluated]) -> None:
    """What was set otherwise in each run than in the first."""
    for title, run in zip(titles[1:], runs[1:], strict=True):
        screen.heading(f'fields, {titles[0]} -> {title}')
        for line in config.diff(runs[0].fields, run.fields) or ['no difference']:
            screen.line(f'  {line}')


def _say_metrics(screen: Screen, titles: Sequence[str], runs: Sequence[_Evaluated]) -> None:
    """A line a run; detectors with and without masks have other columns."""
    numbers = [report.table_row(run.job, run.found) for run in runs]
    names = dict.fromkeys(name for row in numbers for name in row)
    rows = [
        (title, str(run.step), *(row.get(name, '') for name in names))
        for title, run, row in zip(titles, runs, numbers, strict=True)
    ]
    screen.table(('run', 'step', *names), rows)


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
      UserError: a run is not there, has no weights, or another task or data than the first.
    """
    screen = Screen()
    _check_alone(options)
    folders = find_runs(options.runs)
    _check_same_task(folders)
    asked: Experiment = experiment or read_experiment(folders[0])
    target = output_folder(options, 'compare')
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
    _say_metrics(screen, titles, runs)
    drawn = report.comparison(runs[0].job, titles, [run.found for run in runs])
    with writing(target):
        write_png(target / 'comparison.png', drawn)
        write_json(target / 'compare.json', plain([_describe(run, runs[0]) for run in runs]))
    screen.facts({'written to': str(target / 'comparison.png')})
    return 0
