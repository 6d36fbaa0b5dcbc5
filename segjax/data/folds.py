"""Cross-validation: the samples of one split, cut into folds."""

from __future__ import annotations

import collections
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


def _blocks(n: int, folds: int) -> list[list[int]]:
    """0 to n - 1 in runs as near equal as can be."""
    return [[*range(fold * n // folds, (fold + 1) * n // folds)] for fold in range(folds)]


def _whole(origins: list[list[int]], folds: int) -> list[list[int]]:
    """The largest origin first, each to the fold that has least."""
    parts: list[list[int]] = [[] for _ in range(folds)]
    for members in sorted(origins, key=len, reverse=True):
        min(parts, key=len).extend(members)
    return [sorted(part) for part in parts]


def _origins(source: Source) -> list[list[int]]:
    """Samples of one look together, each without one alone; in order of the first."""
    members = collections.defaultdict(list)
    for index in range(len(source)):
        members[source.look(index) or index].append(index)
    return list(members.values())


def cut(source: Source, *, folds: int, fold: int) -> tuple[Source, Source]:
    """What fold number `fold` trains on, and what it is evaluated on.

    What looks alike must not stand on both sides. Samples of one origin (Source.look), such as the
    tiles of a slide or the pictures of a patient, are in one fold. Where no two share an origin,
    folds are blocks of neighbours in the order of the source, as slices of a stack need it. Each
    sample is evaluated by one fold; folds are as near equal as this allows.

    Raises:
      UserError: there are fewer than two folds or origins than folds, or no such fold.
    """
    n, origins = len(source), _origins(source)
    if not 2 <= folds <= len(origins):
        once = ', those of one origin counted once' if len(origins) < n else ''
        raise UserError(
            f'--folds={folds}: takes 2 to {len(origins)}, the number of images in the split{once}.'
        )
    if not 0 <= fold < folds:
        raise UserError(f'--fold={fold}: with --folds={folds} takes 0 to {folds - 1}.')
    parts = _whole(origins, folds) if len(origins) < n else _blocks(n, folds)
    held_out = parts[fold]
    return Part(source, sorted({*range(n)} - {*held_out})), Part(source, held_out)
