"""Settings of the process, made before anything is compiled."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import jax


def enable_compilation_cache() -> None:
    """Keep compiled programs between starts, in a folder that only this user can read or write.

    A compiled program is code: a folder that others can write to would let them run theirs. The
    variable JAX_COMPILATION_CACHE_DIR names another folder, and is then left alone.
    """
    if os.environ.get('JAX_COMPILATION_CACHE_DIR'):
        return
    folder = Path('~/.cache/segjax/compiled').expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        if folder.stat().st_uid != os.getuid():
            return
    except OSError:  # a read-only home: compile every time
        return
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)


def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed arrays for the next ones (Linux, CPU).

    Otherwise it gives every large array back to the system and gets the next one as fresh pages,
    which the processor has to fault in one by one: a third of the time of a training step.
    """
    if not sys.platform.startswith('linux') or jax.default_backend() != 'cpu':
        return
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)  # glibc has it, musl has not
    if mallopt is not None:
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def prepare() -> None:
    """What every mode that computes does first."""
    enable_compilation_cache()
    keep_freed_memory()
