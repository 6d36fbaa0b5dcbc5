"""Settings of the process, made before anything is compiled."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def prepare() -> None:
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
