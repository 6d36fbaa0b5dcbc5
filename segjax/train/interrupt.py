"""Signals: SIGTERM and SIGINT ask a training to stop after its step; a second one is obeyed at
once."""

from __future__ import annotations

import signal
from types import TracebackType


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

    def check(self) -> None:
        """Raises Interrupted once a signal has come."""
        if self.requested:
            raise Interrupted(self.requested)
