"""Draws the figures of segjax/ops/README.md.

python -m segjax.tools.figures                       all of them, to segjax/ops/figures
python -m segjax.tools.figures max_unpool            one
python -m segjax.tools.figures --output=slides       all, elsewhere
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from segjax.tools.figures import counting, down, regions, training, up

FOLDER = Path(__file__).parents[2] / 'ops' / 'figures'
DRAWINGS = {
    drawing.__name__: drawing
    for drawing in (
        down.convolution,
        down.stride,
        down.dilated,
        down.grouped,
        down.separable,
        down.pooling,
        down.pool_padding,
        up.unpooling,
        up.max_unpool,
        up.resize_bilinear,
        up.conv_transpose,
        up.conv_matrix,
        up.bilinear_kernel,
        up.deconvolve,
        regions.roi_align,
        regions.nms,
        regions.mask_target,
        counting.receptive_field,
        counting.cost,
        counting.label_map,
        training.weight_map,
        training.elastic,
    )
}


def main(arguments: list[str]) -> None:
    """Draw what is asked for and print where it is."""
    parser = argparse.ArgumentParser(
        prog='segjax.tools.figures',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('name', nargs='?', choices=DRAWINGS, metavar='NAME', help='default: all')
    parser.add_argument('--output', type=Path, default=FOLDER, help='folder of the pictures')
    options = parser.parse_args(arguments)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f'--output={options.output}: {error.strerror}')
    for name in [options.name] if options.name else DRAWINGS:
        path = options.output / f'{name}.png'
        # Without the version of matplotlib: the same drawing is the same file.
        DRAWINGS[name]().savefig(path, metadata={'Software': None})
        print(path)


if __name__ == '__main__':
    main(sys.argv[1:])
