"""Scores a folder of predicted masks against a folder of labels, whoever predicted them.

    python -m segjax.tools.score_folder PREDICTIONS LABELS --num_classes=150 --first_id=1
    python -m segjax.tools.score_folder PREDICTIONS SegmentationClass --num_classes=21

Both folders hold masks of the same names and sizes, whose values are class ids from --first_id on
(1 for ADE20K, whose 0 is not evaluated; 0 for Pascal VOC). Pixels whose label is no class are left
out; everywhere else a class must have been predicted.

Prints the scores of `metrics.Confusion`, whose mean IoU leaves out the classes that occur in
neither folder, and the mean over all classes with IoU 0 for those. The latter is what ADE20K's own
evaluation prints; over all of its validation set the two agree, since every class occurs there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from segjax.data.images import read_mask
from segjax.metrics import Confusion, confusion
from segjax.types import UserError

_CHUNK = 2**18  # pixels; pictures of many sizes become arrays of few


def _read_pair(prediction: Path, label: Path, num_classes: int, first_id: int) -> np.ndarray:
    """`2 n`: label and prediction of the labelled pixels, classes counted from 0."""
    if not prediction.is_file():
        raise UserError(f'{label}: its prediction {prediction} is missing.')
    truth, guess = (read_mask(path).astype(np.int32) - first_id for path in (label, prediction))
    if truth.shape != guess.shape:
        raise UserError(
            f'{prediction} is {guess.shape[1]}x{guess.shape[0]} but {label} is '
            f'{truth.shape[1]}x{truth.shape[0]}; predictions need the size of their labels.'
        )
    known = (truth >= 0) & (truth < num_classes)
    truth, guess = truth[known], guess[known]
    if wrong := np.unique(guess[(guess < 0) | (guess >= num_classes)] + first_id).tolist():
        raise UserError(
            f'{prediction}: predicts {", ".join(map(str, wrong[:10]))} where {label} has a class; '
            f'ids go from {first_id} to {first_id + num_classes - 1}. Mend --first_id or '
            f'--num_classes, or predict a class everywhere.'
        )
    return np.stack([truth, guess])


def score_folder(
    predictions: Path, labels: Path, *, num_classes: int, first_id: int = 0
) -> Confusion:
    """The confusion matrix over all masks (`*.png`) of `labels`.

    Raises:
      UserError: no masks, a missing or unreadable prediction, one of another size, one without a
        class where the label has one.
    """
    files = sorted(labels.glob('[!.]*.png'))
    if not files:
        raise UserError(f'{labels}: holds no *.png.')
    total = Confusion(num_classes)
    for file in files:
        pair = _read_pair(predictions / file.name, file, num_classes, first_id)
        missing = -pair.shape[1] % _CHUNK
        truth = np.pad(pair[0], (0, missing), constant_values=-1)
        guess = np.pad(pair[1], (0, missing))
        truth, guess = (jnp.asarray(x).reshape(1, -1, _CHUNK) for x in (truth, guess))
        total.update(np.asarray(confusion(truth, guess, num_classes=num_classes)))
    return total


def main(argv: list[str]) -> None:
    """Score the folders that the arguments name and print the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('predictions', type=Path)
    parser.add_argument('labels', type=Path)
    parser.add_argument('--num_classes', type=int, required=True)
    parser.add_argument('--first_id', type=int, default=0)
    args = parser.parse_args(argv)
    found = score_folder(
        args.predictions, args.labels, num_classes=args.num_classes, first_id=args.first_id
    )
    scores, occur = found.compute(), int(np.isfinite(found.iou).sum())
    print(f'pixel accuracy                         {scores["pixel_accuracy"]:.4f}')
    print(f'mean accuracy                          {scores["mean_accuracy"]:.4f}')
    print(f'frequency-weighted IoU                 {scores["fw_iou"]:.4f}')
    print(f'mean IoU of the {occur:3} classes that occur  {scores["mean_iou"]:.4f}')
    print(f'mean IoU over all {args.num_classes:3} classes          {found.mean_iou_over_all:.4f}')


if __name__ == '__main__':
    try:
        main(sys.argv[1:])
    except UserError as user_error:
        print(f'error: {user_error}', file=sys.stderr)
        sys.exit(2)
