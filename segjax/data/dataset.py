"""What every data set is: plain fields, a description, and random access to its samples."""

from __future__ import annotations

import abc
import dataclasses
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from segjax.data.bad_samples import BadSamples
from segjax.data.normalize import zscore
from segjax.data.segmentations import encode_mask
from segjax.types import Batch, Instances, UserError

Normalize = Literal['imagenet', 'caffe', 'unit', 'centered', 'zscore']


def _field(default: Any) -> Any:
    """A field that may change within a run: nothing that was computed depends on it."""
    return dataclasses.field(default=default, metadata={'compared': False})


class Roots(NamedTuple):
    """Where data lives on this machine; a run option, never part of an experiment."""

    raw_dir: Path  # raw files, downloaded or placed by hand, one folder a data set
    data_dir: Path  # records prepared from them


class Info(NamedTuple):
    """The classes of a data set; class i is label i."""

    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]


def color_map(num_colors: int) -> tuple[tuple[int, int, int], ...]:
    """Distinct colours, black first: bit j of the id goes to bit 7 - j // 3 of channel j % 3.

    Source: VOCcolormap.m of the Pascal VOC development kit.
    """
    ids = np.arange(num_colors)
    colors = np.zeros((num_colors, 3), np.int64)
    for j in range(24):
        colors[:, j % 3] |= (ids >> j & 1) << (7 - j // 3)
    return tuple((r, g, b) for r, g, b in colors.tolist())


def evenly_spaced(length: int, number: int) -> list[int]:
    """At most `number` of the places 0 to length - 1, as far apart as can be."""
    number = min(number, length)
    return [i * length // number for i in range(number)]


class Source(abc.ABC):
    """Random access to decoded, unaugmented samples; safe to read from several threads."""

    normalize: Normalize  # how the device will normalise the images
    bad = BadSamples()  # by default the first bad one stops whatever reads it

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Batch:
        """Sample `index`: a Batch without b.

        image `h w c`; label `h w` int32 or None; weight `h w` float32 or None; instances with
        `masks` a tuple of n uint8 arrays, each cropped to its own whole-numbered box, or None.

        Raises:
          UserError: the sample cannot be read.
        """

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """What a message calls the sample."""

    @abc.abstractmethod
    def size(self, index: int) -> tuple[int, int]:
        """Height and width, known without decoding."""

    def group(self, index: int) -> str:
        """The part of the data set that the sample belongs to, for scores apart; '' for none."""
        del index
        return ''

    def look(self, index: int) -> str:
        """What samples of one origin share, so that folds keep them together and training can be
        balanced; '' for none."""
        del index
        return ''

    def annotations(self, index: int) -> list[dict[str, Any]]:
        """The objects of a sample as COCO writes them, for its evaluation; none where it has none.

        `category_id` is the class, `bbox` x, y, width and height, `segmentation` run lengths.
        """
        known = self[index].instances
        if known is None:
            return []
        size, objects = self.size(index), []
        for box, mask, label, crowd in zip(
            known.boxes.tolist(), known.masks, known.classes.tolist(), known.crowd, strict=True
        ):
            left, top, right, bottom = box
            objects.append(
                {
                    'category_id': label,
                    'bbox': [left, top, right - left, bottom - top],
                    'area': int(mask.sum()),
                    'iscrowd': int(crowd),
                    'segmentation': encode_mask(mask, (int(left), int(top)), size),
                }
            )
        return objects


def make_sample(
    image: np.ndarray,
    label: np.ndarray | None,
    *,
    index: int,
    normalize: Normalize,
    weight: np.ndarray | None = None,
    instances: Instances | None = None,
) -> Batch:
    """A sample as Source promises it; with 'zscore' the image is normalised here."""
    return Batch(
        image=zscore(image) if normalize == 'zscore' else image,
        label=None if label is None else label.astype(np.int32),
        weight=weight,
        instances=instances,
        size=np.array(image.shape[:2], np.int32),
        image_id=np.int32(index),
        valid=np.bool_(True),
    )


@dataclasses.dataclass(frozen=True)
class Dataset(abc.ABC):
    """What the data is. Fields are plain data; machines' paths come from outside, as Roots.

    Attributes:
      normalize: how images are normalised (normalize.py).
      channels: 1 or 3; pictures are converted.
      bad_samples: whether a picture or mask that cannot be read stops the run, or is replaced in
        training by the next one that can be; evaluation always stops. A run that was stopped by one
        may go on with 'skip', and ends as if it had always been set.
      max_bad: how many may be replaced.
    """

    normalize: Normalize = 'imagenet'
    channels: int = 3
    bad_samples: Literal['fail', 'skip'] = _field('fail')
    max_bad: int = _field(20)

    def __post_init__(self):
        if self.max_bad < 1:
            raise UserError(f'--max_bad={self.max_bad}: must be at least 1.')

    @property
    def bad_limit(self) -> int:
        """How many bad samples may be replaced; 0 for none."""
        return self.max_bad if self.bad_samples == 'skip' else 0

    @abc.abstractmethod
    def info(self, roots: Roots) -> Info:
        """Names and colours of the classes, background included."""

    @abc.abstractmethod
    def splits(self, roots: Roots) -> tuple[str, ...]:
        """The splits there are, 'train' first."""

    @abc.abstractmethod
    def source(self, split: str, roots: Roots) -> Source:
        """The samples of a split; prepares records when needed.

        Raises:
          UserError: the data is absent or does not fit together; says what, where, and the remedy.
        """
