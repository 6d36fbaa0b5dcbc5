"""Data sets of touching objects of one kind, each with a number of its own: cells, nuclei.

The records hold the numbers; classes, instances and separation weights follow from them.
"""

from __future__ import annotations

import abc
import dataclasses
import math
import zlib
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from scipy import ndimage

from segjax.data.dataset import Info, Roots
from segjax.data.images import read_mask
from segjax.data.pairs import Pair, PairedDataset, encode_png
from segjax.data.weight_map import separation_weights
from segjax.types import Instances, UserError, check_ranges

BACKGROUND, INSIDE, BOUNDARY = 0, 1, 2
_PALETTE = ((0, 0, 0), (69, 170, 75), (230, 57, 70))
_EIGHT = np.ones((3, 3), np.uint8)  # a pixel and its neighbours


def number_objects(mask: np.ndarray) -> np.ndarray:
    """`h w` uint16: 0 outside the mask, 1.. for its 4-connected parts."""
    number, objects = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    if number > np.iinfo(np.uint16).max:
        raise UserError(f'{number} objects in one picture; at most 65535 have a number.')
    return objects.astype(np.uint16)


def boundary(objects: np.ndarray) -> np.ndarray:
    """Pixels of an object of which one of the 8 neighbours is not; `h w` bool.

    The border of the picture is no boundary.
    """
    values = objects.astype(np.float32)  # OpenCV has no maximum of 16 bits to rely on
    return (objects > 0) & (cv2.dilate(values, _EIGHT) > cv2.erode(values, _EIGHT))


def make_instances(objects: np.ndarray) -> Instances:
    """Boxes and cropped masks of all objects, in the order of their numbers."""
    boxes, masks = [], []
    for number, place in enumerate(ndimage.find_objects(objects), start=1):
        if place is not None:
            rows, columns = place
            boxes.append((columns.start, rows.start, columns.stop, rows.stop))
            masks.append((objects[place] == number).astype(np.uint8))
    n = len(boxes)
    return Instances(
        boxes=np.array(boxes, np.float32).reshape(n, 4),
        classes=np.ones(n, np.int32),
        masks=tuple(masks),
        crowd=np.zeros(n, bool),
        valid=np.ones(n, bool),
    )


@dataclasses.dataclass(frozen=True)
class CellDataset(PairedDataset):
    """Base; a subclass says where the files are and how objects are numbered.

    Attributes:
      target: the classes: 'semantic' for background and object, 'boundary' for background, the
        inside of an object and its outermost pixels.
      separation: w0 of the separation weights (weight_map.py), 10 in U-Net's paper; 0 for no
        such weights. They are computed once, when the records are written.
      sigma: how far they reach, in pixels.
      cell_weights: w_c of the background and of objects, to which the separation is added; another
        sum than a criterion's class_weights, which multiply it. The paper gives no values.
    """

    target: Literal['semantic', 'boundary'] = 'semantic'
    separation: float = 0.0
    sigma: float = 5.0
    cell_weights: tuple[float, float] = (1.0, 1.0)

    object_name = 'cell'  # what a class is called
    background_name = 'background'

    def __post_init__(self):
        super().__post_init__()
        least_zero = (0, math.inf)
        check_ranges(self, separation=least_zero, sigma=(0.1, math.inf), cell_weights=least_zero)

    @property
    def _is_weighted(self) -> bool:
        return self.separation > 0 or self.cell_weights != (1, 1)

    @abc.abstractmethod
    def read_objects(self, pair: Pair, roots: Roots) -> np.ndarray:
        """`h w` uint16: 0, or the number of the object a pixel belongs to."""

    def part(self, image: np.ndarray) -> str:
        """The part of the data set that a picture `h w c` belongs to, for scores apart."""
        del image
        return ''

    def info(self, roots: Roots) -> Info:
        names = (self.background_name, self.object_name)
        if self.target == 'boundary':
            names = (self.background_name, self.object_name, 'boundary')
        return Info(names, _PALETTE[: len(names)])

    def _label(self, objects: np.ndarray) -> np.ndarray:
        label = np.where(objects > 0, np.uint8(INSIDE), np.uint8(BACKGROUND))
        if self.target == 'boundary':
            label[boundary(objects)] = BOUNDARY
        return label

    def read_label(self, pair: Pair, roots: Roots) -> np.ndarray:
        return self._label(self.read_objects(pair, roots))

    @property
    def target_features(self) -> tuple[str, ...]:
        return ('objects', 'group', *(('weight',) if self._is_weighted else ()))

    def encode_target(
        self, pair: Pair, image: np.ndarray, roots: Roots
    ) -> tuple[np.ndarray, dict[str, bytes]]:
        objects = self.read_objects(pair, roots)
        features = {'objects': encode_png(objects), 'group': self.part(image).encode()}
        if self._is_weighted:
            weight = separation_weights(
                objects,
                w0=self.separation,
                sigma=self.sigma,
                class_weights=self.cell_weights,
            )
            features['weight'] = zlib.compress(weight.astype('<f4').tobytes(), 1)
        return self._label(objects), features

    def decode_target(self, features: dict[str, bytes], name: str) -> dict[str, Any]:
        objects = read_mask(features['objects'], name=name)
        parts = {'label': self._label(objects), 'instances': make_instances(objects)}
        if self._is_weighted:
            weight = np.frombuffer(zlib.decompress(features['weight']), '<f4')
            parts['weight'] = weight.reshape(objects.shape).astype(np.float32)
        return parts

    def complain_absent(self, what: str, folder: Path, remedy: str) -> UserError:
        """The message for data that is not there."""
        return UserError(
            f'{what} {remedy} or say with --raw_dir=FOLDER where the folder `{folder.name}` is. '
            f'--exp=unet_shapes needs no data.'
        )
