"""RoIAlign: features of a box, read between the cells. He et al., "Mask R-CNN", section 3."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from segjax.ops.roi_gather import gather, scatter
from segjax.ops.roi_matmul import multiply, multiply_transposed
from segjax.ops.roi_sampling import Grid, Maps

Form = Literal['auto', 'gather', 'matmul']


def roi_align(
    features: Float[Array, 'h w c'],
    boxes: Float[Array, 'n 4'],
    *,
    output_size: int,
    spatial_scale: float,
    sampling_ratio: int = 2,
    aligned: bool = False,
    area: Int[Array, '2'] | None = None,
    form: Form = 'auto',
) -> Float[Array, 'n p p c']:
    """Each box is cut into `p p` bins; a bin is the mean of what is interpolated at its samples.

    A box has no gradient, features have. A sample less than a cell outside the map reads the
    border, one further out counts as zero, as in the C++ kernels of torchvision and detectron2.

    Args:
      boxes: `x1 y1 x2 y2` in image pixels.
      output_size: p.
      spatial_scale: cells a pixel, 1/4 at stride 4.
      sampling_ratio: samples a bin and axis; 0 for `ceil(bin)`, as many as it has cells.
      aligned: True puts the centre of cell i at i + 1/2, where it belongs (detectron2). False puts
        it at i and makes boxes at least one cell wide (torchvision, and all before).
      area: the first so many rows and columns are the image's, and its border counts as that of the
        map: what fills a canvas further on is never read. Default: all of them.
      form: 'gather' reads the neighbours of each sample, 'matmul' multiplies with interpolation
        matrices. Equal but for rounding; 'auto' takes what suits the device, and a gradient that is
        the same bits every time. Samples without a fixed number are always 'matmul'.
    """
    return pyramid_roi_align(
        (features,),
        boxes,
        jnp.zeros(len(boxes), jnp.int32),
        output_size=output_size,
        spatial_scales=(spatial_scale,),
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        areas=None if area is None else area[None],
        form=form,
    )


def pyramid_roi_align(
    features: Sequence[Float[Array, '_ _ c']],
    boxes: Float[Array, 'n 4'],
    levels: Int[Array, 'n'],
    *,
    output_size: int,
    spatial_scales: Sequence[float],
    sampling_ratio: int = 2,
    aligned: bool = False,
    areas: Int[Array, 'l 2'] | None = None,
    form: Form = 'auto',
) -> Float[Array, 'n p p c']:
    """`roi_align` where box i reads `features[levels[i]]`.

    Args:
      levels: indices of `features`, as from `pyramid_level`.
      spatial_scales: of each map.
      areas: of each map, see `area` there.
    """
    maps = Maps(tuple((x.shape[0], x.shape[1]) for x in features), tuple(spatial_scales))
    grid = Grid(output_size, sampling_ratio, aligned)
    areas = jnp.asarray(maps.sizes, jnp.int32) if areas is None else areas
    form = form if sampling_ratio else 'matmul'
    boxes, dtype = lax.stop_gradient(boxes.astype(jnp.float32)), features[0].dtype
    return _align(tuple(features), boxes, levels, areas, maps, grid, form, dtype)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6, 7))
def _align(
    features: tuple[Array, ...],
    boxes: Array,
    levels: Array,
    areas: Array,
    maps: Maps,
    grid: Grid,
    form: Form,
    dtype: DTypeLike,
) -> Array:
    read, product = (partial(f, maps=maps, grid=grid) for f in (gather, multiply))
    arguments = features, boxes, levels, areas
    if form == 'auto':
        # A TPU is poor at reading here and there; elsewhere that costs less than the products.
        out = lax.platform_dependent(*arguments, tpu=product, default=read)
    else:
        out = (read if form == 'gather' else product)(*arguments)
    return out.astype(dtype)


def _forward(
    features: tuple[Array, ...], boxes: Array, levels: Array, areas: Array, *settings: Any
) -> Any:
    return _align(features, boxes, levels, areas, *settings), (boxes, levels, areas)


def _backward(
    maps: Maps,
    grid: Grid,
    form: Form,
    dtype: DTypeLike,
    where: tuple[Array, Array, Array],
    g: Array,
) -> tuple[Any, None, None, None]:
    add, product = (partial(f, maps=maps, grid=grid) for f in (scatter, multiply_transposed))
    if form == 'auto':  # a GPU adds scattered numbers in any order
        found = lax.platform_dependent(g, *where, cpu=add, default=product)
    else:
        found = (add if form == 'gather' else product)(g, *where)
    return tuple(x.astype(dtype) for x in found), None, None, None


_align.defvjp(_forward, _backward)
