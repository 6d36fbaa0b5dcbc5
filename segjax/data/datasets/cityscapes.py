"""Cityscapes: street scenes of 50 cities, 19 classes, 2048x1024.

Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016:
2975 train and 500 val pictures with fine labels. Classes, colours and the ids that are left out are
those of the authors' cityscapesScripts (helpers/labels.py).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from segjax.data.dataset import Info, Roots, Source
from segjax.data.datasets.voc import note_incomplete
from segjax.data.images import read_mask
from segjax.data.pairs import Pair, PairedDataset, check_ids
from segjax.types import IGNORE_LABEL, UserError

# The evaluated classes in the order of their train ids: id in *_labelIds.png, colour.
CLASSES: dict[str, tuple[int, tuple[int, int, int]]] = {
    'road': (7, (128, 64, 128)),
    'sidewalk': (8, (244, 35, 232)),
    'building': (11, (70, 70, 70)),
    'wall': (12, (102, 102, 156)),
    'fence': (13, (190, 153, 153)),
    'pole': (17, (153, 153, 153)),
    'traffic light': (19, (250, 170, 30)),
    'traffic sign': (20, (220, 220, 0)),
    'vegetation': (21, (107, 142, 35)),
    'terrain': (22, (152, 251, 152)),
    'sky': (23, (70, 130, 180)),
    'person': (24, (220, 20, 60)),
    'rider': (25, (255, 0, 0)),
    'car': (26, (0, 0, 142)),
    'truck': (27, (0, 0, 70)),
    'bus': (28, (0, 60, 100)),
    'train': (31, (0, 80, 100)),
    'motorcycle': (32, (0, 0, 230)),
    'bicycle': (33, (119, 11, 32)),
}
LAST_ID = 33
COUNTS = {'train': 2975, 'val': 500}  # pictures of the complete splits

_PICTURE = '_leftImg8bit.png'
_MASKS = ('_gtFine_labelIds.png', '_gtFine_labelTrainIds.png')  # the first that is there


def _train_ids() -> np.ndarray:
    """id -> train id, 256 entries; those of no evaluated class are ignored."""
    table = np.full(256, IGNORE_LABEL, np.uint8)
    for train_id, (label_id, _) in enumerate(CLASSES.values()):
        table[label_id] = train_id
    return table


@dataclasses.dataclass(frozen=True)
class Cityscapes(PairedDataset):
    """The folders leftImg8bit and gtFine as they are unpacked, a folder a city.

    There is no background class: everything that is not evaluated is ignored. The labels of test
    are not public.

    Attributes:
      raw: folder under --raw_dir.
    """

    raw: str = 'cityscapes'

    def info(self, roots: Roots) -> Info:
        return Info(tuple(CLASSES), tuple(color for _, color in CLASSES.values()))

    def raw_folder(self, roots: Roots) -> Path:
        return roots.raw_dir / self.raw

    def require(self, roots: Roots) -> None:
        folder = self.raw_folder(roots).absolute()
        absent = [
            f'{kind}/{split}'
            for kind in ('leftImg8bit', 'gtFine')
            for split in COUNTS
            if not (folder / kind / split).is_dir()
        ]
        if absent:
            raise UserError(
                f'Cityscapes is not in {folder} (no {", ".join(absent)}). Register at '
                f'https://www.cityscapes-dataset.com (non-commercial use), download '
                f'leftImg8bit_trainvaltest.zip (11 GB) and gtFine_trainvaltest.zip (241 MB), and '
                f'unpack both with\n'
                f'  mkdir -p {folder}\n'
                f"  unzip -d {folder} '*_trainvaltest.zip'\n"
                f'or say with --raw_dir=FOLDER where the folder `{self.raw}` is. '
                f'--exp=fcn8s_shapes needs no data.'
            )

    def splits(self, roots: Roots) -> tuple[str, ...]:
        del roots
        return tuple(COUNTS)

    def pairs(self, split: str, roots: Roots) -> list[Pair]:
        pictures = self.raw_folder(roots) / 'leftImg8bit' / split
        pairs = [
            Pair(path.name.removesuffix(_PICTURE), path, self._mask(path, split, roots))
            for path in sorted(pictures.glob(f'[!.]*/[!.]*{_PICTURE}'))
        ]
        if not pairs:
            raise UserError(f'{pictures}: holds no CITY/*{_PICTURE}; unpack the archive again.')
        return pairs

    def _mask(self, picture: Path, split: str, roots: Roots) -> Path:
        folder = self.raw_folder(roots) / 'gtFine' / split / picture.parent.name
        stem = picture.name.removesuffix(_PICTURE)
        for suffix in _MASKS:
            if (folder / f'{stem}{suffix}').is_file():
                return folder / f'{stem}{suffix}'
        raise UserError(f'{picture}: its mask {folder / stem}{_MASKS[0]} is missing.')

    def read_label(self, pair: Pair, roots: Roots) -> np.ndarray:
        del roots
        mask = read_mask(pair.mask)
        if pair.mask.name.endswith(_MASKS[1]):
            check_ids(pair.mask, mask, len(CLASSES))
            return mask.astype(np.uint8)
        check_ids(pair.mask, mask, LAST_ID + 1)
        return _train_ids()[mask]

    def source(self, split: str, roots: Roots) -> Source:
        source = super().source(split, roots)
        note_incomplete(self.raw_folder(roots), split, len(source), COUNTS[split])
        return source
