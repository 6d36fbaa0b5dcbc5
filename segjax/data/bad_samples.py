"""Which samples of a source cannot be read, and how many of them training may replace."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence

from segjax.types import UserError


class BadSamples:
    """The bad samples of one source, as far as they are known; used by several threads.

    Evaluation replaces nothing: a score over fewer pictures is not the score of the split.

    Args:
      limit: how many samples training may replace; 0 makes the first bad one stop it.
      known: {index: what is wrong} of those found when the records were prepared.
    """

    def __init__(self, limit: int = 0, known: Mapping[int, str] | None = None):
        self._limit, self._found = limit, dict(known or {})
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: int) -> str:
        """What is wrong with a sample that is known to be bad."""
        return self._found[index]

    def __contains__(self, index: int) -> bool:
        return index in self._found

    def part(self, indices: Sequence[int]) -> BadSamples:
        """Those known among some of the samples, numbered as they stand in `indices`."""
        known = {i: self[index] for i, index in enumerate(indices) if index in self}
        return BadSamples(self._limit, known)

    @property
    def may_be_replaced(self) -> bool:
        """Whether training goes on without them."""
        return self._limit > 0

    def note(self, index: int, error: UserError) -> None:
        """Count a sample that could not be read, and warn of it the first time.

        Raises:
          UserError: the one given, where nothing may be replaced, with the way to allow it; or
            that there are too many.
        """
        if not self._limit:
            raise UserError(f'{error} Or train without it: --bad_samples=skip.') from error
        with self._lock:
            if index in self._found:
                return
            self._found[index] = str(error)
            print(f'WARNING: replaced by the next one: {error}', file=sys.stderr, flush=True)
            self.check()

    def check(self) -> None:
        """Raises UserError, with one of them, when there are more than may be replaced."""
        if len(self) > self._limit:
            rule = f'--max_bad={self._limit}' if self._limit else '--bad_samples=fail'
            raise UserError(
                f'{len(self)} samples cannot be read and {rule}; one of them: '
                f'{next(iter(self._found.values()))} --mode=check_data lists them all.'
            )
