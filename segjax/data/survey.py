"""What a data set of pictures and masks looks like: kind of pixels, brightness, size of objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from segjax.data.cells import number_objects
from segjax.data.dataset import Roots
from segjax.data.images import read_image
from segjax.data.pairs import Pair, PairedDataset
from segjax.types import IGNORE_LABEL, UserError

MAX_PICTURES = 200  # enough for medians
_COLOURED = 2  # mean difference of the largest and least of R, G, B, in 255ths of white
_LEAST_AREA = 4  # smaller parts are taken for noise


class Survey(NamedTuple):
    """What survey() found in the split train.

    Attributes:
      kinds: types of the pictures' values, the commonest first: uint8, uint16 or float32.
      coloured: share of the pictures that have colours.
      ground: median brightness of the pictures, as a share of white; NaN for floats, which have no
        white.
      spread: ratio of the brightness of a bright picture (90th percentile) to a dark one's (10th),
        where the brightness of a picture is the 99th percentile of its values.
      diameters: of objects, connected parts of one foreground class, in pixels: the 10th, 50th and
        90th percentile of 2 sqrt(area / pi); NaN where there is none.
      objects: their mean number in a picture.
    """

    kinds: tuple[str, ...]
    coloured: float
    ground: float
    spread: float
    diameters: tuple[float, float, float]
    objects: float


def _white(kind: str) -> float:
    return {'uint8': 255.0, 'uint16': 65535.0}.get(kind, float('nan'))


def object_diameters(label: np.ndarray) -> list[float]:
    """Diameters of circles with the areas of the objects in a label `h w`, in pixels."""
    found = []
    for class_id in np.unique(label):
        if class_id in (0, IGNORE_LABEL):
            continue
        areas = np.bincount(number_objects(label == class_id).ravel())[1:]
        found += (2 * np.sqrt(areas[areas >= _LEAST_AREA] / np.pi)).tolist()
    return found


def _pictures(dataset: PairedDataset, roots: Roots) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Evenly spaced pictures and labels of train; those that cannot be read are passed over."""
    pairs: list[Pair] = dataset.pairs('train', roots)
    number = min(len(pairs), MAX_PICTURES)
    for i in range(number):
        pair = pairs[i * len(pairs) // number]
        try:
            picture = read_image(dataset.read_picture(pair, roots), name=str(pair.image))
            yield picture, dataset.read_label(pair, roots)
        except UserError:
            continue


def survey(dataset: PairedDataset, roots: Roots) -> Survey:
    """Looks at up to MAX_PICTURES pictures of the split train.

    Raises:
      UserError: there is no data, or not one of the pictures can be read.
    """
    kinds: list[str] = []
    coloured, ground, bright, objects, diameters = [], [], [], [], []
    for picture, label in _pictures(dataset, roots):
        kinds.append(kind := picture.dtype.name)
        difference = np.mean(picture.max(2).astype(float) - picture.min(2))
        coloured.append(difference > _COLOURED / 255 * _white(kind))
        ground.append(np.median(picture) / _white(kind))
        bright.append(float(np.percentile(picture, 99)))
        found = object_diameters(label)
        objects.append(len(found))
        diameters += found
    if not kinds:
        raise UserError('None of the pictures of train can be read; --mode=check_data says why.')
    low, high = np.percentile(bright, (10, 90))
    sizes = np.percentile(diameters, (10, 50, 90)) if diameters else np.full(3, np.nan)
    return Survey(
        kinds=tuple(sorted(set(kinds), key=kinds.count, reverse=True)),
        coloured=float(np.mean(coloured)),
        ground=float(np.median(ground)),
        spread=float(high / low) if low > 0 else float('inf'),
        diameters=(float(sizes[0]), float(sizes[1]), float(sizes[2])),
        objects=float(np.mean(objects)),
    )
