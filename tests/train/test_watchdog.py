"""The watchdog ends a process that hangs, and no other."""

import subprocess
import sys

from segjax.train.watchdog import Watchdog

HANGS = """
import threading
from segjax.train.watchdog import Watchdog

def wait_for_nobody():
    threading.Event().wait()

with Watchdog({timeout}) as watch:
    watch.beat()
    wait_for_nobody()
"""


def test_a_process_that_hangs_says_where_and_ends():
    program = [sys.executable, '-c', HANGS.format(timeout=0.5)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith('error: no step was finished in 0.5 s (--step_timeout)')
    assert 'in wait_for_nobody' in ended.stderr


def test_beats_and_the_end_of_the_block_keep_it_quiet(monkeypatch):
    watch, ended = Watchdog(10), []
    monkeypatch.setattr(watch, '_end', lambda: ended.append(True))
    ticks = iter([False] * 9 + [None] + [False] * 8 + [True])

    def tick(seconds):
        assert seconds == 1
        if (now := next(ticks)) is None:  # a beat, and then a tick as any other
            watch.beat()
        return now

    monkeypatch.setattr(watch._ended, 'wait', tick)
    watch._watch()
    assert not ended


def test_it_ends_after_the_time_without_a_beat(monkeypatch):
    watch, ended = Watchdog(10), []
    monkeypatch.setattr(watch, '_end', lambda: ended.append(True))
    ticks = iter([False] * 10 + [True])
    monkeypatch.setattr(watch._ended, 'wait', lambda seconds: next(ticks))
    watch._watch()
    assert ended == [True]


def test_zero_means_no_watchdog():
    import threading

    with Watchdog(0):
        assert 'watchdog' not in [thread.name for thread in threading.enumerate()]
