"""What segmentation_models.pytorch's DeepLabV3+ computes, in a file that tests read without torch.

    python -m segjax.tools.smp_golden tests/pretrained/smp_golden.npz

needs torch, torchvision and segmentation_models_pytorch 0.6. Weights follow from names and shapes
(`torchvision_golden.weights`). The file holds, for each encoder, the names and shapes of the state
dict, some values of the output and the root of its mean square (`torchvision_golden.sample`).
"""

from __future__ import annotations

import json
import sys

import numpy as np

from segjax.tools.torchvision_golden import filled, map_of, run, sample

ENCODERS = ('resnet18', 'mobilenet_v2')
CLASSES = 21


def main(path: str) -> None:
    """Write the file."""
    import segmentation_models_pytorch as smp  # pyright: ignore[reportMissingImports]

    content = {}
    for encoder in ENCODERS:
        model = smp.DeepLabV3Plus(encoder, encoder_weights=None, classes=CLASSES)
        model, shapes = filled(model)
        content[f'{encoder}/shapes'] = np.array(json.dumps(shapes))
        content[f'{encoder}/out'] = sample(map_of(run(model)))
    np.savez_compressed(path, **content)


if __name__ == '__main__':
    main(sys.argv[1])
