"""Cross-validation: the samples of one split, cut into folds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from segjax.data.dataset import Source
from segjax.types import Batch, UserError


class Part(Source):
    """Some samples of another source, numbered anew from 0."""

    def __init__(self, source: Source, indices: Iterable[int]):
        self._source, self._indices = source, tuple(indices)
        self.normalize = source.normalize
        self.bad = source.bad.part(self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Batch:
        return self._source[self._indices[index]]._replace(image_id=np.int32(index))

    def name(self, index: int) -> str:
        return self._source.name(self._indices[index])

    def size(self, index: int) -> tuple[int, int]:
        return self._source.size(self._indices[index])

    def group(self, index: int) -> str:
        return self._source.group(self._indices[index])

    def look(self, index: int) -> str:
        return self._source.look(self._indices[index])

    def annotations(self, index: int) -> list[dict[str, Any]]:
        return self._source.annotations(self._indices[index])


def cut(source: Source, *, folds: int, fold: int) -> tuple[Source, Source]:
    """What fold number `fold` trains on, and what it is evaluated on.

    Folds are blocks of neighbours, as near equal as can be, in the order of the source: slices of a
    stack, or pictures of one patient sorted by their names, look alike, and drawn at random they
    would stand on both sides. Each sample is evaluated by one fold.

    Raises:
      UserError: there are fewer than two folds or samples than folds, or no such fold.
    """
    n = len(source)
    if not 2 <= folds <= n:
        raise UserError(f'--folds={folds}: takes 2 to {n}, the number of images in the split.')
    if not 0 <= fold < folds:
        raise UserError(f'--fold={fold}: with --folds={folds} takes 0 to {folds - 1}.')
    first, stop = fold * n // folds, (fold + 1) * n // folds
    return Part(source, [*range(first), *range(stop, n)]), Part(source, range(first, stop))
