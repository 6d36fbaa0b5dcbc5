"""--mode=eval: evaluate a checkpoint of a run, or any weights.

With --runs=A,B the probabilities of several finished runs, of seeds or folds, are averaged. With
--prune=2 the network that pruning leaves of a U-Net++ is evaluated, and written as a smaller
model/ folder beside its numbers, in eval_L2/; one thing at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segjax import config, processes
from segjax.ablation.levels import at_depth
from segjax.config import RunOptions
from segjax.data.dataset import Roots
from segjax.evaluate import Evaluation
from segjax.pretrained.initial import load_weights
from segjax.tasks import Averaged
from segjax.train import distributed, machine, opening, report
from segjax.train.checkpoint import Checkpointer
from segjax.train.compilations import watch_compilations
from segjax.train.experiment import Experiment
from segjax.train.job import Job, make_job
from segjax.train.memory import explain_out_of_memory
from segjax.train.model_folder import read_model_folder, write_model_folder
from segjax.train.rundir import find_runs, output_folder, read_config, write_json, writing
from segjax.train.state import TrainState
from segjax.train.writers import plain
from segjax.types import UserError
from segjax.visualize import write_png


def run(experiment: Experiment, options: RunOptions) -> int:
    """Evaluate, print the table, write `eval.json` and pictures; the exit code."""
    with distributed.session(options, experiment) as screen:
        machine.prepare()
        opening.describe_devices(screen)
        roots = Roots(options.raw_dir, options.data_dir)
        job = make_job(experiment, roots, num_threads=options.num_threads, trains=False)
        opening.describe_job(screen, job)
        if options.runs and options.prune:
            raise UserError('--runs averages whole networks: leave out --prune, or --runs.')
        job, state, origin = (_several if options.runs else _one)(job, options)
        screen.facts({'weights': origin})
        if options.prune:
            job, state = _pruned(job, state, options.prune)
            opening.describe_job(screen, job)
        folder = Path(processes.on_first(lambda: _make_folder(options)))
        devices = job.parallel.num_devices
        with watch_compilations(screen.warn), explain_out_of_memory(experiment, devices):
            found = job.evaluate(state, samples=6 if options.pictures else 0)
        report.class_table(screen, job, found, step=int(state.step))
        screen.evaluation(int(state.step), job.experiment.eval.split, found.metrics)
        if said := report.no_room(job, found):
            screen.line(f'  {said}')
        processes.on_first(lambda: _write(folder, job, found, state, origin, options))
        screen.facts({'written to': str(folder)})
    return 0


def _one(job: Job, options: RunOptions) -> tuple[Job, TrainState, str]:
    """The state that `find_state` finds, on all processes."""
    origin = ''

    def read() -> TrainState:
        nonlocal origin
        state, origin = find_state(job, options)
        return state

    return job, processes.from_first(read, like=job.abstract_state()), origin


def _of_network(fields: Mapping[str, Any], folds: bool) -> dict[str, Any]:
    """Those of a flattened experiment that runs must share to be averaged."""
    own = (
        'model.num_classes',
        'model.dtype',
        'model.remat',
    )  # known from the data, or of no matter
    names = ('dataset.normalize', 'dataset.channels', *(('folds', 'fold') if folds else ()))
    return {
        path: value
        for path, value in fields.items()
        if path in names or (path.split('.')[0] == 'model' and path not in own)
    }


def _check_alike(folder: Path, e: Experiment) -> None:
    """Refuse a run of another network, and one that has learned the pictures of the fold."""
    run, own = read_config(folder).fields, config.flatten(e)
    if lines := config.diff(*(_of_network(fields, e.folds > 0) for fields in (own, run))):
        raise UserError(
            f'--runs: {folder} is not of the network that is evaluated; give the fields that it '
            f'was trained with, or leave it out:\n  ' + '\n  '.join(lines)
        )


def _several(job: Job, options: RunOptions) -> tuple[Job, TrainState, str]:
    """The networks of --runs as one: a state with a leading axis, and the task that averages."""

    def find() -> list[str]:
        found = find_runs(options.runs)
        for folder in found:
            _check_alike(folder, job.experiment)
        return [str(folder.absolute()) for folder in found]

    folders = processes.on_first(find)
    like = job.abstract_state()
    read = lambda folder: job.state_of(load_weights(folder, like.variables))
    states = [processes.from_first(lambda f=folder: read(f), like=like) for folder in folders]
    parts = [state.variables for state in states]
    stacked = jax.tree.map(lambda *leaves: jnp.stack([*map(jnp.asarray, leaves)]), *parts)
    params = stacked.pop('params')
    e = job.experiment
    fields = {field.name: getattr(e.task, field.name) for field in dataclasses.fields(e.task)}
    job = job.with_network(dataclasses.replace(e, task=Averaged(**fields)))
    state = states[0]._replace(params=params, extra=stacked, average={})
    return job, state, f'the mean of {", ".join(folders)}'


def _pruned(job: Job, state: TrainState, depth: int) -> tuple[Job, TrainState]:
    """The job of the pruned network, and its state."""
    job, variables = at_depth(job, state.variables, depth)
    return job, job.state_of(dict(variables))._replace(step=state.step)


def _make_folder(options: RunOptions) -> str:
    """Where the result goes; made beforehand, so that none is computed that cannot be kept."""
    name = f'eval_L{options.prune}' if options.prune else 'eval_mean' if options.runs else 'eval'
    return str(output_folder(options, name))


def _write(
    folder: Path,
    job: Job,
    found: Evaluation,
    state: TrainState,
    origin: str,
    options: RunOptions,
) -> None:
    """Write eval.json and pictures, of a pruned network its model, too."""
    step = int(state.step)
    result = {
        'metrics': {job.experiment.eval.split: found.metrics},
        **report.details(job, found),
        'step': step,
        'weights': origin,
        'protocol': report.protocol(job, found),
    }
    drawn: dict[str, np.ndarray] = {}
    if options.pictures:
        drawn = report.pictures(job, found) | report.steps(job, state.variables)
    with writing(folder):
        if options.prune:
            write_model_folder(folder / 'model', job, state.variables, step=step)
        write_json(folder / 'eval.json', plain(result))
        for name, picture in drawn.items():
            write_png(folder / f'{name}.png', picture)


def find_state(job: Job, options: RunOptions) -> tuple[TrainState, str]:
    """The state to evaluate and where it is from: --weights, else a checkpoint of the run.

    Raises UserError when there is none.
    """
    if options.weights not in ('', 'none'):
        variables = load_weights(options.weights, job.abstract_state().variables)
        return job.state_of(variables), options.weights
    which = options.checkpoint
    checkpoints = Checkpointer(options.workdir / 'checkpoints')
    restored = checkpoints.restore(
        int(which) if which.isdecimal() else which, like=job.abstract_state()
    )
    if restored is None:
        train = f' (python launch.py --exp={options.exp})' if options.exp else ''
        raise UserError(
            f'{options.workdir} holds no checkpoint. Train first{train}, name another run with '
            '--workdir=DIR, or give --weights=FILE.'
        )
    step, state = restored
    return state, f'{options.workdir / "checkpoints" / str(step)}'


def find_trained(job: Job, folder: Path, options: RunOptions) -> tuple[TrainState, int]:
    """The state of the run in `folder`, and after which step: of a finished one the best weights,
    from its model/, which outlives changes of the training state; else a checkpoint.

    Raises UserError when there is none.
    """
    if options.checkpoint == 'best' and (folder / 'model' / 'model.json').is_file():
        step = read_model_folder(folder / 'model').step
        variables = load_weights(str(folder.absolute()), job.abstract_state().variables)
        return job.state_of(variables), step
    source = dataclasses.replace(options, workdir=folder, weights='')
    state, _ = find_state(job, source)
    return state, int(state.step)
