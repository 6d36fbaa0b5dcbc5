"""What was found in a picture, and how it is shown."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections import Counter
from typing import Any

import numpy as np

from segjax.data.dataset import Info
from segjax.evaluate.instance import Found, as_coco
from segjax.visualize import Row, abreast, framed, overlay, panel, png_bytes, resize_image
from segjax.visualize_instances import SURE, decoded, draw, found_objects

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What was found in a picture.

    Attributes:
      image: `h w c`, upright, as it was read.
      label: `h w`, class ids.
      probabilities: `h w k` float32 where they were asked for.
      info: names and colours of the classes.
    """

    image: np.ndarray = dataclasses.field(repr=False)
    label: np.ndarray = dataclasses.field(repr=False)
    probabilities: np.ndarray | None = dataclasses.field(repr=False)
    info: Info
    dropped = 0  # a class map leaves nothing out

    @property
    def shares(self) -> dict[str, float]:
        """The share of the pixels of each class that occurs, the largest first."""
        counts = np.bincount(self.label.ravel(), minlength=len(self.info.class_names))
        order = np.argsort(-counts, kind='stable')
        return {self.info.class_names[i]: counts[i] / counts.sum() for i in order if counts[i]}

    def overlay(self) -> np.ndarray:
        """The label laid over the picture, uint8 `h w 3`."""
        return overlay(self.image, self.label, self.info.palette)

    def picture(self) -> np.ndarray:
        """The picture beside its prediction, with a legend, uint8 `h w 3`."""
        row = Row(self.image, None, self.label)
        return panel([row], class_names=self.info.class_names, palette=self.info.palette)

    def show(self) -> None:
        """Show `picture()`: in the notebook, or else in a window of the system's viewer."""
        ipython = sys.modules.get('IPython')
        if ipython is not None and ipython.get_ipython() is not None:
            importlib.import_module('IPython.display').display(self)
            return
        from PIL import Image

        Image.fromarray(self.picture()).show()

    def _repr_png_(self) -> bytes:
        return png_bytes(self.picture())


@dataclasses.dataclass(frozen=True)
class ObjectPrediction(Prediction):
    """What a detector found in a picture; everything in the picture's own pixels.

    `label` has, at each pixel, the class of the best of the objects that are drawn.

    Attributes:
      found: all detections, best first; masks as COCO's run lengths.
      dropped: boxes above the score threshold that did not enter the last suppression.
    """

    found: Found = dataclasses.field(repr=False)
    dropped: int = 0

    @property
    def boxes(self) -> np.ndarray:
        """`n 4`, left, top, right, bottom."""
        return self.found.boxes

    @property
    def scores(self) -> np.ndarray:
        """`n`, the best first."""
        return self.found.scores

    @property
    def classes(self) -> np.ndarray:
        """`n`, ids."""
        return self.found.classes

    @property
    def masks(self) -> list[np.ndarray]:
        """`h w` bool each; none of a detector without masks."""
        return decoded(self.found.masks)

    @property
    def counts(self) -> dict[str, int]:
        """How many objects of each class are drawn, the most first."""
        classes = self.found.classes[self.found.scores >= SURE]
        names = (self.info.class_names[i] for i in classes.tolist())
        return dict(Counter(names).most_common())

    def as_coco(self, image_id: int) -> list[dict[str, Any]]:
        """The detections in the form of COCO's results."""
        return as_coco(self.found, image_id)

    def overlay(self) -> np.ndarray:
        """The objects drawn into the picture, each in a colour of its own, at the size at which
        it is well seen: a whole multiple or fraction of its own; uint8 `h w 3`."""
        size = self.image.shape[0], self.image.shape[1]
        return draw(self.image, found_objects(self.found, size, self.info.class_names))

    def picture(self) -> np.ndarray:
        """The picture beside its objects, uint8 `h w 3`."""
        found = self.overlay()
        plain = resize_image(self.image, (found.shape[0], found.shape[1]))
        return framed(abreast([plain, found], found.shape[1]))


def paint(found: Found, size: Size) -> np.ndarray:
    """The class of the best sure object at each pixel, `h w`; its box where it has no mask."""
    label = np.zeros(size, np.uint8)
    for i in np.flatnonzero(found.scores >= SURE)[::-1]:
        if found.masks is not None:
            label[decoded([found.masks[i]])[0]] = found.classes[i]
        else:
            left, top, right, bottom = np.rint(found.boxes[i]).astype(int)
            label[top:bottom, left:right] = found.classes[i]
    return label
