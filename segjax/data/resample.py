"""One map from output to input pixels, and the resampling of all parts of a sample by it.

Every geometric change of a sample (scale, flip, turn, rotation, crop) is composed into one Warp
before a pixel is read, so that each part of the sample is interpolated once, and all agree.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from segjax.types import IGNORE_LABEL, Instances

_BORDERS = {'constant': cv2.BORDER_REPLICATE, 'reflect': cv2.BORDER_REFLECT_101}
_MARGIN = 2  # input pixels read around the region that is wanted


class Warp(NamedTuple):
    """A map from the points of an output canvas to the points of the input.

    matrix: `3 3` float64, (x, y, 1) of the output to (x, y, 1) of the input, in continuous
      coordinates: pixel i covers [i, i + 1).
    size: height and width of the output canvas.

    A dense displacement (elastic deformation) will be a third field, added to (x, y) before the
    matrix; the functions below are the only ones to read a Warp.
    """

    matrix: np.ndarray
    size: tuple[int, int]

    @classmethod
    def identity(cls, size: tuple[int, int]) -> Warp:
        """The canvas is the input."""
        return cls(np.eye(3), size)

    def then(self, matrix: np.ndarray, size: tuple[int, int]) -> Warp:
        """A new canvas, `matrix` leading from its points to those of the present one."""
        return Warp(self.matrix @ matrix, size)

    def resized(self, size: tuple[int, int]) -> Warp:
        """The whole canvas stretched to another size."""
        (h, w), (new_h, new_w) = self.size, size
        return self.then(np.diag([w / new_w, h / new_h, 1.0]), size)

    def scaled(self, factor: float) -> Warp:
        """The whole canvas scaled, to whole pixels."""
        h, w = self.size
        return self.resized((max(1, round(h * factor)), max(1, round(w * factor))))

    def cropped(self, top: int, left: int, size: tuple[int, int]) -> Warp:
        """A window of the canvas; it may reach over the border."""
        return self.then(_translation(left, top), size)


def _translation(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _corners(matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Where the corners of a canvas lie in the input; `4 2`."""
    h, w = size
    return (np.array([[0, 0, 1], [w, 0, 1], [0, h, 1], [w, h, 1]]) @ matrix.T)[:, :2]


def _read_region(array: np.ndarray, warp: Warp, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the input that the canvas reads, and the matrix into it.

    Its first pixel is a multiple of `step`. Keeps large pictures cheap, and below the 32767 pixels
    a side that OpenCV's warpAffine takes.
    """
    corners = _corners(warp.matrix, warp.size)
    limit = np.array([array.shape[1], array.shape[0]])
    low = np.floor(corners.min(0)).astype(int) - _MARGIN * step
    high = np.ceil(corners.max(0)).astype(int) + _MARGIN * step
    low = np.clip(low, 0, limit - 1) // step * step
    high = np.maximum(np.clip(high, 0, limit), low + 1)
    region = array[low[1] : high[1], low[0] : high[0]]
    return region, _translation(-low[0], -low[1]) @ warp.matrix


def _is_inside(warp: Warp, shape: tuple[int, ...]) -> bool:
    """Whether the canvas reads nothing from beyond the border of the input."""
    corners = _corners(warp.matrix, warp.size)
    limit = np.array([shape[1], shape[0]])
    return bool((corners >= -1e-6).all() and (corners <= limit + 1e-6).all())


def _warp_affine(array: np.ndarray, matrix: np.ndarray, size, flags: int, border: int, value):
    center = _translation(0.5, 0.5)  # OpenCV puts the centre of a pixel at a whole number
    matrix = (np.linalg.inv(center) @ matrix @ center)[:2]
    flags |= cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        array, matrix, (size[1], size[0]), flags=flags, borderMode=border, borderValue=value
    )


def _shrink_factor(matrix: np.ndarray) -> int:
    """Input pixels a canvas pixel, a side, rounded down."""
    scale = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    return int(scale + 1e-6)


def _shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Means of blocks of `factor factor`; the last blocks are completed by repeating the border."""
    h, w = image.shape[:2]
    down, right = -h % factor, -w % factor
    if down or right:
        image = cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REPLICATE)
    size = ((w + right) // factor, (h + down) // factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def warp_image(image: np.ndarray, warp: Warp, *, border: str = 'constant') -> np.ndarray:
    """Bilinear; where the picture shrinks to a half or less, means of blocks come first.

    Args:
      image: `h w c` uint8, uint16 or float32.
      border: 'reflect' mirrors beyond the border; 'constant' repeats the border's pixels there, for
        the caller to overwrite (see outside).

    Returns:
      `warp.size` and c, of the same type.
    """
    factor = max(1, _shrink_factor(warp.matrix))
    region, matrix = image, warp.matrix
    if border == 'constant' or _is_inside(warp, image.shape):  # a mirror needs all of the picture
        region, matrix = _read_region(image, warp, factor)
    if factor > 1:
        region = _shrink(region, factor)
        matrix = np.diag([1 / factor, 1 / factor, 1.0]) @ matrix
    coloured = image.shape[2] == 3
    if coloured:  # OpenCV is more than twice as fast with four channels as with three
        region = cv2.cvtColor(region, cv2.COLOR_RGB2RGBA)
    region = np.ascontiguousarray(region)
    out = _warp_affine(region, matrix, warp.size, cv2.INTER_LINEAR, _BORDERS[border], 0)
    out = cv2.cvtColor(out, cv2.COLOR_RGBA2RGB) if coloured else out
    return out.reshape(*warp.size, image.shape[2])


def _warp_nearest(array: np.ndarray, warp: Warp, border: str, value: int) -> np.ndarray:
    mode = cv2.BORDER_CONSTANT if border == 'constant' else _BORDERS[border]
    region, matrix = array, warp.matrix
    if _is_inside(warp, array.shape):
        region, matrix = _read_region(array, warp, 1)
    region = np.ascontiguousarray(region)
    return _warp_affine(region, matrix, warp.size, cv2.INTER_NEAREST, mode, value)


def warp_label(label: np.ndarray, warp: Warp, *, border: str = 'constant') -> np.ndarray:
    """Nearest; IGNORE_LABEL beyond the border, or its mirror image.

    Args:
      label: `h w` of 0..255, int32 or uint8.

    Returns:
      `warp.size` uint8.
    """
    return _warp_nearest(label.astype(np.uint8, copy=False), warp, border, IGNORE_LABEL)


def warp_weight(weight: np.ndarray, warp: Warp, *, border: str = 'constant') -> np.ndarray:
    """Bilinear, `h w` float32; 0 beyond the border, or its mirror image."""
    out = warp_image(weight[:, :, None], warp, border=border)[:, :, 0]
    if border == 'constant' and (beyond := outside(weight.shape, warp)) is not None:
        out[beyond] = 0
    return out


def outside(shape: tuple[int, ...], warp: Warp) -> np.ndarray | None:
    """True where the canvas, `warp.size`, lies beyond the input of this shape; None if nowhere."""
    if _is_inside(warp, shape):
        return None
    return _warp_nearest(np.zeros(shape[:2], np.uint8), warp, 'constant', 1) > 0


def _resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask stretched to `size size`: 1 where at least half of the pixel is covered."""
    shrinks = max(mask.shape) > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    stretched = cv2.resize(mask * np.uint8(255), (size, size), interpolation=method)
    return (stretched > 127).astype(np.uint8)


def _warp_object(
    box: np.ndarray, mask: np.ndarray, warp: Warp
) -> tuple[np.ndarray, np.ndarray] | None:
    """Box and cropped mask of an object on the canvas; None if nothing of it is seen."""
    h, w = warp.size
    inverse = np.linalg.inv(warp.matrix)
    corners = _corners(inverse @ _translation(box[0], box[1]), mask.shape)
    left, top = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, (w, h)).tolist()
    right, bottom = np.clip(np.ceil(corners.max(0)).astype(int) + 1, 0, (w, h)).tolist()
    if right <= left or bottom <= top:
        return None
    window = warp.cropped(top, left, (bottom - top, right - left))
    into_mask = Warp(_translation(-box[0], -box[1]) @ window.matrix, window.size)
    seen = _warp_nearest(mask, into_mask, 'constant', 0)
    x, y, dx, dy = cv2.boundingRect(seen)
    if dx == 0 or dy == 0:
        return None
    new_box = np.array([left + x, top + y, left + x + dx, top + y + dy], np.float32)
    return new_box, seen[y : y + dy, x : x + dx]


def warp_instances(instances: Instances, warp: Warp) -> Instances:
    """Objects as the canvas shows them: masks cut at its border, new boxes, unseen ones gone.

    Takes and returns Instances of a sample: n of any number, masks a tuple of n arrays.
    """
    kept, boxes, masks = [], [], []
    for i, mask in enumerate(instances.masks):
        if (found := _warp_object(instances.boxes[i], mask, warp)) is not None:
            kept.append(i)
            boxes.append(found[0])
            masks.append(found[1])
    return Instances(
        boxes=np.stack(boxes) if boxes else np.zeros((0, 4), np.float32),
        classes=instances.classes[kept],
        masks=tuple(masks),
        crowd=instances.crowd[kept],
        valid=instances.valid[kept],
    )


def _paste(box: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros(size, np.uint8)
    left, top = box[:2].astype(int)
    canvas[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return canvas


def pack_instances(
    instances: Instances, *, number: int, mask_size: int, size: tuple[int, int]
) -> Instances:
    """Fixed shapes: the `number` largest objects, in their order, padded with invalid ones.

    Args:
      mask_size: side m of the masks, each cropped to its box; 0 for canvases of `size`.
    """
    areas = np.array([mask.sum() for mask in instances.masks], np.int64)
    kept = np.sort(np.argsort(-areas, kind='stable')[:number])
    shape = (mask_size, mask_size) if mask_size else size
    packed = Instances(
        boxes=np.zeros((number, 4), np.float32),
        classes=np.zeros(number, np.int32),
        masks=np.zeros((number, *shape), np.uint8),
        crowd=np.zeros(number, bool),
        valid=np.zeros(number, bool),
    )
    for row, i in enumerate(kept):
        box, mask = instances.boxes[i], instances.masks[i]
        packed.boxes[row] = box
        packed.classes[row] = instances.classes[i]
        packed.masks[row] = _resize_mask(mask, mask_size) if mask_size else _paste(box, mask, size)
        packed.crowd[row] = instances.crowd[i]
        packed.valid[row] = instances.valid[i]
    return packed
