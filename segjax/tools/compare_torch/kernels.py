"""RoIAlign and non-maximum suppression beside plain C++ of one thread.

torchvision's own kernels need a build for the same Torch. The loops of `kernels.cpp` are theirs,
compiled here by g++.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segjax import ops
from segjax.tools.compare_torch.agreement import difference, require
from segjax.tools.race import race_against

SECONDS = 2.0
TOLERANCE = 1e-5
SIDE, CHANNELS = 512, 256  # of the image; of its maps at strides 4, 8, 16 and 32
STRIDES = 4, 8, 16, 32


def compile_kernels() -> ctypes.CDLL:
    """The library.

    Raises:
      OSError: no compiler, or one that fails.
    """
    library = Path(tempfile.mkdtemp(prefix='segjax-kernels-')) / 'kernels.so'
    source = Path(__file__).with_name('kernels.cpp')
    command = ['g++', '-O3', '-shared', '-fPIC', str(source), '-o', str(library)]
    try:
        subprocess.run(command, check=True)
    except subprocess.CalledProcessError as error:
        raise OSError(f'{" ".join(command)} failed') from error
    return ctypes.CDLL(str(library))


def compare_roi_align(*, side: int, number: int) -> dict[str, Any]:
    """Ratios of `number` boxes cut into `side x side` bins of 2 x 2 samples, on four maps.

    Raises:
      OSError: as `compile_kernels`.
      ValueError: the two sides compute different things.
    """
    library, rng = compile_kernels(), np.random.default_rng(0)
    boxes = _random_boxes(rng, number)
    levels = np.asarray(ops.pyramid_level(jnp.asarray(boxes)))
    maps = [rng.standard_normal((SIDE // s, SIDE // s, CHANNELS), np.float32) for s in STRIDES]
    g = rng.standard_normal((number, side, side, CHANNELS), np.float32)
    theirs = partial(_cpp_roi_align, library, _channels_first(maps), boxes, levels)
    back = partial(_cpp_gradient, library, np.moveaxis(g, -1, 1), boxes, levels)
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
    require(difference(_channels_first(dx), back(side)), TOLERANCE, 'gradients')
    forward = {'jax': lambda: ours(*here).block_until_ready(), 'cpp': lambda: theirs(side)}
    gradient = {'jax': both, 'cpp': lambda: (theirs(side), back(side))}
    return {
        'forward': race_against(forward, seconds=SECONDS),
        'gradient': race_against(gradient, seconds=SECONDS),
    }


def compare_nms(*, number: int, threshold: float) -> dict[str, Any]:
    """The ratio of one class of boxes, which nothing is lost of.

    Raises:
      OSError: as `compile_kernels`.
      ValueError: the two sides keep different boxes.
    """
    library, rng = compile_kernels(), np.random.default_rng(0)
    boxes, scores = _random_boxes(rng, number), rng.random(number, np.float32)
    kept = np.zeros(number, np.int32)

    def theirs() -> int:
        limit = ctypes.c_double(threshold)
        return library.nms(_pointer(boxes), _pointer(scores), number, limit, _pointer(kept))

    run = jax.jit(partial(ops.nms, iou_threshold=threshold, max_outputs=number))
    here = jnp.asarray(boxes), jnp.asarray(scores)
    index, valid = (np.asarray(x) for x in run(*here))
    if index[valid].tolist() != kept[: theirs()].tolist():
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


def _pointer(x: np.ndarray) -> ctypes.c_void_p:
    return x.ctypes.data_as(ctypes.c_void_p)


def _settings(level: int, boxes: np.ndarray, side: int) -> tuple[Any, ...]:
    """What the kernels are told of a map and its boxes."""
    cells, scale = SIDE // STRIDES[level], ctypes.c_float(1 / STRIDES[level])
    return CHANNELS, cells, cells, _pointer(boxes), len(boxes), scale, side, 2


def _cpp_roi_align(
    library: ctypes.CDLL, maps: list[np.ndarray], boxes: np.ndarray, levels: np.ndarray, side: int
) -> np.ndarray:
    """`n c p p`: of each map its boxes, then all in their places."""
    out = np.empty((len(boxes), CHANNELS, side, side), np.float32)
    for level, x in enumerate(maps):
        mine = np.flatnonzero(levels == level)
        part, own = np.empty((len(mine), *out.shape[1:]), np.float32), boxes[mine]
        library.roi_align(_pointer(x), *_settings(level, own, side), _pointer(part))
        out[mine] = part
    return out


def _cpp_gradient(
    library: ctypes.CDLL, g: np.ndarray, boxes: np.ndarray, levels: np.ndarray, side: int
) -> list[np.ndarray]:
    """Maps `c h w`, of the gradient `n c p p`."""
    found = []
    for level, stride in enumerate(STRIDES):
        mine = np.flatnonzero(levels == level)
        part, own = np.ascontiguousarray(g[mine]), boxes[mine]
        found.append(np.zeros((CHANNELS, SIDE // stride, SIDE // stride), np.float32))
        settings = _settings(level, own, side)
        library.roi_align_gradient(_pointer(part), *settings, _pointer(found[-1]))
    return found


KERNELS = {
    'roi_align_7x7': partial(compare_roi_align, side=7, number=1000),
    'roi_align_14x14': partial(compare_roi_align, side=14, number=200),
    'nms_1000': partial(compare_nms, number=1000, threshold=0.7),
    'nms_4000': partial(compare_nms, number=4000, threshold=0.5),
}
