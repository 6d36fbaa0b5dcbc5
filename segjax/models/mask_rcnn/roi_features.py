"""The features of regions, from the level of the pyramid that suits their size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from segjax import ops
from segjax.models.mask_rcnn.anchors import Flavor
from segjax.models.mask_rcnn.valid_area import cells, padded_size

RoiOp = Literal['align', 'pool', 'warp']


def roi_features(
    features: Sequence[Float[Array, 'b _ _ c']],
    rois: Float[Array, 'b r 4'],
    *,
    strides: Sequence[int],
    side: int,
    op: RoiOp,
    flavor: Flavor,
    sizes: Int[Array, 'b 2'] | None = None,
) -> Float[Array, 'b r side side c']:
    """Maps of `side side` cells of the regions of each picture.

    RoIAlign takes torchvision's two samples a bin and axis, or detectron2's as many as a bin has
    cells, half a pixel further up and left.

    Args:
      features: one map, or p2, p3, ... of which each region reads one.
      rois: in pixels of the canvas.
      strides: of the maps; further ones are of levels that no region reads.
      sizes: height and width of each picture in the canvas, whose area alone is read; default: the
        whole canvas.
    """
    strides = strides[: len(features)]
    scales = tuple(1 / stride for stride in strides)

    def of_picture(features: tuple[Array, ...], rois: Array, areas: Array | None) -> Array:
        levels = jnp.zeros(len(rois), jnp.int32)
        if len(features) > 1:
            levels = ops.pyramid_level(rois, highest=1 + len(features), flavor=flavor)
        if op != 'align':
            return _from_each(features, rois, levels, areas, scales, side, op)
        torchvision = flavor == 'torchvision'
        return ops.pyramid_roi_align(
            features,
            rois,
            levels,
            output_size=side,
            spatial_scales=scales,
            sampling_ratio=2 if torchvision else 0,
            aligned=not torchvision,
            areas=areas,
        )

    areas = None
    if sizes is not None:
        areas = jnp.stack([cells(padded_size(sizes), stride) for stride in strides], axis=1)
    return jax.vmap(of_picture)(tuple(features), rois, areas)


def _from_each(
    features: tuple[Array, ...],
    rois: Array,
    levels: Int[Array, 'r'],
    areas: Int[Array, 'l 2'] | None,
    scales: tuple[float, ...],
    side: int,
    op: RoiOp,
) -> Array:
    """RoIPool or RoIWarp on every level, of which each region keeps its own."""
    read = ops.roi_pool if op == 'pool' else ops.roi_warp
    out = jnp.zeros((), features[0].dtype)
    for i, (x, scale) in enumerate(zip(features, scales, strict=True)):
        area = None if areas is None else areas[i]
        found = read(x, rois, output_size=side, spatial_scale=scale, area=area)
        out = jnp.where((levels == i)[:, None, None, None], found, out)
    return out
