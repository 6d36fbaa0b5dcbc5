"""What each layer of a model costs, from shapes alone: nothing is computed or allocated."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from segjax import ops
from segjax.layers.conv import Conv, ConvTranspose

Shape = tuple[int, ...]


class LayerCost(NamedTuple):
    """One layer that has parameters or multiplies."""

    path: str  # vgg16/stage1/conv1_1
    kind: str  # Conv, ConvTranspose, BatchNorm, ...
    input_shape: Shape
    output_shape: Shape
    params: int
    macs: int  # multiply-accumulates of the whole batch
    dilation: int = 1


def layer_costs(model: nn.Module, image_shape: Shape) -> list[LayerCost]:
    """The layers of a model in the order in which they run.

    Multiply-accumulates are those of convolutions, by formula (`ops.conv_cost`), and of fully
    connected layers: normalisation, activation, pooling and fixed interpolation are left out, as in
    the tables of the papers. A layer that runs several times has a row for each, and its parameters
    in the first.

    Args:
      image_shape: `b h w c`.
    """
    if getattr(model, 'remat', False):
        model = model.clone(remat=False)  # type: ignore[call-arg]  # it changes no cost but hides layers
    rows: list[LayerCost] = []
    seen: set[str] = set()

    def note(next_fun: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        output = next_fun(*args, **kwargs)
        module = context.module
        own = module.variables.get('params', {})
        params = sum(leaf.size for leaf in own.values() if hasattr(leaf, 'size'))
        if context.method_name == '__call__' and params:
            shapes = args[0].shape, output.shape
            path = '/'.join(module.path)
            macs, dilation = _macs(module, *shapes), getattr(module, 'dilation', 1)
            kind = type(module).__name__
            params = 0 if path in seen else params
            seen.add(path)
            rows.append(LayerCost(path, kind, *shapes, params, macs, dilation))
        return output

    def initialise() -> Any:
        with nn.intercept_methods(note):
            return model.init(jax.random.key(0), jnp.zeros(image_shape, jnp.float32), train=False)

    jax.eval_shape(initialise)
    return rows


def _macs(module: nn.Module, input_shape: Shape, output_shape: Shape) -> int:
    if isinstance(module, Conv):
        (h, w), groups = output_shape[1:3], module.groups
    elif isinstance(module, ConvTranspose):
        (h, w), groups = input_shape[1:3], 1
    else:
        weights = module.variables['params'].get('kernel')
        return 0 if weights is None else math.prod(output_shape) * math.prod(weights.shape[:-1])
    kernel = (module.kernel, module.kernel)
    cost = ops.conv_cost(kernel, input_shape[-1], output_shape[-1], (h, w), groups=groups)
    return input_shape[0] * cost
