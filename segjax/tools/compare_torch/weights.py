"""One set of weights on both sides.

A twin's layers carry our names: what is at `params/vgg16/stage1/conv1_1/kernel` here is
`vgg16.stage1.conv1_1.weight` there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from segjax.pretrained.safetensors_io import named_leaves, nested
from segjax.tools.compare_torch.torch_side import to_numpy

LEAVES = {
    'kernel': 'weight',
    'scale': 'weight',
    'bias': 'bias',
    'mean': 'running_mean',
    'var': 'running_var',
}


def random_variables(model: nn.Module, image: np.ndarray) -> dict[str, Any]:
    """Variables of a model: kernels of He's size, normalisation and biases off their start.

    None is zero, as that of a score layer would be at the start: it would hide what lies before it.
    """
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.asarray(image), train=False))
    rng = np.random.default_rng(0)

    def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
        noise = rng.standard_normal(shape, np.float32)
        if name.endswith('/kernel'):
            return noise * np.float32(np.sqrt(2 / np.prod(shape[:-1])))
        centre = 1 if name.endswith(('/scale', '/var')) else 0
        return np.float32(centre) + np.float32(0.1) * np.clip(noise, -3, 3)

    return nested({name: fill(name, leaf.shape) for name, leaf in named_leaves(shapes)})


def kernels_in(dtype: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Our variables on the device, kernels in that type as in a program that only predicts."""
    return jax.tree.map(
        lambda x: jnp.asarray(x, dtype if x.ndim > 1 else 'float32'), dict(variables)
    )


def load(twin: torch.nn.Module, variables: Mapping[str, Any]) -> None:
    """Copy our variables into the twin.

    Raises:
      ValueError: the twin has arrays that we have not.
    """
    state = twin.state_dict()  # shares the twin's memory
    left = {name for name in state if not name.endswith('num_batches_tracked')}
    for name, leaf in named_leaves(variables):
        there = _their_name(name)
        array = torch.from_numpy(np.array(leaf))
        axes = _axes(twin, there)
        state[there].copy_(array.permute(axes) if axes else array)
        left.remove(there)
    if left:
        raise ValueError(f'these arrays of the Torch twin have no counterpart: {sorted(left)}')


def gradients(twin: torch.nn.Module, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The twin's gradients by our names, `vgg16/stage1/conv1_1/kernel`, in our axes."""
    parameters, found = dict(twin.named_parameters()), {}
    for name, _ in named_leaves(variables['params']):
        there = _their_name(f'params/{name}')
        gradient = parameters[there].grad
        axes = _axes(twin, there)
        found[name] = to_numpy(gradient, tuple(np.argsort(axes)) if axes else None)
    return found


def _their_name(name: str) -> str:
    _, *modules, leaf = name.split('/')
    return '.'.join([*modules, LEAVES[leaf]])


def _axes(twin: torch.nn.Module, name: str) -> tuple[int, ...] | None:
    """How to permute our kernel into theirs; None for a vector."""
    layer = twin.get_submodule(name.rpartition('.')[0])
    if not name.endswith('.weight') or layer.weight.ndim == 1:
        return None
    # `kh kw c m` to `c m kh kw` of a transposed convolution, else to `m c kh kw`
    return (2, 3, 0, 1) if isinstance(layer, torch.nn.ConvTranspose2d) else (3, 2, 0, 1)
