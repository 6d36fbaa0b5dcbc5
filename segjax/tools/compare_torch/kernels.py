"""RoIAlign and non-maximum suppression beside plain C++ of one thread.

torchvision's own kernels need a build for the same Torch. The loops of `kernels.cpp` are theirs,
compiled here by g++ (native.py).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segjax import ops
from segjax.tools.compare_torch.agreement import difference, require
from segjax.tools.compare_torch.native import NativeKernels
from segjax.tools.race import race_against

SECONDS = 2.0
TOLERANCE = 1e-5
SIDE, CHANNELS = 512, 256  # of the image; of its maps at strides 4, 8, 16 and 32
STRIDES = 4, 8, 16, 32
SAMPLES = 2  # a bin and axis


def compare_roi_align(*, side: int, number: int) -> dict[str, Any]:
    """Ratios of `number` boxes cut into `side x side` bins of 2 x 2 samples, on four maps.

    Raises:
      OSError: as `NativeKernels`.
      ValueError: the two sides compute different things.
    """
    native, rng = NativeKernels(), np.random.default_rng(0)
    boxes = _random_boxes(rng, number)
    levels = np.asarray(ops.pyramid_level(jnp.asarray(boxes)))
    maps = [rng.standard_normal((SIDE // s, SIDE // s, CHANNELS), np.float32) for s in STRIDES]
    g = rng.standard_normal((number, side, side, CHANNELS), np.float32)
    theirs = partial(_cpp_roi_align, native, _channels_first(maps), boxes, levels)
    back = partial(_cpp_gradient, native, np.moveaxis(g, -1, 1), boxes, levels)
    scales = tuple(1 / s for s in STRIDES)
    align = partial(ops.pyramid_roi_align, output_size=side, spatial_scales=scales)
    here = [jnp.asarray(x) for x in maps], jnp.asarray(boxes), jnp.asarray(levels)
    ours = jax.jit(align)

    @jax.jit
    def with_gradient(x: list[jax.Array], boxes: jax.Array, levels: jax.Array, g: jax.Array) -> Any:
        y, vjp = jax.vjp(lambda x: align(x, boxes, levels), x)
        return y, vjp(g)[0]

    both = lambda: jax.block_until_ready(with_gradient(*here, jnp.asarray(g)))
    y, dx = both()
    require(difference(y, np.moveaxis(theirs(side), 1, -1)), TOLERANCE, 'values')
    require(difference(_channels_first(dx), back()), TOLERANCE, 'gradients')
    forward = {'jax': lambda: ours(*here).block_until_ready(), 'cpp': lambda: theirs(side)}
    gradient = {'jax': both, 'cpp': lambda: (theirs(side), back())}
    return {
        'forward': race_against(forward, seconds=SECONDS),
        'gradient': race_against(gradient, seconds=SECONDS),
    }


def compare_nms(*, number: int, threshold: float) -> dict[str, Any]:
    """The ratio of one class of boxes, which nothing is lost of.

    Raises:
      OSError: as `NativeKernels`.
      ValueError: the two sides keep different boxes.
    """
    native, rng = NativeKernels(), np.random.default_rng(0)
    boxes, scores = _random_boxes(rng, number), rng.random(number, np.float32)
    theirs = lambda: native.nms(boxes, scores, threshold)
    run = jax.jit(partial(ops.nms, iou_threshold=threshold, max_outputs=number))
    here = jnp.asarray(boxes), jnp.asarray(scores)
    index, valid = (np.asarray(x) for x in run(*here))
    if index[valid].tolist() != theirs().tolist():
        raise ValueError('other boxes are kept than in C++: nothing to compare')
    candidates = {'jax': lambda: jax.block_until_ready(run(*here)), 'cpp': theirs}
    return {'forward': race_against(candidates, seconds=SECONDS)}


def _random_boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    """Of 16 to 448 pixels, clipped to the image, `n 4` float32."""
    side = np.exp(rng.uniform(np.log(16), np.log(448), (number, 1)))
    shape = np.exp(rng.normal(0, 0.4, (number, 1)))
    half = np.concatenate([side * shape, side / shape], -1) / 2
    centre = rng.uniform(0, SIDE, (number, 2))
    return np.concatenate([centre - half, centre + half], -1).clip(0, SIDE).astype(np.float32)


def _channels_first(maps: Any) -> list[np.ndarray]:
    return [np.ascontiguousarray(np.moveaxis(np.asarray(x), -1, 0)) for x in maps]


def _cpp_roi_align(
    native: NativeKernels,
    maps: list[np.ndarray],
    boxes: np.ndarray,
    levels: np.ndarray,
    side: int,
) -> np.ndarray:
    """`n c p p`: of each map its boxes, then all in their places."""
    out = np.empty((len(boxes), CHANNELS, side, side), np.float32)
    for level, (x, stride) in enumerate(zip(maps, STRIDES, strict=True)):
        mine = np.flatnonzero(levels == level)
        out[mine] = native.roi_align(x, boxes[mine], side, 1 / stride, SAMPLES)
    return out


def _cpp_gradient(
    native: NativeKernels, g: np.ndarray, boxes: np.ndarray, levels: np.ndarray
) -> list[np.ndarray]:
    """Maps `c h w`, of the gradient `n c p p`."""
    found = []
    for level, stride in enumerate(STRIDES):
        mine, shape = np.flatnonzero(levels == level), (CHANNELS, SIDE // stride, SIDE // stride)
        found.append(native.roi_align_gradient(g[mine], boxes[mine], shape, 1 / stride, SAMPLES))
    return found


KERNELS = {
    'roi_align_7x7': partial(compare_roi_align, side=7, number=1000),
    'roi_align_14x14': partial(compare_roi_align, side=14, number=200),
    'nms_1000': partial(compare_nms, number=1000, threshold=0.7),
    'nms_4000': partial(compare_nms, number=4000, threshold=0.5),
}
