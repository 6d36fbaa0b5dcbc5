"""What a data set looks like: kind of pixels, brightness, number and size of objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from segjax.data.cells import number_objects
from segjax.data.coco_json import Annotation, Picture
from segjax.data.dataset import Roots, evenly_spaced
from segjax.data.datasets.coco import CocoInstances, draw_object, flaw
from segjax.data.images import read_image
from segjax.data.pairs import Pair, PairedDataset
from segjax.types import IGNORE_LABEL, UserError

MAX_PICTURES = 200  # enough for medians
_COLOURED = 2  # mean difference of the largest and least of R, G, B, in 255ths of white
_LEAST_AREA = 4  # smaller parts are taken for noise


class Appearance(NamedTuple):
    """What the pictures of the split train look like.

    Attributes:
      kinds: types of the pictures' values, the commonest first: uint8, uint16 or float32.
      coloured: share of the pictures that have colours.
      ground: median brightness of the pictures, as a share of white; NaN for floats, which have no
        white.
      spread: ratio of the brightness of a bright picture (90th percentile) to a dark one's (10th),
        where the brightness of a picture is the 99th percentile of its values.
    """

    kinds: tuple[str, ...]
    coloured: float
    ground: float
    spread: float


class Survey(NamedTuple):
    """What survey() found in pictures and masks of the split train.

    Attributes:
      appearance: of the pictures.
      diameters: of objects, connected parts of one foreground class, in pixels: the 10th, 50th and
        90th percentile of 2 sqrt(area / pi); NaN where there is none.
      objects: their mean number in a picture.
    """

    appearance: Appearance
    diameters: tuple[float, float, float]
    objects: float


class Objects(NamedTuple):
    """The objects of a split as they were annotated: `n` pictures, `o` objects that can be learned.

    Attributes:
      sizes: `n 2`, height and width of the pictures.
      counts: `n`, objects of each that take a place in a batch; crowds do.
      crowds: how many of them are crowds.
      picture: `o`, to which picture an object belongs. From here on without crowds.
      boxes: `o 2`, height and width of its box, in pixels.
      areas: `o`, its pixels.
      classes: `o`.
    """

    sizes: np.ndarray
    counts: np.ndarray
    crowds: int
    picture: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    classes: np.ndarray


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


class _Looks:
    """The appearance of pictures in the making."""

    def __init__(self):
        self.kinds: list[str] = []
        self.coloured: list[bool] = []
        self.ground: list[float] = []
        self.bright: list[float] = []

    def add(self, picture: np.ndarray) -> None:
        kind = picture.dtype.name
        difference = np.mean(picture.max(2).astype(float) - picture.min(2))
        self.kinds.append(kind)
        self.coloured.append(bool(difference > _COLOURED / 255 * _white(kind)))
        self.ground.append(float(np.median(picture) / _white(kind)))
        self.bright.append(float(np.percentile(picture, 99)))

    def appearance(self) -> Appearance:
        if not self.kinds:
            raise UserError(
                'None of the pictures of train can be read; --mode=check_data says why.'
            )
        low, high = np.percentile(self.bright, (10, 90))
        return Appearance(
            kinds=tuple(sorted(set(self.kinds), key=self.kinds.count, reverse=True)),
            coloured=float(np.mean(self.coloured)),
            ground=float(np.median(self.ground)),
            spread=float(high / low) if low > 0 else float('inf'),
        )


def _pictures(dataset: PairedDataset, roots: Roots) -> Iterator[tuple[Pair, np.ndarray]]:
    """Evenly spaced pictures of train; those that cannot be read are passed over."""
    pairs: list[Pair] = dataset.pairs('train', roots)
    for i in evenly_spaced(len(pairs), MAX_PICTURES):
        pair = pairs[i]
        try:
            picture = read_image(dataset.read_picture(pair, roots), name=str(pair.image))
        except UserError:
            continue
        yield pair, picture


def survey_appearance(dataset: PairedDataset, roots: Roots) -> Appearance:
    """Looks at up to MAX_PICTURES pictures of the split train, and at no masks.

    Raises:
      UserError: there is no data, or not one of the pictures can be read.
    """
    looks = _Looks()
    for _, picture in _pictures(dataset, roots):
        looks.add(picture)
    return looks.appearance()


def survey(dataset: PairedDataset, roots: Roots) -> Survey:
    """Looks at up to MAX_PICTURES pictures and masks of the split train.

    Raises:
      UserError: there is no data, or not one of the pictures can be read.
    """
    looks, objects, diameters = _Looks(), [], []
    for pair, picture in _pictures(dataset, roots):
        try:
            found = object_diameters(dataset.read_label(pair, roots))
        except UserError:
            continue
        looks.add(picture)
        objects.append(len(found))
        diameters += found
    appearance = looks.appearance()
    sizes = np.percentile(diameters, (10, 50, 90)) if diameters else np.full(3, np.nan)
    return Survey(
        appearance=appearance,
        diameters=(float(sizes[0]), float(sizes[1]), float(sizes[2])),
        objects=float(np.mean(objects)),
    )


def _extent(annotation: Annotation, picture: Picture) -> tuple[float, float]:
    """Height and width of an object's box; of its outline, where it has no box."""
    if 'bbox' in annotation:
        return annotation['bbox'][3], annotation['bbox'][2]
    mask = draw_object(annotation, picture.size, name=picture.file_name)
    extents = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    height, width = (float(e[-1] - e[0] + 1) if e.size else 0.0 for e in extents)
    return height, width


def survey_objects(dataset: CocoInstances, split: str, roots: Roots) -> Objects:
    """Counts and measures all objects of a split, by their annotations alone.

    Raises:
      UserError: there is no data, or an object has neither outline nor box.
    """
    classes = dataset.classes(roots)
    pictures = [dataset.picture(pair) for pair in dataset.pairs(split, roots)]
    counts, crowds, rows = [], 0, []
    for number, picture in enumerate(pictures):
        learned = [o for o in picture.objects if not flaw(o, picture.size, None)]
        counts.append(len(learned))
        single = [o for o in learned if not o.get('iscrowd')]
        crowds += len(learned) - len(single)
        for o in single:
            height, width = _extent(o, picture)
            area = o.get('area', height * width)
            rows.append((number, height, width, area, classes[o['category_id']]))
    table = np.array(rows, np.float64).reshape(-1, 5)
    table = table[(table[:, 1:3] > 0).all(axis=1)]
    return Objects(
        sizes=np.array([picture.size for picture in pictures]),
        counts=np.array(counts),
        crowds=crowds,
        picture=table[:, 0].astype(int),
        boxes=table[:, 1:3],
        areas=table[:, 3],
        classes=table[:, 4].astype(int),
    )
