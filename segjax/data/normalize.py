"""Input normalisations: the device computes (image - mean) / std in units of the raw image."""

from __future__ import annotations

import numpy as np

# (mean, std) of an 8-bit image, in units of 0..255.
NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    # ImageNet's statistics in 0..1, as torchvision's weights expect them, times 255
    'imagenet': (
        (0.485 * 255, 0.456 * 255, 0.406 * 255),
        (0.229 * 255, 0.224 * 255, 0.225 * 255),
    ),
    # the mean that Caffe's VGG16 and the FCN networks subtract; here RGB. That their files list it
    # as BGR is a property of those weights: converting them turns the input channels of conv1_1.
    'caffe': ((122.67892, 116.66877, 104.00699), (1.0, 1.0, 1.0)),
    'unit': ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),  # 0..1
    'centered': ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),  # -1..1
    'zscore': ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),  # done on the host, a picture at a time
}


def _full_scale(dtype) -> float:
    """White: 255, 65535, and 1 for float images."""
    dtype = np.dtype(dtype)
    return float(np.iinfo(dtype).max) if dtype.kind in 'iu' else 1.0


def statistics(
    normalize: str, dtype, *, channels: int = 3
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std), `channels` numbers each, for an image of this dtype.

    The numbers of NORMALIZATIONS are scaled to the range of the dtype (uint16: 65535, float: 1), so
    that 'unit' gives 0..1 for all of them. 'zscore' is the identity: zscore() ran on the host. One
    channel takes the mean over the three.
    """
    mean, std = (np.asarray(s, np.float64) for s in NORMALIZATIONS[normalize])
    if normalize != 'zscore':
        mean, std = mean * _full_scale(dtype) / 255, std * _full_scale(dtype) / 255
    if channels == 1:
        mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
    return tuple(mean.tolist()), tuple(std.tolist())


def fill(normalize: str, dtype, *, channels: int = 3) -> tuple[float, ...]:
    """The raw value, one a channel, that is 0 after normalisation: what padding is made of."""
    return statistics(normalize, dtype, channels=channels)[0]


def moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over a picture, `c` float64.

    In bands of rows, so that a large picture is not copied.
    """
    count = image.shape[0] * image.shape[1]
    bands = [image[y : y + 256] for y in range(0, len(image), 256)]
    mean = sum(band.sum(axis=(0, 1), dtype=np.float64) for band in bands) / count
    squares = sum(((band - mean) ** 2).sum(axis=(0, 1)) for band in bands)
    return mean, np.sqrt(squares / count)


def zscore(image: np.ndarray, known: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """(image - mean) / std over the picture, a channel at a time; `h w c` float32.

    A constant channel becomes 0.

    Args:
      known: mean and standard deviation, where `image` is a part of a picture.
    """
    pixels = image.astype(np.float32)
    mean, std = known or (
        pixels.mean(axis=(0, 1), keepdims=True, dtype=np.float64),
        pixels.std(axis=(0, 1), keepdims=True, dtype=np.float64),
    )
    return ((pixels - mean) / np.maximum(std, 1e-8)).astype(np.float32)
