"""--mode=train: train, evaluate, draw; or go on where the run was left."""

from __future__ import annotations

import time

from segjax import processes
from segjax.config import RunOptions
from segjax.data.dataset import Roots
from segjax.evaluate import Evaluation
from segjax.pretrained.initial import load_weights
from segjax.pretrained.table import normalization_note
from segjax.train import distributed, machine, opening, plots, report
from segjax.train.checkpoint import Checkpointer
from segjax.train.compilations import watch_compilations
from segjax.train.experiment import Experiment
from segjax.train.hashing import state_sha256
from segjax.train.interrupt import Interrupted, Interruption
from segjax.train.job import Job, make_job
from segjax.train.loop import NotFinite, Outcome, Reporter, fit
from segjax.train.memory import explain_out_of_memory
from segjax.train.model_folder import write_model_folder
from segjax.train.rundir import Run, open_run
from segjax.train.screen import Screen, metric_name, share
from segjax.train.state import TrainState
from segjax.train.watchdog import Watchdog
from segjax.train.writers import Writers
from segjax.types import UserError


def run(experiment: Experiment, options: RunOptions) -> int:
    """Train `experiment` in `options.workdir`; the exit code."""
    begin = time.perf_counter()
    with (
        distributed.session(options, experiment) as screen,
        Interruption() as stop,
        open_run(options, experiment) as opened,
    ):
        _describe_run(screen, opened)
        if opened.result is not None:
            return _say_finished(screen, opened)
        try:
            _train(experiment, options, opened, screen, stop, begin)
        except Interrupted as signal:
            screen.line(f'Stopped by {signal}; nothing is lost. The same command carries on.')
            return 75
        except NotFinite as error:
            screen.warn(
                f'training stopped: {error}. The last good checkpoint is kept. A lower '
                '--learning_rate or --clip_norm=1 often helps; --mode=check_data looks at the data.'
            )
            return 1
    return 0


def _describe_run(screen: Screen, opened: Run) -> None:
    state = 'finished' if opened.result is not None else 'new' if opened.is_new else 'resumed'
    kept = f'\nthe run that was here is kept in {opened.kept}' if opened.kept else ''
    screen.facts({'run': f'{opened.workdir} ({state}){kept}'})


def _say_finished(screen: Screen, opened: Run) -> int:
    for split, metrics in (opened.result or {}).get('metrics', {}).items():
        screen.evaluation((opened.result or {})['step'], split, metrics)
    screen.line(
        'This run is finished. --fresh starts again and keeps it; --mode=eval evaluates it.'
    )
    return 0


def _train(
    experiment: Experiment,
    options: RunOptions,
    opened: Run,
    screen: Screen,
    stop: Interruption,
    begin: float,
) -> None:
    machine.prepare()
    opening.describe_devices(screen)
    roots = Roots(options.raw_dir, options.data_dir)
    job = make_job(
        experiment,
        roots,
        kind=options.parallelism,
        shard_height=options.shard_height,
        num_threads=options.num_threads,
    )
    opening.describe_job(screen, job)
    opening.describe_plan(screen, job)
    muted = not processes.is_first()
    with (
        Checkpointer(opened.workdir / 'checkpoints', keep=options.keep, muted=muted) as checkpoints,
        Writers(
            opened.workdir, tensorboard=options.tensorboard, warn=screen.warn, muted=muted
        ) as writers,
        watch_compilations(screen.warn),
        explain_out_of_memory(experiment, job.parallel.num_devices),
    ):
        draw = (
            _Pictures(job, opened, writers, screen)
            if options.pictures and not muted
            else lambda step, found: None
        )
        reporter = Reporter(screen, writers, draw)
        state = _first_state(job, options, checkpoints, writers, screen, stop)
        with Watchdog(options.step_timeout) as watch:  # not before: a download may take its time
            outcome = fit(
                job,
                state,
                options=options,
                checkpoints=checkpoints,
                reporter=reporter,
                stop=stop,
                watch=watch,
            )
        checkpoints.wait()
        wall_time_s = time.perf_counter() - begin
        processes.on_first(lambda: _finish(job, opened, outcome, checkpoints, writers, wall_time_s))
        _say_result(screen, job, opened, outcome, checkpoints, options)


def _first_state(
    job: Job,
    options: RunOptions,
    checkpoints: Checkpointer,
    writers: Writers,
    screen: Screen,
    stop: Interruption,
) -> TrainState:
    """The state to start from, that of process 0 on all processes. A new run is evaluated first."""
    state = processes.from_first(
        lambda: _read_state(job, options, checkpoints, writers, screen), like=job.abstract_state()
    )
    if int(state.step):
        return state
    stop.check()
    screen.line(
        'Compiling; the first batch is evaluated before training, so that mistakes show now.'
    )
    found = job.evaluate(state, batches=iter([next(job.eval_batches())]))
    screen.evaluation(0, f'first batch of {job.experiment.eval.split}', found.metrics)
    return state


def _read_state(
    job: Job,
    options: RunOptions,
    checkpoints: Checkpointer,
    writers: Writers,
    screen: Screen,
) -> TrainState:
    """The latest checkpoint; else --weights; else initial values."""
    restored = checkpoints.restore('latest', like=job.abstract_state())
    if restored is not None:
        step, state = restored
        screen.line(f'Carrying on after step {step}.')
        writers.truncate_after(step)
        return state
    writers.truncate_after(-1)
    if options.weights not in ('', 'none'):
        expected = job.abstract_state().variables
        fresh = lambda: job.initial_state().variables  # for a head with other classes
        state = job.state_of(
            load_weights(options.weights, expected, initial=fresh, say=screen.line)
        )
        screen.line(f'Starting from {options.weights}.')
        normalize = job.experiment.dataset.normalize
        if note := normalization_note(options.weights, normalize):
            screen.line(note)
        return state
    return job.initial_state()


class _Pictures:
    """Draws what an evaluation found: predictions, confusion matrix, curves."""

    def __init__(self, job: Job, opened: Run, writers: Writers, screen: Screen):
        self._job, self._writers, self._screen = job, writers, screen
        self._workdir = opened.workdir

    def __call__(self, step: int, found: Evaluation) -> None:
        """Write predictions/STEP/ and progress.png; a failure never stops a training."""
        self._writers.pictures(step, report.pictures(self._job, found))
        curves, best = self._workdir / 'progress.png', self._job.evaluation.best_metric
        try:
            plots.progress_png(self._writers.metrics_path, curves, best, title=self._workdir.name)
        except OSError as error:
            self._screen.warn(f'{curves} was not drawn: {error}')


def _finish(
    job: Job,
    opened: Run,
    outcome: Outcome,
    checkpoints: Checkpointer,
    writers: Writers,
    wall_time_s: float,
) -> None:
    """Write model/ from the best checkpoint, then result.json, which says that all is there."""
    if checkpoints.failed:
        raise UserError(f'{checkpoints.failed}. Make room, then give the same command again.')
    step = int(outcome.state.step)
    best_step, best_state = step, outcome.state
    best = checkpoints.best()
    if best is not None and best.step != step:
        best_step, best_state = checkpoints.restore('best', like=job.abstract_state()) or (
            step,
            outcome.state,
        )
    write_model_folder(opened.workdir / 'model', job, best_state.variables, step=best_step)
    e = job.experiment
    writers.result(
        {
            'metrics': {e.eval.split: outcome.evaluation.metrics},
            'step': step,
            'skipped_steps': step - int(outcome.state.updates),
            'best': best._asdict() if best else None,
            'wall_time_s': wall_time_s,
            'images_per_s': outcome.images_per_s,
            'params_sha256': state_sha256(outcome.state.params),
            'state_sha256': state_sha256(outcome.state),
            'protocol': report.protocol(job, outcome.evaluation),
        }
    )


def _say_result(
    screen: Screen,
    job: Job,
    opened: Run,
    outcome: Outcome,
    checkpoints: Checkpointer,
    options: RunOptions,
) -> None:
    step = int(outcome.state.step)
    report.class_table(screen, job, outcome.evaluation, step=step)
    facts = report.headline(job, outcome.evaluation)
    if best := checkpoints.best():
        name = metric_name(job.evaluation.best_metric)
        facts['best'] = f'{name} {share(best.value)} after step {best.step}'
    folder = opened.workdir
    if options.pictures:
        facts['pictures'] = f'{folder}/predictions/{step}/predictions.png'
        facts['curves'] = f'{folder}/progress.png'
    facts['model'] = f'{folder}/model/'
    name = options.exp
    facts['next'] = (
        f'python launch.py --exp={name} --mode=eval          evaluate the best checkpoint again\n'
        f'python launch.py --exp={name} --seed=1             another seed, in a run of its own\n'
        f'python launch.py --exp={name} --help               every field that can be changed'
    )
    screen.facts(facts)
