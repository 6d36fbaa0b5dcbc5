"""Signals: SIGTERM and SIGINT ask a training to stop after its step; a second one is obeyed at
once. A signal to one process of several stops them all after the same step."""

from __future__ import annotations

import signal
from types import TracebackType

import jax

from segjax import processes


class Interrupted(Exception):
    """A signal asked the run to stop; its state is saved. Exit code 75."""


class Interruption:
    """Within `with Interruption() as stop`, the first SIGTERM or SIGINT only sets `stop.requested`.

    The handlers that were there come back after the first signal, so that a second Ctrl-C ends the
    process even inside a compilation, and when the block ends.
    """

    def __init__(self) -> None:
        self.requested = ''  # name of the signal
        self._before: dict[int, object] = {}
        self._asked: jax.Array | None = None  # what `poll` asked the other processes

    def __enter__(self) -> Interruption:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _frame: object) -> None:
        self.requested = signal.Signals(number).name
        print(f'{self.requested}: stopping after this step; once more stops at once.', flush=True)
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)

    def _ask(self) -> jax.Array:
        """The largest signal number that a process has received, on its way; 0 for none."""
        number = signal.Signals[self.requested] if self.requested else 0
        return processes.start_maximum(int(number))

    def poll(self) -> str:
        """The signal, of any process, that asks to stop, the same on all; '' for none.

        To be called once a step by every process. With several the answer is that to the question
        of the step before, which has arrived by now: no device waits for it.
        """
        if jax.process_count() == 1:
            return self.requested
        answer, self._asked = self._asked, self._ask()
        return _name(answer) if answer is not None else ''

    def check(self) -> None:
        """Raises Interrupted, on all processes, once a signal has come to any."""
        name = self.requested if jax.process_count() == 1 else _name(self._ask())
        if name:
            raise Interrupted(name)


def _name(answer: jax.Array) -> str:
    number = int(answer)
    return signal.Signals(number).name if number else ''
