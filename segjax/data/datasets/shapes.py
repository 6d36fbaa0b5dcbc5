"""Shapes: generated scenes that need no download, and that colour alone does not solve.

Discs, squares, triangles, stars and rings of random colour, overlapping, on a textured noisy
ground. Record i of a split is a pure function of (scene_seed, split, i).
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from segjax.data.bad_samples import BadSamples
from segjax.data.dataset import Dataset, Info, Normalize, Roots, Source, make_sample
from segjax.types import Batch, Instances, UserError

CLASSES = ('background', 'disc', 'square', 'triangle', 'star', 'ring')
_PALETTE = ((0, 0, 0), (230, 57, 70), (69, 170, 75), (255, 190, 11), (66, 135, 245), (181, 94, 214))
_DISC, _RING = 1, 5
_SPLITS = ('train', 'val', 'test')
_CANDIDATES = 8  # colours drawn for an object; the first that stands out is taken
_CONTRAST = 0.35  # least distance in RGB (0..1) from the ground and the other objects


def _polygon(kind: int) -> np.ndarray:
    """Corners `n 2` of a square, triangle or star, about as large as a disc of radius 1."""
    if kind == CLASSES.index('star'):
        angles = np.arange(10) * np.pi / 5
        radii = np.where(np.arange(10) % 2 == 0, 1.25, 0.55)
    else:
        sides = 4 if kind == CLASSES.index('square') else 3
        angles = np.arange(sides) * 2 * np.pi / sides + (np.pi / 4 if sides == 4 else 0)
        radii = np.full(sides, 1.2 if sides == 4 else 1.3)
    return np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=-1)


_POLYGONS = {kind: _polygon(kind) for kind in range(_DISC + 1, _RING)}
_FRACTION_BITS = 4  # cv2 draws with corners in sixteenths of a pixel


def _draw(size: int, kind: int, center: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """The object's pixels, `size size` uint8 of 0 and 1; center in continuous coordinates."""
    mask = np.zeros((size, size), np.uint8)
    scale = 1 << _FRACTION_BITS
    center = center - 0.5  # cv2 puts pixel centres at whole numbers
    if kind in (_DISC, _RING):
        x, y = np.rint(center * scale).astype(int).tolist()
        cv2.circle(mask, (x, y), round(radius * scale), 1, -1, cv2.LINE_8, _FRACTION_BITS)
        if kind == _RING:
            inner = round(0.55 * radius * scale)
            cv2.circle(mask, (x, y), inner, 0, -1, cv2.LINE_8, _FRACTION_BITS)
    else:
        cos, sin = np.cos(angle), np.sin(angle)
        turned = _POLYGONS[kind] @ np.array([[cos, sin], [-sin, cos]])
        corners = np.rint((center + radius * turned) * scale).astype(np.int32)
        cv2.fillPoly(mask, [corners], 1, cv2.LINE_8, _FRACTION_BITS)
    return mask


def _texture(
    rng: np.random.Generator, size: int, color: np.ndarray, amplitude: float
) -> np.ndarray:
    """A cloudy surface `size size 3` around a colour, at two scales."""
    coarse = rng.standard_normal((5, 5, 3), np.float32) * np.float32(amplitude) + color
    fine = rng.standard_normal((24, 24, 3), np.float32)
    surface = cv2.addWeighted(cv2.resize(coarse, (24, 24)), 1.0, fine, 0.5 * amplitude, 0)
    return cv2.resize(surface, (size, size))


def _add_noise(rng: np.random.Generator, image: np.ndarray, deviation: float) -> np.ndarray:
    """image + noise: the difference of two bytes, ten times cheaper than normal numbers."""
    first, second = np.frombuffer(rng.bytes(2 * image.size), np.uint8).reshape(2, *image.shape)
    weight = deviation / np.sqrt(2 * (256**2 - 1) / 12)  # a byte's variance is (256^2 - 1) / 12
    noise = cv2.addWeighted(first, weight, second, -weight, 0, dtype=cv2.CV_32F)
    return cv2.add(image, noise)


def _choose_color(rng: np.random.Generator, taken: list[np.ndarray]) -> np.ndarray:
    """A random colour away from those taken; which class it is for plays no part."""
    candidates = rng.random((_CANDIDATES, 3), np.float32)
    differences = candidates[:, None] - np.stack(taken)[None]
    distance = np.sqrt((differences**2).sum(-1)).min(1)
    far = distance > _CONTRAST
    return candidates[np.argmax(far) if far.any() else np.argmax(distance)]


def _tight(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Box xyxy of a mask's pixels, and the mask cropped to it."""
    x, y, w, h = cv2.boundingRect(mask)
    return np.array([x, y, x + w, y + h], np.float32), mask[y : y + h, x : x + w].copy()


def _make_instances(owner: np.ndarray, kinds: list[int]) -> Instances:
    """The visible parts; owner `h w` holds 1 + the number of the uppermost object."""
    boxes, masks, classes = [], [], []
    for number, kind in enumerate(kinds, 1):
        visible = (owner == number).astype(np.uint8)
        if visible.any():
            box, mask = _tight(visible)
            boxes.append(box)
            masks.append(mask)
            classes.append(kind)
    n = len(boxes)
    return Instances(
        boxes=np.stack(boxes) if boxes else np.zeros((0, 4), np.float32),
        classes=np.array(classes, np.int32),
        masks=tuple(masks),
        crowd=np.zeros(n, bool),
        valid=np.ones(n, bool),
    )


@dataclasses.dataclass(frozen=True)
class Shapes(Dataset):
    """Generated scenes; classes background, disc, square, triangle, star, ring.

    Attributes:
      size: height and width of a picture.
      num_objects: fewest and most objects in a picture.
      radius: least and greatest radius of an object, in pixels.
      rotation: objects are turned by up to this many degrees either way.
      noise: standard deviation of the pixel noise; white is 1.
      num_train, num_val: pictures in the splits; test has as many as val.
      scene_seed: another number gives other scenes.
    """

    normalize: Normalize = 'unit'
    size: int = 128
    num_objects: tuple[int, int] = (1, 4)
    radius: tuple[float, float] = (12.0, 32.0)
    rotation: float = 15.0
    noise: float = 0.04
    num_train: int = 4096
    num_val: int = 256
    scene_seed: int = 0

    def info(self, roots: Roots) -> Info:
        return Info(CLASSES, _PALETTE)

    def splits(self, roots: Roots) -> tuple[str, ...]:
        return _SPLITS

    def source(self, split: str, roots: Roots) -> Source:
        if split not in _SPLITS:
            raise UserError(f'shapes: there is no split {split!r}, only {", ".join(_SPLITS)}.')
        return ShapesSource(self, split)

    def scene(self, split: str, index: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Record `index`: image `size size 3` uint8, owner `size size` uint8, kinds.

        owner is 0 on the ground and 1 + j on object j, whose class is kinds[j].
        """
        rng = np.random.default_rng((self.scene_seed, _SPLITS.index(split), index))
        size = self.size
        colors = [rng.random(3, np.float32)]
        image = _texture(rng, size, colors[0], 0.08)
        owner = np.zeros((size, size), np.uint8)
        kinds = []
        for number in range(1, 1 + rng.integers(self.num_objects[0], self.num_objects[1] + 1)):
            kind = int(rng.integers(1, len(CLASSES)))
            radius = rng.uniform(*self.radius)
            center = rng.uniform(min(radius, size) / 2, size - min(radius, size) / 2, 2)
            angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation))
            mask = _draw(size, kind, center, radius, angle)
            colors.append(_choose_color(rng, colors))
            cv2.copyTo(_texture(rng, size, colors[-1], 0.05), mask, image)
            owner[mask > 0] = number
            kinds.append(kind)
        image = _add_noise(rng, image, self.noise)
        return cv2.convertScaleAbs(np.maximum(image, 0, out=image), None, 255.0), owner, kinds


class ShapesSource(Source):
    """One split of Shapes, drawn when asked for."""

    def __init__(self, dataset: Shapes, split: str):
        """Draws nothing yet."""
        self._dataset = dataset
        self._split = split
        self.normalize = dataset.normalize
        self.bad = BadSamples(dataset.bad_limit)

    def __len__(self) -> int:
        return self._dataset.num_train if self._split == 'train' else self._dataset.num_val

    def __getitem__(self, index: int) -> Batch:
        image, owner, kinds = self._dataset.scene(self._split, index)
        label = np.array([0, *kinds], np.int32)[owner]
        if self._dataset.channels == 1:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
        return make_sample(
            image,
            label,
            index=index,
            normalize=self.normalize,
            instances=_make_instances(owner, kinds),
        )

    def name(self, index: int) -> str:
        return f'shapes/{self._split}/{index}'

    def size(self, index: int) -> tuple[int, int]:
        return self._dataset.size, self._dataset.size
