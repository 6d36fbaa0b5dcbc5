"""Times of several candidates on a machine that does other work, too."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROUNDS = 5, 101  # at least, at most
PAUSE_S = 3e-3  # after each run: OpenMP's threads of the one before spin for work that long


def race(candidates: Mapping[str, Callable[[], object]], *, seconds: float) -> dict[str, float]:
    """The median time of each, in seconds.

    A round runs each candidate once, so that whatever slows the machine for a while slows all of
    them; the first two rounds, which compile and warm up, do not count.

    Args:
      candidates: by name; each returns when its work is done.
      seconds: about how long to go on, but for the bounds in `ROUNDS`.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    least, most = ROUNDS
    for i in range(-2, most):
        if i == 0:
            begin = time.perf_counter()
        if i >= least and time.perf_counter() - begin > seconds:
            break
        for name, run in candidates.items():
            time.sleep(PAUSE_S)
            start = time.perf_counter()
            run()
            took = time.perf_counter() - start
            if i >= 0:
                times[name].append(took)
    return {name: statistics.median(taken) for name, taken in times.items()}


def race_against(
    candidates: Mapping[str, Callable[[], object]], *, seconds: float
) -> dict[str, float]:
    """Time of 'jax' over that of each other one, `vs_NAME`; and each one's milliseconds."""
    times = race(candidates, seconds=seconds)
    ratios = {f'vs_{name}': times['jax'] / times[name] for name in times if name != 'jax'}
    return {**ratios, **{f'{name}_ms': 1e3 * time for name, time in times.items()}}


class OtherLoad:
    """How many cores were at work for other processes since this was made."""

    def __init__(self):
        self._before = self._now()

    def cores(self) -> float | None:
        """The mean; None where the system does not tell."""
        before, now = self._before, self._now()
        if before is None or now is None or now[0] == before[0]:
            return None
        wall, busy, own = (b - a for a, b in zip(before, now, strict=True))
        return max(busy - own, 0.0) / wall

    def _now(self) -> tuple[float, float, float] | None:
        """Seconds: of the clock, of all cores at work, of this process."""
        try:
            fields = Path('/proc/stat').read_text().split('\n', 1)[0].split()[1:9]
        except OSError:  # Linux alone
            return None
        user, nice, system, _, _, irq, softirq, steal = map(int, fields)
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf('SC_CLK_TCK')
        return time.monotonic(), busy, time.process_time()
