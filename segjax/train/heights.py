"""Which images can be shared by several devices, each holding a strip of rows."""

from __future__ import annotations

import math

import flax.linen as nn

from segjax.layers.cost import layer_costs
from segjax.types import UserError

Shape = tuple[int, ...]


def check_height(model: nn.Module, image_shape: Shape, parts: int) -> None:
    """Every map of the model must fall into `parts` strips of equally many rows.

    Others would be computed rightly, too, but with strips filled up to the largest one and moved
    between devices at every change of resolution.

    Args:
      image_shape: `b h w c` that the model is trained with.

    Raises:
      UserError: naming the heights that fit.
    """
    if _uneven(model, image_shape, parts) is None:
        return
    b, height, width, c = image_shape
    unit = parts * _total_stride(model, image_shape)
    below = height // unit * unit
    nearest = [h for h in (below, below + unit) if h and _fits(model, (b, h, width, c), parts)]
    if not nearest:
        raise UserError(
            f'--shard_height={parts}: no height near {height} fits, as the maps of '
            f'{type(model).__name__} do not shrink by whole factors. Take --padding=same where the '
            'model has it, or --shard_height=1.'
        )
    raise UserError(
        f'--shard_height={parts}: crops of {height} rows make '
        f'{_uneven(model, image_shape, parts)}, which {parts} devices cannot share evenly. '
        f'Multiples of {unit} fit; try --train.crop=' + ' or '.join(f'{h},{width}' for h in nearest)
    )


def _maps(model: nn.Module, image_shape: Shape) -> dict[str, int]:
    """Rows of each map that a layer reads or makes, by words for it; pooled vectors are no maps."""
    found = {}
    for row in layer_costs(model, image_shape):
        for way, shape in (('into', row.input_shape), ('out of', row.output_shape)):
            if len(shape) == 4 and shape[1:3] != (1, 1):
                found[f'{way} {row.path}'] = shape[1]
    return found


def _uneven(model: nn.Module, image_shape: Shape, parts: int) -> str | None:
    """The first map that does not fall into equal strips."""
    for where, rows in _maps(model, image_shape).items():
        if rows % parts:
            return f'a map of {rows} rows {where}'
    return None


def _fits(model: nn.Module, image_shape: Shape, parts: int) -> bool:
    try:
        return _uneven(model, image_shape, parts) is None
    except UserError:  # the model takes no image of this size at all
        return False


def _total_stride(model: nn.Module, image_shape: Shape) -> int:
    """Rows of the image for one row of the coarsest map, a power of two; it may be rounded up."""
    coarsest = min(_maps(model, image_shape).values())
    return 2 ** math.ceil(math.log2(image_shape[1] / coarsest))
