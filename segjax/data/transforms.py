"""Augmentations: frozen dataclasses that change a Warp, or the colours, by a random generator.

A geometric transform moves no pixel: it composes its map with the Warp it is given, and the
pipeline resamples the whole sample once (resample.py). A photometric one gets the cropped image.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import cv2
import numpy as np

from segjax.data.resample import Warp
from segjax.types import UserError


@dataclasses.dataclass(frozen=True)
class Transform:
    """Base: changes nothing. A subclass overrides one of the two methods."""

    def warp(self, warp: Warp, rng: np.random.Generator) -> Warp:
        """The map with this transform's geometry after it."""
        del rng
        return warp

    def color(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The image `h w c` with other colours, of the same type."""
        del rng
        return image


@dataclasses.dataclass(frozen=True)
class ScaleJitter(Transform):
    """Scales by a factor drawn evenly from [low, high], both sides alike."""

    low: float = 0.5
    high: float = 2.0

    def warp(self, warp: Warp, rng: np.random.Generator) -> Warp:
        return warp.scaled(rng.uniform(self.low, self.high))


@dataclasses.dataclass(frozen=True)
class Flip(Transform):
    """Mirrors left and right, or top and bottom.

    Attributes:
      axis: 'horizontal' exchanges left and right.
      probability: of mirroring.
    """

    axis: Literal['horizontal', 'vertical'] = 'horizontal'
    probability: float = 0.5

    def warp(self, warp: Warp, rng: np.random.Generator) -> Warp:
        if rng.random() >= self.probability:
            return warp
        h, w = warp.size
        if self.axis == 'horizontal':
            matrix = [[-1, 0, w], [0, 1, 0], [0, 0, 1]]
        else:
            matrix = [[1, 0, 0], [0, -1, h], [0, 0, 1]]
        return warp.then(np.array(matrix, np.float64), warp.size)


@dataclasses.dataclass(frozen=True)
class Turn(Transform):
    """Turns by 0, 90, 180 or 270 degrees, each as likely."""

    def warp(self, warp: Warp, rng: np.random.Generator) -> Warp:
        for _ in range(rng.integers(4)):
            h, w = warp.size
            # the point (x, y) of the turned canvas, w high and h wide, was (w - y, x)
            warp = warp.then(np.array([[0, -1, w], [1, 0, 0], [0, 0, 1]], np.float64), (w, h))
        return warp


@dataclasses.dataclass(frozen=True)
class Rotate(Transform):
    """Rotates about the centre, by up to `degrees` either way; the canvas keeps its size."""

    degrees: float = 10.0

    def warp(self, warp: Warp, rng: np.random.Generator) -> Warp:
        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees))
        h, w = warp.size
        cos, sin = np.cos(angle), np.sin(angle)
        x, y = w / 2, h / 2
        matrix = [[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y], [0, 0, 1]]
        return warp.then(np.array(matrix), warp.size)


@dataclasses.dataclass(frozen=True)
class Elastic(Transform):
    """Bends the canvas smoothly (U-Net, section 3.1).

    Displacements are drawn for the points of a grid over the canvas and interpolated bicubically
    (resample.Bend). The paper does not say how far its grid reaches.

    Attributes:
      grid: points a side.
      sigma: standard deviation of both components, in pixels of the canvas.
    """

    grid: int = 3
    sigma: float = 10.0

    def __post_init__(self):
        if self.grid < 2:
            raise UserError(f'--grid={self.grid}: an elastic deformation needs at least 2 points.')

    def warp(self, warp: Warp, rng: np.random.Generator) -> Warp:
        return warp.bent(rng.normal(0, self.sigma, (self.grid, self.grid, 2)))


@dataclasses.dataclass(frozen=True)
class Invert(Transform):
    """Makes dark bright and bright dark: integers about the middle of their type, floats about 0.

    It turns fluorescence, bright nuclei on a dark ground, into something like bright-field.
    Floats are taken for standardised ones, `normalize='zscore'`.
    """

    probability: float = 0.5

    def color(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.probability:
            return image
        return np.iinfo(image.dtype).max - image if image.dtype.kind in 'iu' else -image


_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601
_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])  # luma, chroma


def _hue_rotation(turn: float) -> np.ndarray:
    """The `3 3` map that turns the chroma by this part of a full turn and keeps luma and grays."""
    cos, sin = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    return np.linalg.inv(_YIQ) @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _YIQ


@dataclasses.dataclass(frozen=True)
class ColorJitter(Transform):
    """Brightness, contrast and saturation, each by a factor drawn evenly from [1 - s, 1 + s].

    Brightness multiplies; contrast blends with the mean luma of the picture; saturation with each
    pixel's luma. `hue` turns the chroma of three channels by an angle drawn evenly from as much of
    a full turn either way. All are one affine map of the colour, rounded and clipped once.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.0

    def color(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        strengths = np.array([self.brightness, self.contrast, self.saturation])
        brightness, contrast, saturation = np.maximum(rng.uniform(1 - strengths, 1 + strengths), 0)
        channels = image.shape[2]
        luma = _LUMA if channels == 3 else np.ones(1)
        mean = brightness * (luma @ np.array(cv2.mean(image)[:channels]))
        linear = saturation * np.eye(channels) + (1 - saturation) * luma[None, :]
        if self.hue and channels == 3:
            linear = linear @ _hue_rotation(rng.uniform(-self.hue, self.hue))
        offset = np.full((channels, 1), (1 - contrast) * mean)
        matrix = np.hstack([contrast * brightness * linear, offset])
        return cv2.transform(image, matrix).reshape(image.shape)
