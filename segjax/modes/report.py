"""--mode=report: a run on one page of HTML, which holds all that it shows.

    python launch.py --mode=report RUN          or --exp=NAME

Its best checkpoint is evaluated once more, for the table of classes and the pictures it did best
and worst, with the confusion matrix of class maps (train/semantic_page.py), or precision and recall
of objects (train/instance_page.py); --eval.limit=50 with --exp takes less time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segjax import config
from segjax.config import RunOptions
from segjax.data.dataset import Roots
from segjax.evaluate import Evaluation
from segjax.files import write_whole
from segjax.layers.cost import layer_costs
from segjax.modes.eval import find_trained
from segjax.train import instance_page, machine, page, plots, report, semantic_page
from segjax.train.experiment import Experiment
from segjax.train.job import Job, make_job
from segjax.train.ranking import Ranking
from segjax.train.rundir import (
    RunConfig,
    chosen_runs,
    output_folder,
    read_config,
    read_experiment,
    read_result,
    writing,
)
from segjax.train.screen import Screen, duration, quantity
from segjax.types import UserError

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


def _curves(folder: Path, best: str) -> str:
    try:
        lines = plots.read_metrics(folder / 'metrics.jsonl')
    except OSError:
        return page.text('This run holds no metrics.jsonl.')
    return page.picture(
        plots.progress_picture(lines, best), 'loss, learning rate and metrics by step'
    )


def _fields(run: RunConfig) -> str:
    shown = {path: config.show(v) if v is not None else '' for path, v in run.fields.items()}
    versions = {name: version for name, version in run.origin.get('versions', {}).items()}
    return page.folded(f'{len(shown)} fields', page.facts(shown)) + page.folded(
        'versions', page.facts({'python': run.origin.get('python', '?'), **versions})
    )


def _pages(job: Job) -> Any:
    """The module that knows what to show of the job's task."""
    return instance_page if report.finds_objects(job) else semantic_page


def _sections(
    folder: Path, job: Job, step: int, found: Evaluation, ranking: Ranking
) -> dict[str, str]:
    run, split = read_config(folder), job.experiment.eval.split
    protocol = {k: config.show(v) for k, v in report.protocol(job, found).items()}
    shown = _pages(job).sections(job, found, ranking)
    return {
        'Run': _facts(folder, job, run, step),
        f'Metrics on {split}, {found.num_images} pictures': shown.pop('Metrics'),
        'Curves': _curves(folder, job.evaluation.best_metric),
        **shown,
        'Protocol': page.facts(protocol),
        'Fields': _fields(run),
    }


def run(experiment: Experiment | None, options: RunOptions) -> int:
    """Evaluate the run, write report.html into it (or into --output); the exit code.

    Raises:
      UserError: there is no such run, it has no weights, or its data is absent.
    """
    screen = Screen()
    folders = chosen_runs(options)
    if len(folders) > 1:
        raise UserError('--mode=report is of one run; --mode=compare shows several.')
    (folder,) = folders
    target = output_folder(options) if options.output else folder
    machine.prepare()
    own: Experiment = experiment or read_experiment(folder)
    roots = Roots(options.raw_dir, options.data_dir)
    job = make_job(own, roots, num_threads=options.num_threads, trains=False)
    state, step = find_trained(job, folder, options)
    number = len(own.eval.indices(job.eval_source))
    screen.facts({'run': f'{folder}, step {step}: evaluating {number} pictures'})
    found, ranking = _pages(job).evaluate(job, state)
    name = read_config(folder).origin.get('exp') or folder.resolve().name
    told = ', '.join(f'{name} {value}' for name, value in report.headline(job, found).items())
    subtitle = f'{told} on {own.eval.split}'
    content = page.page(name, subtitle, _sections(folder, job, step, found, ranking))
    with writing(target):
        write_whole(target / 'report.html', content.encode())
    screen.facts({'written to': str(target / 'report.html')})
    return 0
