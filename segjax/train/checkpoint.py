"""Checkpoints that survive kill -9, full disks and flipped bits. Hides Orbax entirely.

    checkpoints/STEP/               one checkpoint: Orbax's files and manifest.json
    checkpoints/best.json           which step is the best, by which metric
    checkpoints/bad/STEP/           damaged ones, moved out of the way
    checkpoints/.saving-STEP*/      a save on its way; after a crash, a leftover
    checkpoints/.deleting-STEP/     likewise of a deletion

Orbax (0.12) writes into `.saving-STEP`, a manifest with size and SHA-256 of every file is added,
and one rename to `STEP` commits all of it. So whatever bears a number was complete once; if its
files do not match its manifest, it is damaged. Orbax itself would not notice: it restores flipped
bits as wrong weights, casts float32 to bfloat16 without a word and offers empty directories as the
latest step. Leaves are stored flat under their path, so the kinds of the tree's nodes do not
matter.

Of several processes only process 0 saves and restores, and needs to see the directory; it hands on
what it has read (`processes.from_first`).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from segjax.files import write_whole
from segjax.train.hashing import (
    DamageError,
    leaf_paths,
    read_manifest,
    verify_manifest,
    write_manifest,
)
from segjax.types import UserError

_BEST = 'best.json'
_BAD = 'bad'
_SAVING = '.saving-'
_DELETING = '.deleting-'


class Best(NamedTuple):
    """What best.json holds: the best step and the metric that says so."""

    step: int
    value: float
    name: str
    higher_is_better: bool = True

    def is_at_least(self, other: Best) -> bool:
        """Whether `other` is no improvement. Values of another metric cannot be compared."""
        if (self.name, self.higher_is_better) != (other.name, other.higher_is_better):
            return False
        return self.value >= other.value if self.higher_is_better else self.value <= other.value


def _warn(message: str) -> None:
    print(f'WARNING: {message}', file=sys.stderr, flush=True)


def _describe(tree: Any) -> dict[str, list]:
    """{path: [dtype, shape]} of a tree of arrays or ShapeDtypeStructs."""
    described = {}
    for path, leaf in leaf_paths(tree).items():
        if not hasattr(leaf, 'dtype') or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise TypeError(
                f'{path} is {type(leaf).__name__} {getattr(leaf, "dtype", "")}: a checkpoint holds '
                'arrays; make it one (a random key: jax.random.key_data)'
            )
        described[path] = [np.dtype(leaf.dtype).name, list(leaf.shape)]
    return described


def _text(description: list) -> str:
    dtype, shape = description
    return f'{dtype}({", ".join(map(str, shape))})'


def _check_leaves(directory: Path, stored: dict[str, list], wanted: dict[str, list]) -> None:
    """Raises UserError naming all leaves that only one side has, or that differ."""
    problems = [f'  only there: {p} {_text(stored[p])}' for p in stored if p not in wanted]
    problems += [f'  only here:  {p} {_text(wanted[p])}' for p in wanted if p not in stored]
    problems += [
        f'  differs:    {p} is {_text(stored[p])} there, {_text(wanted[p])} here'
        for p in stored
        if p in wanted and stored[p] != wanted[p]
    ]
    if problems:
        raise UserError(
            '\n'.join([f'checkpoint {directory} holds another training state:', *problems])
            + '\nUse the model, optimizer and fields it was made with, or another --workdir, '
            'or --fresh to start again.'
        )


def _restore_args(leaf: Any):
    """Onto the sharding of `leaf` if it has one that matters, else as a NumPy array."""
    import orbax.checkpoint as ocp

    sharding = getattr(leaf, 'sharding', None)
    if sharding is None or (isinstance(leaf, jax.Array) and not leaf.committed):
        return ocp.RestoreArgs(restore_type=np.ndarray)
    return ocp.ArrayRestoreArgs(
        sharding=sharding, global_shape=tuple(leaf.shape), dtype=np.dtype(leaf.dtype)
    )


def _alone():
    """Keeps Orbax from waiting for the other processes of a job."""
    import orbax.checkpoint as ocp

    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=index, active_processes={index})


def _handler():
    import orbax.checkpoint as ocp

    return ocp.PyTreeCheckpointHandler(multiprocessing_options=_alone())


def _read(directory: Path, like: Any) -> Any:
    """The state in `directory`, which is known to hold the leaves of `like`."""
    import orbax.checkpoint as ocp

    leaves = leaf_paths(like)
    restore_args = {p: _restore_args(leaf) for p, leaf in leaves.items() if math.prod(leaf.shape)}
    with ocp.Checkpointer(_handler(), multiprocessing_options=_alone()) as reader:
        stored = reader.restore(
            directory.absolute(), args=ocp.args.PyTreeRestore(restore_args=restore_args)
        )
    restored = []
    for path, leaf in leaves.items():
        array = stored[path] if path in restore_args else np.zeros(leaf.shape, leaf.dtype)
        if isinstance(array, np.ndarray) and not isinstance(leaf, np.ndarray):
            # A copy, for XLA to own: it must be able to donate it. And uncommitted, as fresh
            # arrays are, so that jit may place it.
            array = jnp.array(array, copy=True)
        restored.append(array)
    return jax.tree.unflatten(jax.tree.structure(like), restored)


def _start_saving(directory: Path, state: Any) -> Callable[[], None]:
    """Copies `state` off the devices and begins to write it; returns what waits for the end."""
    import orbax.checkpoint as ocp

    # Orbax refuses arrays without elements; their shape and dtype in the manifest say it all.
    leaves = {path: leaf for path, leaf in leaf_paths(state).items() if leaf.size}
    if jax.process_count() > 1:  # Orbax takes no arrays of a single process, but NumPy's
        leaves = {path: np.array(leaf, copy=True) for path, leaf in leaves.items()}
    writer = ocp.AsyncCheckpointer(_handler(), multiprocessing_options=_alone())
    writer.save(directory.absolute(), args=ocp.args.PyTreeSave(leaves))

    def finish() -> None:
        try:
            writer.wait_until_finished()
        finally:
            writer.close()

    return finish


def _sync_directory(directory: Path) -> None:
    """Forces renames within a directory out to the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Checkpointer:
    """Saves and restores training states in one directory.

    A directory has one writer at a time (the run's lock sees to that) and any number of readers:
    nothing is created or cleaned up before the first `save`.

    Args:
      directory: `runs/NAME/checkpoints`; made when needed.
      keep: how many of the latest checkpoints to keep, beside the best one; at least 1.
      muted: save nothing: what the processes beside process 0 have.

    Attributes:
      failed: why the last save failed, or ''. A failed save never raises: training goes on, the
        next save tries again, and the caller decides what a failure at the very end means.
    """

    def __init__(self, directory: str | os.PathLike, *, keep: int = 2, muted: bool = False):
        if keep < 1:
            raise ValueError(f'keep must be at least 1, not {keep}')
        self.failed = ''
        self._directory = Path(directory)
        self._keep = keep
        self._muted = muted
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # guards _candidate and best.json
        self._candidate: Best | None = None  # to be the best as soon as its step is committed
        self._cleaned = False

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    # Looking

    def steps(self) -> list[int]:
        """Committed steps in ascending order: those with an intact manifest (see `restore`)."""
        found = []
        for step in self._numbered():
            try:
                read_manifest(self._path(step))
                found.append(step)
            except DamageError:
                pass
        return found

    def best(self) -> Best | None:
        """What best.json says; None when there is none or it is unreadable."""
        path = self._directory / _BEST
        try:
            best = Best(**json.loads(path.read_text()))
            return best if isinstance(best.step, int) and math.isfinite(best.value) else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            _warn(f'{path} is unreadable and ignored ({error})')
            return None

    def _path(self, step: int) -> Path:
        return self._directory / str(step)

    def _numbered(self, *, warn: bool = False) -> list[int]:
        """Steps that have a directory, ascending, in whatever condition."""
        steps = []
        for path in self._directory.iterdir() if self._directory.is_dir() else ():
            if path.name.isdecimal() and str(int(path.name)) == path.name and path.is_dir():
                steps.append(int(path.name))
            elif warn and path.name not in (_BEST, _BAD) and not path.name.startswith('.'):
                _warn(f'{path} is no checkpoint and is ignored')
        return sorted(steps)

    # Saving

    def save(self, step: int, state: Any) -> None:
        """Begins to save `state` as `step`; returns as soon as its arrays have been copied.

        Afterwards they may be donated. Waits for the previous save first. A step that is already
        there is not written again. Failures are warned of and kept in `failed`.

        Args:
          step: what the checkpoint is called, >= 0.
          state: a pytree of NumPy or JAX arrays; random keys as their uint32 data.

        Raises:
          TypeError: a leaf is not an array.
        """
        if self._muted:
            return
        self.wait()
        leaves = _describe(state)
        if self._candidate and self._candidate.step != step:
            self._candidate = None  # its save failed
        if step in self.steps():
            return
        try:
            self._prepare(step)
            finish = _start_saving(self._saving(step), state)
        except Exception as error:  # Orbax wraps I/O errors in many types; none may stop training
            self._fail(step, error)
            return
        self._thread = threading.Thread(
            target=self._finish, args=(step, leaves, finish), name=f'checkpoint-{step}'
        )
        self._thread.start()

    def wait(self) -> None:
        """Returns when no save is under way; `failed` then tells how the last one ended."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Finishes what is under way. Must be called before the interpreter ends."""
        self.wait()
        if not self._muted:
            self._remove_leftovers(_DELETING)  # of a crash, where nothing was left to save

    def _saving(self, step: int) -> Path:
        return self._directory / f'{_SAVING}{step}'

    def _prepare(self, step: int) -> None:
        """Makes the directory, removes leftovers of a crash and what stands in the way."""
        self._directory.mkdir(parents=True, exist_ok=True)
        if not self._cleaned:
            for prefix in (_SAVING, _DELETING):
                self._remove_leftovers(prefix)
            self._cleaned = True
        if self._path(step).exists():
            self._quarantine(step, f'{self._path(step)} is not a complete checkpoint')

    def _remove_leftovers(self, prefix: str) -> None:
        for path in self._directory.glob(f'{prefix}*'):
            shutil.rmtree(path, ignore_errors=True)

    def _finish(self, step: int, leaves: dict[str, list], finish: Callable[[], None]) -> None:
        """In the background: waits for Orbax, adds the manifest, commits, tidies up."""
        try:
            finish()
            write_manifest(self._saving(step), step=step, leaves=leaves)
            os.rename(self._saving(step), self._path(step))  # the commit
            _sync_directory(self._directory)
            self.failed = ''
        except Exception as error:  # see save
            self._fail(step, error)
            return
        self._record_best()
        self._delete_old()

    def _fail(self, step: int, error: Exception) -> None:
        reason = ' '.join(str(error).split())[:300]
        self.failed = (
            f'checkpoint {self._path(step)} was not saved: {type(error).__name__}: {reason}'
        )
        _warn(f'{self.failed}. Earlier ones are intact; the next save tries again.')
        self._remove_leftovers(_SAVING)

    # Best and oldest

    def mark_best(
        self, step: int, value: float, name: str, *, higher_is_better: bool = True
    ) -> bool:
        """Makes `step` the best one if `value` is better than the best so far.

        best.json is written when the step is committed, be that before or after this call; until
        then the best one so far remains. A value that is not finite never counts.

        Returns:
          whether `value` is the best so far.
        """
        new = Best(step, float(value), name, higher_is_better)
        if self._muted:
            return False
        with self._lock:
            present = self._candidate or self.best()
            if not math.isfinite(new.value):
                return False
            # The best step itself may be evaluated again, after an interruption: it stays the best.
            if present and present.step != step and present.is_at_least(new):
                return False
            self._candidate = new
        self._record_best()
        if self._thread is None or not self._thread.is_alive():  # else it deletes when it is done
            self._delete_old()
        return True

    def _record_best(self) -> None:
        """Writes best.json if the candidate is committed by now."""
        with self._lock:
            new = self._candidate
            if new is None or new.step not in self.steps():
                return
            self._candidate = None
            try:
                write_whole(self._directory / _BEST, json.dumps(new._asdict()).encode())
            except OSError as error:
                self.failed = f'{self._directory / _BEST} was not written: {error}'
                _warn(self.failed)

    def _delete_old(self) -> None:
        """Deletes all but the latest `keep` and the best; never the step just committed."""
        steps = self.steps()
        best = self.best()
        for step in steps[: -self._keep]:
            if best is None or step != best.step:
                try:
                    # Renamed first: a reader sees a checkpoint whole or not at all.
                    doomed = self._directory / f'{_DELETING}{step}'
                    os.rename(self._path(step), doomed)
                    shutil.rmtree(doomed)
                except OSError as error:
                    _warn(f'old checkpoint {self._path(step)} could not be deleted ({error})')

    # Restoring

    def restore(self, which: str | int = 'latest', *, like: Any) -> tuple[int, Any] | None:
        """Restores a checkpoint after verifying every byte of it.

        Damaged checkpoints are moved to `bad/` with a warning, and the latest good one is used.
        Where no best one is marked, 'best' means the latest.

        Args:
          which: 'latest', 'best' or a step.
          like: a pytree of arrays or ShapeDtypeStructs with the paths, shapes and dtypes of the
            state. Arrays come back on the sharding of their leaf here; where it has none,
            uncommitted on the default device; and as NumPy where the leaf is NumPy.

        Returns:
          (step, state); None when there is no checkpoint.

        Raises:
          UserError: the named step is missing or damaged; there were checkpoints and all are
            damaged; or the checkpoint has other leaves, shapes or dtypes than `like`.
        """
        self.wait()
        step = self._choose(which)
        if step < 0:
            return None
        directory = self._path(step)
        _check_leaves(directory, read_manifest(directory)['leaves'], _describe(like))
        return step, _read(directory, like)

    def _choose(self, which: str | int) -> int:
        """The step to restore, verified; -1 when there is none at all."""
        candidates = self._candidates(which)
        for step in candidates:
            if self._verify(step):
                return step
        if candidates:
            rest = ', '.join(map(str, self.steps()))
            raise UserError(
                f'no usable checkpoint in {self._directory}: damaged are '
                f'{", ".join(map(str, candidates))} (now in {self._directory / _BAD}). '
                + (f'Still there: {rest}.' if rest else 'The next start begins at step 0.')
            )
        return -1

    def _candidates(self, which: str | int) -> list[int]:
        """Steps in the order in which to try them."""
        steps = self._numbered(warn=True)[::-1]
        if which == 'latest':
            return steps
        if which == 'best':
            best = self.best()
            if best and best.step in steps:
                return [best.step, *(step for step in steps if step != best.step)]
            if steps:
                _warn(f'no best checkpoint is marked in {self._directory}: taking the latest')
            return steps
        if not str(which).isdecimal() or int(which) not in steps:
            there = ', '.join(map(str, steps[::-1])) or 'none'
            raise UserError(
                f'there is no checkpoint {which!r} in {self._directory}; steps there: {there} '
                "(or say 'latest' or 'best')"
            )
        return [int(which)]

    def _verify(self, step: int) -> bool:
        """Whether a checkpoint is intact; if not, it is moved away."""
        directory = self._path(step)
        try:
            if verify_manifest(directory)['step'] != step:
                raise DamageError(f'{directory} holds another step')
            return True
        except DamageError as damage:
            if directory.exists():  # else its writer has just deleted it as an old one
                self._quarantine(step, str(damage))
            return False

    def _quarantine(self, step: int, reason: str) -> None:
        """Moves a damaged checkpoint to `bad/`; where that is impossible, only warns."""
        target = self._directory / _BAD / str(step)
        for number in range(1, 1000):
            if not target.exists():
                break
            target = self._directory / _BAD / f'{step}.{number}'
        try:
            target.parent.mkdir(exist_ok=True)
            os.rename(self._path(step), target)
            _warn(f'checkpoint {step} is damaged and not used: {reason}. Moved to {target}.')
        except OSError as error:
            _warn(f'checkpoint {step} is damaged and not used: {reason}. Left there ({error}).')
