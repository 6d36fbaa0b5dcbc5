"""Counts how often training and evaluation are compiled, and warns when shapes keep changing.

Every new shape is a program of its own, of seconds to minutes that show as nothing but slowness.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

EVENT = '/jax/core/compile/backend_compile_duration'
REMEDIES = {
    'train_step': 'every batch of a training should have one shape',
    'score': 'pictures of many sizes: a larger --eval.round_to makes fewer shapes',
    'predict_canvas': 'pictures of many sizes: --exp=NAME --eval.round_to=64 makes fewer shapes',
}
WARN_AT = (4, 40, 400)  # compilations of one function


@contextmanager
def watch_compilations(warn: Callable[[str], None]) -> Iterator[dict[str, int]]:
    """Yields {function: times compiled}, kept up to date within the block.

    Programs from the cache count too: each is another shape.

    Args:
      warn: told when a function of REMEDIES is compiled for the 4th, 40th and 400th time, with the
        seconds spent so far and what to do.
    """
    counts = dict.fromkeys(REMEDIES, 0)
    seconds = dict.fromkeys(REMEDIES, 0.0)

    def listen(event: str, duration_secs: float, **described: Any) -> None:
        found = re.search(r'\w+(?=\)*$)', str(described.get('fun_name', '')))  # of `jit(score)`
        name = found.group() if found else ''
        if event != EVENT or name not in counts:
            return
        counts[name] += 1
        seconds[name] += duration_secs
        if counts[name] in WARN_AT:
            warn(
                f'{name} was compiled {counts[name]} times, {seconds[name]:.0f} s in all; '
                f'{REMEDIES[name]}.'
            )

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield counts
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
