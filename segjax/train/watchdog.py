"""A watchdog: ends a training that hangs, instead of letting it hold its devices for ever.

A peer that is gone, a dead file system or a driver that never answers leave a process waiting in a
call that no exception ends. It can only be ended from outside; the same command then resumes it.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading


class Watchdog:
    """Within `with Watchdog(timeout) as watch`, ends the process when `watch.beat()` stays away.

    The stacks of all threads go to stderr first, below one line that says why; the exit code is 1.

    Args:
      timeout: seconds allowed between two beats; 0 for no watchdog.
    """

    def __init__(self, timeout: float):
        self._timeout = timeout
        self._silent = 0.0  # seconds since the last beat
        self._ended = threading.Event()

    def __enter__(self) -> Watchdog:
        if self._timeout:
            threading.Thread(target=self._watch, name='watchdog', daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def beat(self) -> None:
        """Tells that the training goes on."""
        self._silent = 0.0

    def _watch(self) -> None:
        tick = min(1.0, self._timeout / 10)
        # Time is counted in ticks: a process that was suspended has not been hanging.
        while not self._ended.wait(tick):
            self._silent += tick
            if self._silent >= self._timeout:
                self._end()

    def _end(self) -> None:
        stream = sys.__stderr__
        if stream is not None:
            print(
                f'error: no step was finished in {self._timeout:g} s (--step_timeout): a process '
                'or a device hangs. Here is where this one waits; the same command carries on from '
                'the last checkpoint.',
                file=stream,
                flush=True,
            )
            faulthandler.dump_traceback(stream)
        os._exit(1)
