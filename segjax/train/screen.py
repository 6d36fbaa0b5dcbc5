"""The screen: what a run says while it works, and the pace it reports.

Everything ordinary goes to stdout, warnings to stderr, line by line and flushed, as plain text;
bold headings only on a terminal. A screen that breaks (a closed pipe, a lost terminal) never stops
a run.
"""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TextIO

# Numbers as people read them


def duration(seconds: float) -> str:
    """Seconds as `0:07`, `1:32`, `2:03:04`, `3 d 04:05`; `?` where they are not known."""
    if not math.isfinite(seconds) or seconds < 0:
        return '?'
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f'{days} d {hours:02d}:{minutes:02d}'
    return f'{hours}:{minutes:02d}:{rest:02d}' if hours else f'{minutes}:{rest:02d}'


def quantity(number: float) -> str:
    """A count with three digits: `870`, `1.34 M`, `134 M`, `15.5 G`."""
    for unit in ('', ' k', ' M', ' G', ' T'):
        if abs(number) < 999.5 or unit == ' T':
            break
        number /= 1000
    digits = 0 if not unit or abs(number) >= 99.95 else 1 if abs(number) >= 9.995 else 2
    return f'{number:.{digits}f}{unit}'


def share(value: float | None) -> str:
    """A number of 0..1 with three decimals, `n/a` for NaN and None."""
    return 'n/a' if value is None or math.isnan(value) else f'{value:.3f}'


def _loss(value: float) -> str:
    plain = value == 0 or not math.isfinite(value) or 1e-2 <= abs(value) < 1e3
    return f'{value:.3f}' if plain else f'{value:.2e}'


def _learning_rate(value: float) -> str:
    if not value:
        return '0'
    digits, exponent = f'{value:.1e}'.split('e')
    return f'{digits}e{int(exponent)}'


# How fast, how long still


class Speed(NamedTuple):
    """A report of `Pace`; NaN where nothing can be said."""

    images_per_s: float
    wait: float  # share of the time spent waiting for data, 0..1
    seconds_left: float


class Pace:
    """Measures a run between reports: images a second, waiting for data, time left.

    Time in `pause()` (evaluation, pictures) does not count as training, but does count, spread over
    the steps, in the time left. A clock that stands still or jumps back spoils one report at most.
    """

    def __init__(self, num_steps: int, *, clock: Callable[[], float] = time.perf_counter):
        self._num_steps, self._clock = num_steps, clock
        self._seconds_per_step = math.nan
        self._paused_total = 0.0
        self._steps_done = 0
        self.start(0)

    def start(self, step: int) -> None:
        """Begin to measure at `step`: what came before (compilation) is left out."""
        self._step, self._since = step, self._clock()
        self._paused = self._waited = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around whatever waits for the next batch."""
        begin = self._clock()
        try:
            yield
        finally:
            self._waited += max(self._clock() - begin, 0.0)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Around whatever is not training."""
        begin = self._clock()
        try:
            yield
        finally:
            spent = max(self._clock() - begin, 0.0)
            self._paused += spent
            self._paused_total += spent

    def report(self, step: int, batch_size: int) -> Speed:
        """The speed since the last report, and begin the next one."""
        steps, elapsed = step - self._step, self._clock() - self._since - self._paused
        images_per_s = wait = math.nan
        if steps > 0 and elapsed > 0:
            latest = elapsed / steps
            known = math.isfinite(self._seconds_per_step)
            self._seconds_per_step = (
                0.7 * self._seconds_per_step + 0.3 * latest if known else latest
            )
            images_per_s = steps * batch_size / elapsed
            wait = min(self._waited / elapsed, 1.0)
        self._steps_done += max(steps, 0)
        self.start(step)
        return Speed(images_per_s, wait, self.seconds_left(step))

    def seconds_left(self, step: int) -> float:
        """Time to the last step; NaN before the first report."""
        paused = self._paused_total / self._steps_done if self._steps_done else 0.0
        return max(self._num_steps - step, 0) * (self._seconds_per_step + paused)


# The screen itself


class Screen:
    """Where a run speaks: lines, facts, steps, tables; `out` and `err` default to the process's."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None):
        self._out, self._err = out, err

    def line(self, text: str = '') -> None:
        """One line on stdout."""
        _write(self._out or sys.stdout, text)

    def warn(self, text: str) -> None:
        """One warning on stderr."""
        _write(self._err or sys.stderr, f'WARNING: {text}')

    def heading(self, text: str) -> None:
        """An empty line and a title, bold on a terminal."""
        self.line()
        self.line(f'\033[1m{text}\033[0m' if self._is_terminal() else text)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Aligned `name  value` lines; further lines of a value stand below its first.

        Names are given a width of eight at least, so that facts told one after another align.
        """
        width = max([8, *map(len, facts)])
        for name, value in facts.items():
            first, *more = value.splitlines() or ['']
            self.line(f'{name:<{width}}  {first}')
            for text in more:
                self.line(f'{"":<{width}}  {text}')

    def step(
        self, step: int, num_steps: int, *, loss: float, learning_rate: float, speed: Speed
    ) -> None:
        """`step  100/1200  loss 0.812  lr 3.0e-4  96 img/s  wait 2%  ETA 1:32`."""
        parts = [f'step {step:>{len(str(num_steps))}}/{num_steps}', f'loss {_loss(loss)}']
        parts.append(f'lr {_learning_rate(learning_rate)}')
        if math.isfinite(speed.images_per_s):
            parts.append(f'{speed.images_per_s:.{0 if speed.images_per_s >= 10 else 1}f} img/s')
            parts.append(f'wait {100 * speed.wait:.0f}%')
        parts.append(f'ETA {duration(speed.seconds_left)}')
        self.line('  '.join(parts))

    def evaluation(
        self, step: int, split: str, metrics: Mapping[str, float], *, best: bool = False
    ) -> None:
        """`  val at step 200  mean IoU 0.512  pixel accuracy 0.871  (best so far)`.

        Numbers of single classes (their names have a slash) are left to the table at the end.
        """
        parts = [f'  {split} at step {step}']
        for name, value in metrics.items():
            if '/' not in name:
                shown = _loss(value) if name == 'loss' else share(value)
                parts.append(f'{metric_name(name)} {shown}')
        self.line('  '.join(parts + ['(best so far)'] * best))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns under a header: the first to the left, numbers to the right."""
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for row in (header, *rows):
            cells = [f'{row[0]:<{widths[0]}}']
            cells += [f'{cell:>{width}}' for cell, width in zip(row[1:], widths[1:], strict=True)]
            self.line('  ' + '   '.join(cells).rstrip())

    def class_table(
        self,
        class_names: Sequence[str],
        *,
        iou: Sequence[float],
        accuracy: Sequence[float],
        pixels: Sequence[float],
    ) -> None:
        """A line a class: IoU, accuracy, share of the pixels; the means of those that occur last.

        `pixels` are counts or shares. NaN stands for a class that does not occur: `n/a`.
        """
        total = sum(pixels) or 1
        rows = [
            (_clip(name), share(i), share(a), f'{100 * p / total:.1f}%')
            for name, i, a, p in zip(class_names, iou, accuracy, pixels, strict=True)
        ]
        rows.append(('mean', share(_mean(iou)), share(_mean(accuracy)), ''))
        self.table(('class', 'IoU', 'accuracy', 'pixels'), rows)

    def _is_terminal(self) -> bool:
        out = self._out or sys.stdout
        dumb = 'NO_COLOR' in os.environ or os.environ.get('TERM') == 'dumb'
        return bool(getattr(out, 'isatty', bool)()) and not dumb


def metric_name(name: str) -> str:
    """What a person calls it: `mean_iou` is mean IoU, `mask_ap50` mask AP50."""
    return re.sub(r'\biou\b', 'IoU', re.sub(r'\bap(?=\d*\b)', 'AP', name.replace('_', ' ')))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _clip(name: str) -> str:
    return name if len(name) <= 32 else name[:31] + '…'


def _write(stream: TextIO, text: str) -> None:
    """A line, flushed. What the stream cannot encode becomes `?`, a broken stream is left alone."""
    try:
        try:
            stream.write(text + '\n')
        except UnicodeEncodeError:
            encoding = stream.encoding or 'ascii'
            stream.write(text.encode(encoding, 'replace').decode(encoding) + '\n')
        stream.flush()
    except (OSError, ValueError):
        pass  # a closed pipe or terminal: the files tell the rest
