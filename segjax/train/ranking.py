"""The pictures that an evaluation did best and worst."""

from __future__ import annotations

import bisect
from typing import Any, NamedTuple

import numpy as np

NUMBER = 4  # of the best, and of the worst, that a report shows


class Ranked(NamedTuple):
    """A picture, or what leads to it, with its score."""

    score: float
    sample: Any


class Ranking:
    """The best and the worst of many pictures, at most `number` each; the others are forgotten.

    Attributes:
      scores: of all pictures that have one.
    """

    def __init__(self, number: int = NUMBER):
        self.scores: list[float] = []
        self._number = number
        self._low: list[Ranked] = []
        self._high: list[Ranked] = []

    def add(self, score: float, sample: Any) -> None:
        """Rank another picture; one whose score is NaN is left out."""
        if score != score:
            return
        self.scores.append(score)
        bisect.insort(self._low, Ranked(score, sample), key=lambda r: r.score)
        del self._low[self._number :]
        bisect.insort(self._high, Ranked(score, sample), key=lambda r: -r.score)
        del self._high[self._number :]

    def told(self, what: str) -> list[tuple[str, str]]:
        """Rows of a table that tell of all scores; none where there are none."""
        if not self.scores:
            return []
        low, middle, high = np.percentile(self.scores, (10, 50, 90))
        return [
            (f'{what}: median', f'{middle:.4f}'),
            ('its 10th and 90th percentile', f'{low:.4f}, {high:.4f}'),
        ]

    @property
    def worst(self) -> list[Any]:
        """The worst first; of the worse half."""
        return [sample for _, sample in self._low[: (len(self.scores) + 1) // 2]]

    @property
    def best(self) -> list[Any]:
        """The best first; of the better half."""
        return [sample for _, sample in self._high[: len(self.scores) // 2]]
