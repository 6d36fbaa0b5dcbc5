"""From milliseconds to images a second, and how much of the device that makes use of."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax

from segjax.layers.cost import layer_costs
from segjax.tools.compare_torch.setting import Dtype

# FLOP/s of dense matrix products after NVIDIA's data sheets: in bfloat16, and in TF32, by which
# both sides multiply float32 on a GPU. The first name that is part of the device's counts.
PEAKS = {
    'H200': (989.5e12, 494.7e12),
    'H100 PCIe': (756e12, 378e12),
    'H100': (989.5e12, 494.7e12),
    'A100': (312e12, 156e12),
}
# Passes of the multiply-accumulates; a step has the gradients by its input and by its weights, too.
PASSES = {'inference': 1, 'train': 3}


def peak_flops(device_kind: str, dtype: Dtype) -> float | None:
    """FLOP/s that the device could do at most; None where it is not in `PEAKS`."""
    for name, (bfloat16, tf32) in PEAKS.items():
        if name in device_kind:
            return bfloat16 if dtype == 'bfloat16' else tf32
    return None


def with_rates(
    found: dict[str, float], *, images: int, macs: int, passes: int, peak: float | None
) -> dict[str, float]:
    """Beside milliseconds `NAME_ms` of a batch also `NAME_images_per_s` and `NAME_mfu`.

    The latter is the model FLOP utilisation: two operations for each multiply-accumulate of the
    convolutions and fully connected layers, over what the device could do in that time. It is left
    out where the peak is not known.

    Args:
      macs: of one image and pass.
      passes: as `PASSES`.
    """
    rates = {}
    for key, milliseconds in found.items():
        if name := key.removesuffix('_ms') if key.endswith('_ms') else '':
            rate = 1e3 * images / milliseconds
            rates[f'{name}_images_per_s'] = rate
            if peak:
                rates[f'{name}_mfu'] = 2 * passes * macs * rate / peak
    return {**found, **rates}


def rated(
    parts: dict[str, dict[str, float]],
    model: nn.Module,
    shape: tuple[int, int, int, int],
    dtype: Dtype,
) -> dict[str, Any]:
    """`with_rates` of 'inference' and 'train', on a batch `b h w c`."""
    macs = sum(row.macs for row in layer_costs(model, (1, *shape[1:])))
    peak = peak_flops(jax.local_devices()[0].device_kind, dtype)
    return {
        part: with_rates(found, images=shape[0], macs=macs, passes=PASSES[part], peak=peak)
        for part, found in parts.items()
    }
