"""The loops of kernels.cpp, compiled here by g++, as functions of NumPy arrays."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np


class NativeKernels:
    """RoIAlign and non-maximum suppression as torchvision's kernels have them, in one thread.

    Arrays are float32; maps `c h w`, boxes `n 4` in pixels.

    Raises:
      OSError: no compiler, or one that fails.
    """

    def __init__(self):
        library = Path(tempfile.mkdtemp(prefix='segjax-kernels-')) / 'kernels.so'
        source = Path(__file__).with_name('kernels.cpp')
        command = ['g++', '-O3', '-shared', '-fPIC', str(source), '-o', str(library)]
        try:
            subprocess.run(command, check=True)
        except subprocess.CalledProcessError as error:
            raise OSError(f'{" ".join(command)} failed') from error
        self._library = ctypes.CDLL(str(library))

    def nms(self, boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
        """Indices of the boxes that are kept, best first, int64."""
        boxes, scores = _whole(boxes), _whole(scores)
        kept, limit = np.zeros(len(boxes), np.int32), ctypes.c_double(threshold)
        number = self._library.nms(
            _pointer(boxes), _pointer(scores), len(boxes), limit, _pointer(kept)
        )
        return kept[:number].astype(np.int64)

    def roi_align(
        self, maps: np.ndarray, boxes: np.ndarray, side: int, scale: float, samples: int
    ) -> np.ndarray:
        """`n c side side`, of `samples x samples` a bin; `scale` is cells a pixel."""
        maps, boxes = _whole(maps), _whole(boxes)
        out = np.empty((len(boxes), len(maps), side, side), np.float32)
        settings = _settings(maps.shape, boxes, side, scale, samples)
        self._library.roi_align(_pointer(maps), *settings, _pointer(out))
        return out

    def roi_align_gradient(
        self,
        g: np.ndarray,
        boxes: np.ndarray,
        shape: tuple[int, ...],
        scale: float,
        samples: int,
    ) -> np.ndarray:
        """Of maps of that shape, from the gradient of the output."""
        g, boxes = _whole(g), _whole(boxes)
        out = np.zeros(shape, np.float32)
        settings = _settings(shape, boxes, g.shape[-1], scale, samples)
        self._library.roi_align_gradient(_pointer(g), *settings, _pointer(out))
        return out


def _whole(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x, np.float32)


def _pointer(x: np.ndarray) -> ctypes.c_void_p:
    return x.ctypes.data_as(ctypes.c_void_p)


def _settings(
    shape: tuple[int, ...], boxes: np.ndarray, side: int, scale: float, samples: int
) -> tuple:
    """What the kernels are told of maps and boxes."""
    return *shape, _pointer(boxes), len(boxes), ctypes.c_float(scale), side, samples
