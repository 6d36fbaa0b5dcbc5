"""Single operations: the value, and the value with the gradients of all arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]

from segjax import ops
from segjax.tools.compare_torch import torch_side
from segjax.tools.compare_torch.agreement import difference, require
from segjax.tools.compare_torch.setting import Setting
from segjax.tools.race import race_against

SECONDS = 1.0
BATCH = 32  # images on a GPU
CONV, TRANSPOSED = (3, 2, 0, 1), (2, 3, 0, 1)  # our axes of a kernel as Torch has them


class Operation(NamedTuple):
    """One function on both sides.

    Attributes:
      ours: of arrays, `b h w c` and `kh kw c m`.
      theirs: of tensors, `b c h w` and Torch's kernel.
      image: shape of ours, of a batch of one.
      kernel: shape of ours; () without one.
      axes: how to permute our kernel into theirs.
    """

    ours: Callable[..., jax.Array]
    theirs: Callable[..., torch.Tensor]
    image: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    axes: tuple[int, ...] = CONV


def _conv(image: tuple[int, ...], kernel: tuple[int, ...], **options: int) -> Operation:
    padding = (kernel[0] // 2) * options.get('dilation', 1)
    options = {'padding': padding, **options}
    return Operation(partial(ops.conv, **options), partial(F.conv2d, **options), image, kernel)


def _depthwise(image: tuple[int, ...], **options: int) -> Operation:
    c = image[-1]
    return _conv(image, (3, 3, 1, c), groups=c, **options)


def _transposed(image: tuple[int, ...], kernel: tuple[int, ...], stride: int) -> Operation:
    options = {'stride': stride, 'padding': (kernel[0] - stride) // 2}
    ours, theirs = partial(ops.conv_transpose, **options), partial(F.conv_transpose2d, **options)
    return Operation(ours, theirs, image, kernel, TRANSPOSED)


def _pool(image: tuple[int, ...], window: int, padding: int) -> Operation:
    ours = partial(ops.max_pool, window=window, stride=2, padding=padding)
    theirs = partial(F.max_pool2d, kernel_size=window, stride=2, padding=padding)
    return Operation(ours, theirs, image)


def _resize(image: tuple[int, ...], side: int) -> Operation:
    ours = lambda x: ops.resize_bilinear(x, (side, side))
    theirs = partial(F.interpolate, size=(side, side), mode='bilinear', align_corners=False)
    return Operation(ours, theirs, image)


OPERATIONS = {
    'conv_3x3': _conv((1, 64, 64, 256), (3, 3, 256, 256)),
    'conv_1x1': _conv((1, 64, 64, 256), (1, 1, 256, 256)),
    'conv_7x7_of_fc6': _conv((1, 8, 8, 512), (7, 7, 512, 4096)),
    'conv_dilation_18': _conv((1, 32, 32, 2048), (3, 3, 2048, 256), dilation=18),
    'depthwise_conv': _depthwise((1, 64, 64, 192)),
    'depthwise_conv_stride_2': _depthwise((1, 128, 128, 96), stride=2),
    'depthwise_conv_dilation_4': _depthwise((1, 32, 32, 1024), dilation=4),
    'conv_transpose_2x2_stride_2': _transposed((1, 64, 64, 256), (2, 2, 256, 128), 2),
    'conv_transpose_4x4_stride_2': _transposed((1, 64, 64, 128), (4, 4, 128, 64), 2),
    'conv_transpose_16x16_stride_8': _transposed((1, 32, 32, 21), (16, 16, 21, 21), 8),
    'max_pool_2x2': _pool((1, 128, 128, 128), 2, 0),
    'max_pool_3x3': _pool((1, 128, 128, 64), 3, 1),
    'resize_bilinear_x4': _resize((1, 32, 32, 256), 128),
    'resize_bilinear_scores': _resize((1, 128, 128, 21), 512),
}


def compare_operation(operation: Operation, setting: Setting) -> dict[str, Any]:
    """Ratios `{'forward': {'vs_eager': r}, 'gradient': {...}}`, and milliseconds.

    The gradient is value and gradient of every argument together.

    Raises:
      ValueError: the two sides compute different things.
    """
    rng = np.random.default_rng(0)
    image = (setting.images(BATCH), *operation.image[1:])
    shapes = [shape for shape in (image, operation.kernel) if shape]
    arrays = [rng.standard_normal(shape, np.float32) for shape in shapes]
    there = [_to_torch(x, a, setting) for x, a in zip(arrays, _axes(operation), strict=False)]
    here = [jnp.asarray(x, setting.dtype) for x in arrays]
    # An addition: XLA runs a program of a single convolution by another, slower path, and no
    # network is one.
    ours = jax.jit(lambda *arguments: operation.ours(*arguments) + jnp.zeros((), setting.dtype))
    with torch.inference_mode():
        y, expected = ours(*here), operation.theirs(*there)
        expected = torch_side.to_numpy(expected, CHANNELS_LAST)
        require(difference(_float32(y), expected), setting.tolerance, 'values')
        candidates = {
            'jax': lambda: ours(*here).block_until_ready(),
            'eager': torch_side.waiting(lambda: operation.theirs(*there), setting),
        }
        forward = race_against(candidates, seconds=SECONDS)
    gradient = _compare_gradients(operation, ours, here, there, y, setting)
    return {'forward': forward, 'gradient': gradient}


CHANNELS_LAST = (0, 2, 3, 1)


def _axes(operation: Operation) -> tuple[tuple[int, ...], ...]:
    return (0, 3, 1, 2), operation.axes


def _compare_gradients(
    operation: Operation,
    ours: Callable[..., jax.Array],
    here: list[jax.Array],
    there: list[torch.Tensor],
    y: jax.Array,
    setting: Setting,
) -> dict[str, float]:
    """With a gradient of noise at the output."""
    noise = np.random.default_rng(1).standard_normal(y.shape, np.float32)
    our_noise = jnp.asarray(noise, setting.dtype)
    their_noise = _to_torch(noise, (0, 3, 1, 2), setting)
    leaves = [x.requires_grad_() for x in there]

    @jax.jit
    def our_gradients(arguments: list[jax.Array], g: jax.Array) -> tuple[jax.Array, ...]:
        value, back = jax.vjp(ours, *arguments)
        return value, *back(g)

    def their_gradients() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(operation.theirs(*leaves), leaves, their_noise)

    found = [_float32(x) for x in our_gradients(here, our_noise)[1:]]
    expected = [
        torch_side.to_numpy(x, tuple(np.argsort(axes)))
        for x, axes in zip(their_gradients(), _axes(operation), strict=False)
    ]
    require(difference(found, expected), setting.tolerance, 'gradients')
    candidates = {
        'jax': lambda: jax.block_until_ready(our_gradients(here, our_noise)),
        'eager': torch_side.waiting(their_gradients, setting),
    }
    return race_against(candidates, seconds=SECONDS)


def _to_torch(x: np.ndarray, axes: tuple[int, ...], setting: Setting) -> torch.Tensor:
    """Permuted, channels last in memory, in the setting's type and on its device."""
    there = torch.from_numpy(x).permute(axes).to(getattr(torch, setting.dtype))
    return torch_side.place(there, setting)


def _float32(x: jax.Array) -> np.ndarray:
    return np.asarray(x, np.float32)
