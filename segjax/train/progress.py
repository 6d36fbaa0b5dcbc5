"""A bar that grows while files are worked through."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from segjax.train.screen import duration

WIDTH = 24


class Bar:
    """`[======------------------] 25/100  3.1 pictures/s  ETA 0:24`.

    On a terminal the line grows in its place; elsewhere a line is written at every tenth.

    Args:
      total: how many there are.
      what: how they are called, in the plural.
      out: default: the process's stdout.
    """

    def __init__(
        self,
        total: int,
        what: str,
        *,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self._total, self._what = total, what
        self._out = out or sys.stdout
        self._clock = clock
        self._begin = clock()
        self._tenths = 0

    def show(self, done: int) -> None:
        """Draw the bar for `done` files; a broken stream is left alone."""
        tenths = 10 * done // self._total
        terminal = self._out.isatty()
        if not terminal and tenths == self._tenths:
            return
        self._tenths = tenths
        text = self._text(done)
        end = '\n' if done == self._total or not terminal else ''
        try:
            self._out.write(f'\r{text}\033[K{end}' if terminal else text + end)
            self._out.flush()
        except (OSError, ValueError):
            pass  # a closed pipe or terminal

    def _text(self, done: int) -> str:
        full = WIDTH * done // self._total
        seconds = max(self._clock() - self._begin, 1e-9)
        left = duration(seconds / done * (self._total - done)) if done else '?'
        time_left = f'ETA {left}' if done < self._total else f'in {duration(seconds)}'
        return (
            f'[{"=" * full}{"-" * (WIDTH - full)}] {done}/{self._total}  '
            f'{done / seconds:.3g} {self._what}/s  {time_left}'
        )
