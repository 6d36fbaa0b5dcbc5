"""One map from output to input pixels, and the resampling of all parts of a sample by it.

Every geometric change of a sample (scale, flip, turn, rotation, elastic deformation, crop) is
composed into one Warp before a pixel is read, so that each part of the sample is interpolated once,
and all agree.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import cv2
import numpy as np

from segjax.types import IGNORE_LABEL, Instances

_BORDERS = {'constant': cv2.BORDER_REPLICATE, 'reflect': cv2.BORDER_REFLECT_101}
_MARGIN = 2  # input pixels read around the region that is wanted
_OVERSHOOT = 2.5  # a bicubic spline stays below this times its largest value


class Bend(NamedTuple):
    """An elastic deformation: the point p of a canvas comes from `matrix (p + u(p))`.

    u is the bicubic interpolation of `shifts`: in each direction the natural cubic spline through
    the points of the grid, the first and last of which lie on the canvas's border. Beyond it, u
    stays what it is there.
    """

    shifts: np.ndarray  # n n 2, (dx, dy) in pixels of the canvas, rows first
    size: tuple[int, int]  # of the canvas
    matrix: np.ndarray  # 3 3, from the canvas to the canvas of the next bend, or the input


class Warp(NamedTuple):
    """A map from the points of an output canvas to the points of the input.

    matrix: `3 3` float64, (x, y, 1) of the output to (x, y, 1) of the input, in continuous
      coordinates: pixel i covers [i, i + 1). With bends it leads to the canvas of the first.
    size: height and width of the output canvas.
    bends: elastic deformations, in the order in which a point passes them on its way to the input.
    """

    matrix: np.ndarray
    size: tuple[int, int]
    bends: tuple[Bend, ...] = ()

    @classmethod
    def identity(cls, size: tuple[int, int]) -> Warp:
        """The canvas is the input."""
        return cls(np.eye(3), size)

    def then(self, matrix: np.ndarray, size: tuple[int, int]) -> Warp:
        """A new canvas, `matrix` leading from its points to those of the present one."""
        return Warp(self.matrix @ matrix, size, self.bends)

    def bent(self, shifts: np.ndarray) -> Warp:
        """The canvas deformed by displacements `n n 2` of the points of a grid over it."""
        return Warp(np.eye(3), self.size, (Bend(shifts, self.size, self.matrix), *self.bends))

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

    def into(self, matrix: np.ndarray) -> Warp:
        """The map into another input, `matrix` leading to its points from the present one's."""
        if not self.bends:
            return self._replace(matrix=matrix @ self.matrix)
        *others, last = self.bends
        return self._replace(bends=(*others, last._replace(matrix=matrix @ last.matrix)))


def _translation(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _rectangle(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Its corners, `4 2`."""
    return np.array([low, (high[0], low[1]), (low[0], high[1]), high], np.float64)


def _transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points `n 2` under an affine map."""
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def _affine(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """x and y under an affine map; a coordinate on which nothing depends is not broadcast."""
    return [c + sum(m * v for m, v in ((a, x), (b, y)) if m) for a, b, c in matrix[:2]]


@functools.lru_cache(maxsize=4)
def _spline(n: int) -> Any:
    """The n functions that interpolate 1 at one of the points 0 .. n - 1 and 0 at the others."""
    from scipy.interpolate import CubicSpline

    return CubicSpline(np.arange(n), np.eye(n), bc_type='natural')


def _displacements(bend: Bend, x: np.ndarray, y: np.ndarray) -> list[Any]:
    """u at the points (x, y), which broadcast."""
    n = len(bend.shifts)
    along = [
        np.moveaxis(_spline(n)(np.clip(v * ((n - 1) / side), 0, n - 1)), -1, 0)
        for v, side in ((x, bend.size[1]), (y, bend.size[0]))
    ]
    return [
        sum(fy * sum(s * fx for s, fx in zip(row, along[0], strict=True)) for fy, row in rows)
        for rows in (zip(along[1], bend.shifts[..., axis], strict=True) for axis in (0, 1))
    ]


class _Content:
    """A Warp that equals any other of the same content, as a cache wants it."""

    def __init__(self, warp: Warp):
        self.warp = warp
        bends = ((b.size, b.shifts.tobytes(), b.matrix.tobytes()) for b in warp.bends)
        self._content = (warp.size, warp.matrix.tobytes(), *bends)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)


@functools.lru_cache(maxsize=8)  # the parts of a sample ask for the same, one after another
def _positions(content: _Content) -> tuple[np.ndarray, np.ndarray]:
    """Where the centre of each pixel of the canvas lies in the input: x and y, `h w` float32."""
    warp = content.warp
    h, w = warp.size
    x, y = _affine(warp.matrix, np.arange(w)[None, :] + 0.5, np.arange(h)[:, None] + 0.5)
    for bend in warp.bends:
        dx, dy = _displacements(bend, np.asarray(x), np.asarray(y))
        x, y = _affine(bend.matrix, x + dx, y + dy)
    x, y = np.broadcast_arrays(x, y, np.empty(warp.size))[:2]
    return x.astype(np.float32), y.astype(np.float32)


def _extent(warp: Warp) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest (x, y) of the input that the canvas shows; with bends, to half a pixel."""
    if warp.bends:
        x, y = _positions(_Content(warp))
        return np.array([x.min(), y.min()]), np.array([x.max(), y.max()])
    corners = _transform(warp.matrix, _rectangle(np.zeros(2), np.array(warp.size[::-1])))
    return corners.min(0), corners.max(0)


def _read_region(array: np.ndarray, warp: Warp, step: int) -> tuple[np.ndarray, Warp]:
    """The part of the input that the canvas reads, and the map into it.

    Its first pixel is a multiple of `step`. Keeps large pictures cheap, and below the 32767 pixels
    a side that OpenCV takes.
    """
    least, most = _extent(warp)
    limit = np.array([array.shape[1], array.shape[0]])
    low = np.floor(least).astype(int) - _MARGIN * step
    high = np.ceil(most).astype(int) + _MARGIN * step
    low = np.clip(low, 0, limit - 1) // step * step
    high = np.maximum(np.clip(high, 0, limit), low + 1)
    region = array[low[1] : high[1], low[0] : high[0]]
    return region, warp.into(_translation(-low[0], -low[1]))


def _is_inside(warp: Warp, shape: tuple[int, ...]) -> bool:
    """Whether the canvas reads nothing from beyond the border of the input."""
    least, most = _extent(warp)
    limit = np.array([shape[1], shape[0]])
    return bool((least >= -1e-6).all() and (most <= limit + 1e-6).all())


def _sample(array: np.ndarray, warp: Warp, flags: int, border: int, value: int) -> np.ndarray:
    """OpenCV's interpolation; it puts the centre of a pixel at a whole number."""
    if warp.bends:
        x, y = _positions(_Content(warp))
        return cv2.remap(array, x - 0.5, y - 0.5, flags, borderMode=border, borderValue=value)
    center = _translation(0.5, 0.5)
    matrix = (np.linalg.inv(center) @ warp.matrix @ center)[:2]
    flags |= cv2.WARP_INVERSE_MAP
    size = (warp.size[1], warp.size[0])
    return cv2.warpAffine(array, matrix, size, flags=flags, borderMode=border, borderValue=value)


def _shrink_factor(warp: Warp) -> int:
    """Input pixels a canvas pixel, a side, rounded down; a bend's own stretching is left out."""
    matrices = (warp.matrix, *(bend.matrix for bend in warp.bends))
    scale = np.sqrt(abs(np.prod([np.linalg.det(matrix[:2, :2]) for matrix in matrices])))
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
    factor = max(1, _shrink_factor(warp))
    region, into = image, warp
    if border == 'constant' or _is_inside(warp, image.shape):  # a mirror needs all of the picture
        region, into = _read_region(image, warp, factor)
    if factor > 1:
        region = _shrink(region, factor)
        into = into.into(np.diag([1 / factor, 1 / factor, 1.0]))
    coloured = image.shape[2] == 3
    if coloured:  # OpenCV is more than twice as fast with four channels as with three
        region = cv2.cvtColor(region, cv2.COLOR_RGB2RGBA)
    region = np.ascontiguousarray(region)
    out = _sample(region, into, cv2.INTER_LINEAR, _BORDERS[border], 0)
    out = cv2.cvtColor(out, cv2.COLOR_RGBA2RGB) if coloured else out
    return out.reshape(*warp.size, image.shape[2])


def _warp_nearest(array: np.ndarray, warp: Warp, border: str, value: int) -> np.ndarray:
    mode = cv2.BORDER_CONSTANT if border == 'constant' else _BORDERS[border]
    region, into = array, warp
    if _is_inside(warp, array.shape):
        region, into = _read_region(array, warp, 1)
    return _sample(np.ascontiguousarray(region), into, cv2.INTER_NEAREST, mode, value)


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


def _seen_from(warp: Warp, box: np.ndarray) -> np.ndarray:
    """Corners of a part of the canvas outside which nothing of an input's box is seen; `4 2`."""
    corners = _rectangle(box[:2], box[2:])
    for bend in reversed(warp.bends):
        corners = _transform(np.linalg.inv(bend.matrix), corners)
        reach = _OVERSHOOT * np.abs(bend.shifts).max((0, 1))
        corners = _rectangle(corners.min(0) - reach, corners.max(0) + reach)
    return _transform(np.linalg.inv(warp.matrix), corners)


def _warp_object(
    box: np.ndarray, mask: np.ndarray, warp: Warp
) -> tuple[np.ndarray, np.ndarray] | None:
    """Box and cropped mask of an object on the canvas; None if nothing of it is seen."""
    h, w = warp.size
    corners = _seen_from(warp, box)
    left, top = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, (w, h)).tolist()
    right, bottom = np.clip(np.ceil(corners.max(0)).astype(int) + 1, 0, (w, h)).tolist()
    if right <= left or bottom <= top:
        return None
    window = warp.cropped(top, left, (bottom - top, right - left))
    into_mask = window.into(_translation(-box[0], -box[1]))
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

    Crowds, which are not learned, have the places that other objects leave.

    Args:
      mask_size: side m of the masks, each cropped to its box; 0 for canvases of `size`.
    """
    areas = np.array([mask.sum() for mask in instances.masks], np.int64)
    kept = np.sort(np.lexsort((-areas, instances.crowd))[:number])  # the last key comes first
    shape = (mask_size, mask_size) if mask_size else size
    packed = Instances(
        boxes=np.zeros((number, 4), np.float32),
        classes=np.zeros(number, np.int32),
        masks=np.zeros((number, *shape), np.uint8),
        crowd=np.zeros(number, bool),
        valid=np.zeros(number, bool),
        cut=np.int32(max(len(areas) - number, 0)),
    )
    for row, i in enumerate(kept):
        box, mask = instances.boxes[i], instances.masks[i]
        packed.boxes[row] = box
        packed.classes[row] = instances.classes[i]
        packed.masks[row] = _resize_mask(mask, mask_size) if mask_size else _paste(box, mask, size)
        packed.crowd[row] = instances.crowd[i]
        packed.valid[row] = instances.valid[i]
    return packed
