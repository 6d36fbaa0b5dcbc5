"""Scores that need a whole picture, or a whole stack, at once, computed on the host.

A task names those it wants (`Semantic.scores`). They see every picture with its objects, as the
data set has it, and the probabilities at its own resolution.
"""

from __future__ import annotations

import abc
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from segjax.metrics import Confusion, instances, isbi
from segjax.metrics.boundary import WIDTHS, boundary_f1, trimap_confusion
from segjax.types import IGNORE_LABEL, Instances, UserError


class Seen(NamedTuple):
    """A picture that was evaluated."""

    image_id: int
    group: str  # the part of the data set it belongs to, for scores apart; '' for none
    label: np.ndarray  # h w int32
    instances: Instances | None  # its objects
    probabilities: np.ndarray  # h w k float32


class HostScores(abc.ABC):
    """Gathers what it needs of each picture; the order of pictures does not matter."""

    @abc.abstractmethod
    def update(self, seen: Seen) -> None:
        """Take a picture into account."""

    @property
    @abc.abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """All that was gathered, to be merged by another process."""

    @abc.abstractmethod
    def merge(self, arrays: dict[str, np.ndarray]) -> None:
        """Add the `arrays` of another one."""

    @abc.abstractmethod
    def compute(self) -> dict[str, float]:
        """The scores by name."""


class RowScores(HostScores):
    """Scores of each picture, and their means: of all, and of each group as `NAME/GROUP`.

    A picture may have no value in a score (NaN): it is left out of that mean.
    """

    def __init__(self):
        self.rows: dict[int, dict[str, float]] = {}  # of each image_id
        self._groups: dict[int, str] = {}

    @abc.abstractmethod
    def score(self, seen: Seen) -> dict[str, float]:
        """The scores of one picture, always of the same names."""

    def update(self, seen: Seen) -> None:
        self.rows[seen.image_id] = self.score(seen)
        self._groups[seen.image_id] = seen.group

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        names = next(iter(self.rows.values()), {})
        columns = {name: np.array([row[name] for row in self.rows.values()]) for name in names}
        groups = np.array(list(self._groups.values()), np.str_)
        return {'image_id': np.array(list(self.rows), np.int64), 'group': groups, **columns}

    def merge(self, arrays: dict[str, np.ndarray]) -> None:
        ids, groups = arrays['image_id'].tolist(), arrays['group'].tolist()
        names = [name for name in arrays if name not in ('image_id', 'group')]
        for i, (image_id, group) in enumerate(zip(ids, groups, strict=True)):
            self.rows[image_id] = {name: float(arrays[name][i]) for name in names}
            self._groups[image_id] = group

    def compute(self) -> dict[str, float]:
        ids = sorted(self.rows)
        parts = {'': ids}
        for group in sorted({g for g in self._groups.values() if g}):
            parts[f'/{group}'] = [i for i in ids if self._groups[i] == group]
        names = next(iter(self.rows.values()), {})
        return {
            f'{name}{suffix}': _mean([self.rows[i][name] for i in members])
            for suffix, members in parts.items()
            for name in names
        }


def _mean(values: list[float]) -> float:
    there = [value for value in values if not np.isnan(value)]
    return float(np.mean(there)) if there else float('nan')


def foreground(label: np.ndarray) -> np.ndarray:
    """Pixels of any class but the background, `h w` bool."""
    return (label > 0) & (label != IGNORE_LABEL)


class ImageScores(RowScores):
    """IoU and Dice of the foreground of each picture, and the mean of the pictures.

    1 where neither the label nor the prediction has any.
    """

    def score(self, seen: Seen) -> dict[str, float]:
        known = seen.label != IGNORE_LABEL
        found = (np.argmax(seen.probabilities, axis=-1) > 0) & known
        wanted = foreground(seen.label)
        both, either = int((found & wanted).sum()), int((found | wanted).sum())
        return {
            'image_iou': both / either if either else 1.0,
            'image_dice': 2 * both / (both + either) if either else 1.0,
        }


def number_objects(known: Instances, size: tuple[int, int]) -> np.ndarray:
    """The objects of a picture as a map `h w` int32: 0, or 1 + the object's place in `known`."""
    objects = np.zeros(size, np.int32)
    for number, (box, mask) in enumerate(zip(known.boxes, known.masks, strict=True), start=1):
        left, top = box[:2].astype(int)
        window = objects[top : top + mask.shape[0], left : left + mask.shape[1]]
        window[mask > 0] = number
    return objects


def inside_components(prediction: np.ndarray) -> np.ndarray:
    """Objects of a prediction `h w` of classes: the connected parts of class 1.

    Where there is a class 2, the boundary, its pixels go to the nearest part.
    """
    parts = instances.label_components(prediction == 1)
    if not (prediction > 1).any() or not parts.any():
        return parts
    nearest = ndimage.distance_transform_edt(
        parts == 0, return_distances=False, return_indices=True
    )
    rows, columns = np.asarray(nearest)
    return np.where(prediction > 0, parts[rows, columns], 0)


class ComponentScores(RowScores):
    """Objects against objects (metrics/instances.py), those predicted being connected parts."""

    method = 'components'

    def find_objects(self, prediction: np.ndarray) -> np.ndarray:
        """The objects of a prediction `h w` of classes."""
        return inside_components(prediction)

    def score(self, seen: Seen) -> dict[str, float]:
        if seen.instances is None:
            raise UserError(
                f'--scores={self.method}: the data set does not know its objects apart.'
            )
        objects = number_objects(seen.instances, seen.label.shape)
        found = self.find_objects(np.argmax(seen.probabilities, axis=-1))
        scores = instances.instance_scores(objects, found)
        return {f'{self.method}/{name}': value for name, value in scores.items()}


class WatershedScores(ComponentScores):
    """Likewise, touching objects of the foreground being split at their necks."""

    method = 'watershed'

    def find_objects(self, prediction: np.ndarray) -> np.ndarray:
        return instances.watershed(prediction > 0)


class IsbiScores(HostScores):
    """The challenge's metrics (metrics/isbi.py) of all slices together, and the membranes' Dice.

    Class 0 is membrane. The Dice is that of all their pixels at a probability of one half.
    """

    def __init__(self):
        self._labels: dict[int, np.ndarray] = {}
        self._cells: dict[int, np.ndarray] = {}

    def update(self, seen: Seen) -> None:
        self._labels[seen.image_id] = foreground(seen.label)
        self._cells[seen.image_id] = seen.probabilities[..., 1:].sum(-1)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        found = {}
        for image_id, label in self._labels.items():
            found |= {f'{image_id}/label': label, f'{image_id}/cell': self._cells[image_id]}
        return found

    def merge(self, arrays: dict[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            image_id, part = name.split('/')
            kept = self._labels if part == 'label' else self._cells
            kept[int(image_id)] = array

    def compute(self) -> dict[str, float]:
        ids = sorted(self._labels)
        if len({self._labels[i].shape for i in ids}) != 1:
            raise UserError('--scores=isbi: the slices of a stack must be of one size.')
        labels = np.stack([self._labels[i] for i in ids])
        cells = np.stack([self._cells[i] for i in ids])
        wanted, found = ~labels, cells <= 0.5
        total = int(wanted.sum()) + int(found.sum())
        dice = 2 * int((wanted & found).sum()) / total if total else 1.0
        return {'membrane_dice': dice, **isbi.evaluate(labels, cells)}


class TrimapScores(HostScores):
    """Mean IoU within 1, 2, 4, ... pixels of a boundary (metrics/boundary.py), as `trimap_iou/4`.

    As the mean IoU, each is taken once, from the pixels of all pictures.
    """

    def __init__(self):
        self._counts: np.ndarray | None = None  # t k k

    def update(self, seen: Seen) -> None:
        k = seen.probabilities.shape[-1]
        prediction = np.argmax(seen.probabilities, axis=-1)
        self._add(trimap_confusion(seen.label, prediction, num_classes=k))

    def _add(self, counts: np.ndarray) -> None:
        self._counts = counts if self._counts is None else self._counts + counts

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {} if self._counts is None else {'counts': self._counts}

    def merge(self, arrays: dict[str, np.ndarray]) -> None:
        if 'counts' in arrays:
            self._add(arrays['counts'])

    def compute(self) -> dict[str, float]:
        if self._counts is None:
            return {}
        scores = {}
        for width, counts in zip(WIDTHS, self._counts, strict=True):
            confusion = Confusion(len(counts))
            confusion.update(counts)
            scores[f'trimap_iou/{width}'] = confusion.compute()['mean_iou']
        return scores


class BoundaryScores(RowScores):
    """The boundary F1 measure (metrics/boundary.py): a mean over the pictures."""

    def score(self, seen: Seen) -> dict[str, float]:
        k = seen.probabilities.shape[-1]
        prediction = np.argmax(seen.probabilities, axis=-1)
        return {'boundary_f1': boundary_f1(seen.label, prediction, num_classes=k)}


HOST_SCORES: dict[str, type[HostScores]] = {
    'image': ImageScores,
    'components': ComponentScores,
    'watershed': WatershedScores,
    'isbi': IsbiScores,
    'trimap': TrimapScores,
    'boundary': BoundaryScores,
}
