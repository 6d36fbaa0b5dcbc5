"""The memory of RoIAlign on the pyramid of a picture, by XLA's own account: nothing is run.

    python -m segjax.tools.memory
    python -m segjax.tools.memory --rois=128 --side=14 --dtype=bfloat16

For each form of `ops.pyramid_roi_align`, forward and with the gradient of the pyramid, prints what
the compiled program takes beside its arguments and results. What the training step of a whole
network takes, here for one picture:

    python launch.py --exp=maskrcnn_coco --train.batch_size=1 --mode=summary --compile=true
"""

from __future__ import annotations

import argparse
import sys
import time

import jax
from jax.stages import Compiled

from segjax import ops
from segjax.ops.roi_align import Form
from segjax.train.memory import compiled_memory

SIZE = (800, 1344)  # of the picture
STRIDES = (4, 8, 16, 32)  # of p2 to p5
CHANNELS = 256
FORMS: tuple[Form, ...] = ('gather', 'matmul', 'auto')


def programs(rois: int, side: int, form: Form, dtype: str = 'float32') -> dict[str, Compiled]:
    """RoIAlign of so many boxes on p2 to p5, `side side` bins each; and the same with gradient."""
    array = jax.ShapeDtypeStruct
    levels = [array((-(-SIZE[0] // s), -(-SIZE[1] // s), CHANNELS), dtype) for s in STRIDES]
    where = array((rois, 4), 'float32'), array((rois,), 'int32')
    out = array((rois, side, side, CHANNELS), dtype)

    def forward(features: list, boxes: jax.Array, levels: jax.Array) -> jax.Array:
        scales = tuple(1 / stride for stride in STRIDES)
        return ops.pyramid_roi_align(
            features, boxes, levels, output_size=side, spatial_scales=scales, form=form
        )

    def both(features: list, boxes: jax.Array, levels: jax.Array, g: jax.Array):
        found, transpose = jax.vjp(lambda features: forward(features, boxes, levels), features)
        return found, transpose(g)[0]

    return {
        'forward': jax.jit(forward).lower(levels, *where).compile(),
        'forward and backward': jax.jit(both).lower(levels, *where, out).compile(),
    }


def main(arguments: list[str]) -> None:
    """Compile every form, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--rois', type=int, default=512)
    parser.add_argument('--side', type=int, default=7, help='bins along either axis')
    parser.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16'))
    options = parser.parse_args(arguments)
    print('| form | program | temporary GB | arguments GB | results GB |\n|---|---|---|---|---|')
    begin = time.perf_counter()
    for form in FORMS:
        for name, program in programs(options.rois, options.side, form, options.dtype).items():
            memory = compiled_memory(program)
            if memory is None:
                sys.exit('this backend gives no account of the memory of a compiled program')
            parts = (f'{memory[p] / 1e9:.3f}' for p in ('temporary', 'arguments', 'outputs'))
            print(f'| {form} | {name} | {" | ".join(parts)} |', flush=True)
    kind, seconds = jax.local_devices()[0].device_kind, time.perf_counter() - begin
    print(f'\n{kind}, jax {jax.__version__}; compiled in {seconds:.1f} s')


if __name__ == '__main__':
    main(sys.argv[1:])
