"""What a threshold finds in pictures of cells: a floor for networks, on the data of an experiment.

    python -m segjax.tools.otsu experiments/unet_nuclei.py --raw_dir=../shared/data

Each picture of the evaluated split is cut by its own brightness at Otsu's threshold ("A threshold
selection method from gray-level histograms", 1979); the rarer side is the foreground. Prints IoU
and Dice, means over the pictures, also of each part of the data set, and the IoU of all pixels.
"""

from __future__ import annotations

import argparse
import dataclasses
import runpy
from pathlib import Path

import cv2
import numpy as np

from segjax.config import RunOptions
from segjax.data.dataset import Roots
from segjax.evaluate.host_scores import ImageScores, Seen, foreground


def otsu(image: np.ndarray) -> np.ndarray:
    """The rarer side of Otsu's threshold in a picture `h w c` uint8; `h w` bool."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.shape[2] == 3 else image[..., 0]
    _, cut = cv2.threshold(gray, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    bright = cut > 0
    return bright if bright.mean() <= 0.5 else ~bright


def main() -> None:
    """Threshold the evaluated split, print the scores."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('experiment', help='a file of experiments/')
    parser.add_argument('--raw_dir', type=Path, default=RunOptions().raw_dir)
    parser.add_argument('--data_dir', type=Path, default=RunOptions().data_dir)
    arguments = parser.parse_args()
    experiment = runpy.run_path(arguments.experiment)['experiment']()
    roots = Roots(arguments.raw_dir, arguments.data_dir)
    dataset = dataclasses.replace(experiment.dataset, normalize='unit')  # pictures as they are
    source = dataset.source(experiment.eval.split, roots)
    scores, both, either = ImageScores(), 0, 0
    for i in range(len(source)):
        sample, group = source[i], source.group(i)
        found, wanted = otsu(sample.image), foreground(sample.label)
        probabilities = np.stack([~found, found], axis=-1).astype(np.float32)
        scores.update(Seen(i, group, sample.label, None, probabilities))
        both, either = both + (found & wanted).sum(), either + (found | wanted).sum()
    print(f'{len(source)} pictures')
    for name, value in scores.compute().items():
        print(f'{name:28} {value:.3f}')
    print(f'{"IoU of all pixels":28} {both / either:.3f}')


if __name__ == '__main__':
    main()
