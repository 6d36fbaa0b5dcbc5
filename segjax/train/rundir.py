"""The directory of a run: made, locked, compared on resume, set aside by --fresh.

runs/NAME/config.json   {dotted path: value} of the experiment, and under `run` what it was
                        made with (provenance) and by which commands it was resumed
runs/NAME/lock          held by the process that trains; the kernel lets go of it when the
                        process ends, however it ends
runs/NAME/result.json   written last: the run is finished
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import io
import itertools
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from segjax import config, processes
from segjax.config import RunOptions
from segjax.files import write_whole
from segjax.train import provenance
from segjax.types import UserError


class RunConfig(NamedTuple):
    """What config.json says."""

    fields: dict[str, Any]  # the flattened experiment
    origin: dict[str, Any]  # exp, command, git_sha, versions, devices, ..., resumed


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file at once or not at all, whatever interrupts it."""
    write_whole(path, (json.dumps(value, indent=2) + '\n').encode())


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Around what is written into a folder that --output may name: its errors as UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f'{folder} cannot be written: {error.strerror or error}. Name another with '
            '--output=DIR.'
        ) from error


def output_path(options: RunOptions, name: str = '') -> Path:
    """Where a mode writes: --output, else the run directory or `name` in it."""
    return Path(options.output).expanduser() if options.output else options.workdir / name


def output_folder(options: RunOptions, name: str = '') -> Path:
    """`output_path`, made when needed. Raises UserError when it cannot be made."""
    folder = output_path(options, name)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def read_config(workdir: Path) -> RunConfig:
    """The configuration of the run in `workdir`.

    Raises UserError when there is none, or a config.json that is damaged or not a run's.
    """
    path = workdir / 'config.json'
    try:
        value = json.loads(path.read_text('utf-8'))
        origin = value.pop('run')
        return RunConfig(value, dict(origin))
    except FileNotFoundError:
        raise UserError(f'{workdir} holds no run: it has no config.json. Train first.') from None
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}.') from error
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(
            f'{path} is damaged, or is not the configuration of a run. Name another run with '
            '--workdir=DIR, or move the file away.'
        ) from None


def read_experiment(workdir: Path) -> Any:
    """The experiment of the run in `workdir`, made anew from its config.json.

    Raises UserError when there is none, or one that this code cannot make.
    """
    fields = read_config(workdir).fields
    try:
        return config.build(fields)
    except (UserError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{workdir / "config.json"} was changed, or written by other code than this: {error}'
        ) from error


def find_runs(words: Sequence[str], holding: str = 'config.json') -> list[Path]:
    """The directories that --runs names; a comma may part two names or belong to one.

    Args:
      holding: the file in them by which they are known.

    Raises UserError when there is none, or one that holds no run.
    """
    if not words:
        raise UserError(
            'Which runs? Name the directories of finished trainings: --runs=RUN1,RUN2, or with '
            '--mode=compare just RUN1 RUN2.'
        )
    folder = lambda name: Path(name).expanduser()
    found = config.join_names(words, lambda name: (folder(name) / holding).is_file())
    for path in map(folder, found):
        if not (path / holding).is_file():
            begun = (path / 'config.json').is_file()
            what = 'is a run that is not finished' if begun else 'holds no run'
            raise UserError(f'--runs: {path} {what}: it has no {holding}.')
    return [folder(name) for name in found]


def chosen_runs(options: RunOptions, holding: str = 'config.json') -> list[Path]:
    """The directories that --runs names, else that of --exp or --workdir.

    Raises UserError when none was named, or one that holds no run.
    """
    if options.runs:
        return find_runs(options.runs, holding)
    if options.workdir == RunOptions.workdir:
        mode = options.mode
        raise UserError(f'Which run? --mode={mode} RUN, or --exp=NAME for the run of that name.')
    return [options.workdir]


def read_result(workdir: Path) -> dict[str, Any] | None:
    """result.json of a finished run, None while it is not finished."""
    try:
        return json.loads((workdir / 'result.json').read_text('utf-8'))
    except (FileNotFoundError, ValueError):
        return None


def _lock(workdir: Path) -> IO[str]:
    """The open lock file, held until closed or the process ends. Raises UserError when taken."""
    file = (workdir / 'lock').open('a+', encoding='utf-8')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or 'another process'
        file.close()
        raise UserError(
            f'{workdir} is in use by {holder}. Wait for it, stop it, or name another run with '
            '--workdir=DIR.'
        ) from None
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()} since {provenance.now()}\n')
    file.flush()
    return file


def _is_run(directory: Path) -> bool:
    return (directory / 'config.json').exists()


def _has_begun(workdir: Path) -> bool:
    """False for a run that stopped before its first result: nothing in it depends on its fields."""
    results = ('metrics.jsonl', 'result.json')
    return any((workdir / 'checkpoints').glob('*')) or any(
        (workdir / name).exists() for name in results
    )


def _set_aside(workdir: Path) -> Path:
    """Moves a run beside itself: runs/NAME to runs/NAME.1, or .2, ...

    Runs inside it (runs/NAME/num_steps=20) and those of --mode=sweep are runs of their own and
    stay. config.json goes last, so that an interrupted move leaves a run that is still compared
    before anything continues it.
    """
    beside = workdir.resolve()
    kept = next(
        path
        for n in itertools.count(1)
        if not (path := beside.with_name(f'{beside.name}.{n}')).exists()
    )
    kept.mkdir()
    entries = [
        entry
        for entry in workdir.iterdir()
        if entry.name not in ('lock', 'config.json', 'sweep')
        and '=' not in entry.name
        and not _is_run(entry)
    ]
    for entry in [*sorted(entries), workdir / 'config.json']:
        if entry.exists():
            entry.rename(kept / entry.name)
    return kept


def _compare(workdir: Path, experiment: Any, old: RunConfig) -> None:
    """Raises UserError with a diff when the run was started with other fields."""
    ignored = config.uncompared(experiment)
    if lines := config.diff(old.fields, config.flatten(experiment), ignore=ignored):
        raise UserError(
            f'{workdir} was started with other fields (then -> now):\n  '
            + '\n  '.join(lines)
            + '\nA run keeps its fields to the end. --fresh starts again and keeps the old run '
            'beside it; --workdir=DIR starts another run.'
        )


@dataclasses.dataclass
class Run:
    """An open run directory. Locked until closed; use it in a `with` statement."""

    workdir: Path
    is_new: bool  # nothing has been computed in it
    result: dict[str, Any] | None  # of a finished run
    kept: Path | None  # where --fresh put the run that was here
    lock: IO[str] = dataclasses.field(repr=False)

    def close(self) -> None:
        """Lets go of the lock."""
        self.lock.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _continue(workdir: Path, experiment: Any) -> dict[str, Any] | None:
    """Checks that the run is this experiment's, and notes in it who goes on; its result if any."""
    old = read_config(workdir)
    _compare(workdir, experiment, old)
    if result := read_result(workdir):
        return result
    resumed = [*old.origin.get('resumed', []), provenance.collect()]
    write_json(workdir / 'config.json', {**old.fields, 'run': old.origin | {'resumed': resumed}})
    return None


def _open_locked(workdir: Path, options: RunOptions, experiment: Any, lock: IO[str]) -> Run:
    kept, begun = None, _has_begun(workdir)
    if _is_run(workdir):
        read_config(workdir)  # raises for what is not a run's: it is not ours to move or change
        if begun and options.fresh:
            kept, begun = _set_aside(workdir), False
    elif any((workdir / 'checkpoints').glob('*')):
        raise UserError(
            f'{workdir} holds checkpoints but no config.json, so nobody can say of what. Move '
            'them away, or start elsewhere with --workdir=DIR.'
        )
    if _is_run(workdir) and begun:
        return Run(workdir, False, _continue(workdir, experiment), kept, lock)
    origin = {'exp': options.exp} | provenance.collect()
    write_json(workdir / 'config.json', {**config.flatten(experiment), 'run': origin})
    return Run(workdir, True, None, kept, lock)


def open_run(options: RunOptions, experiment: Any) -> Run:
    """Opens options.workdir to train `experiment` in it, new or where it was left.

    Of several processes only process 0 touches the directory; the others are told what it found.
    Raises UserError, on all of them, when the directory cannot be written, is in use by another
    process, or holds a run with other fields (those marked compared=False may differ).
    """
    opened: list[Run] = []

    def open_here() -> dict[str, Any]:
        opened.append(_open_here(options, experiment))
        return {'is_new': opened[0].is_new, 'result': opened[0].result}

    told = processes.on_first(open_here)
    if opened:
        return opened[0]
    return Run(options.workdir, **told, kept=None, lock=io.StringIO())  # nothing to let go of


def _open_here(options: RunOptions, experiment: Any) -> Run:
    workdir = options.workdir
    with contextlib.ExitStack() as stack:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(_lock(workdir))
            run = _open_locked(workdir, options, experiment, file)
        except OSError as error:
            raise UserError(
                f'{workdir} cannot hold a run: {error.strerror} ({error.filename}). Name another '
                'directory with --workdir=DIR.'
            ) from error
        stack.pop_all()  # the run holds the lock from here
    return run
