"""Oxford-IIIT Pet: cats and dogs of 37 breeds, each with a trimap.

Parkhi, Vedaldi, Zisserman, Jawahar, "Cats and Dogs", CVPR 2012. 7349 pictures of many sizes; the
lists trainval (3680) and test (3669) are the authors'.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

from segjax.data.dataset import Info, Roots
from segjax.data.images import read_mask
from segjax.data.lists import read_lines
from segjax.data.pairs import Pair, PairedDataset
from segjax.types import IGNORE_LABEL, UserError

URL = 'https://thor.robots.ox.ac.uk/pets'
ANIMAL, GROUND, BORDER = 1, 2, 3  # in the trimaps

_CLASSES = ('background', 'pet', 'border')
_PALETTE = ((0, 0, 0), (230, 57, 70), (255, 190, 11))


@dataclasses.dataclass(frozen=True)
class Pets(PairedDataset):
    """The folders images and annotations. Splits: train, val, trainval, test.

    val is the tenth of trainval whose names have the lowest hashes.

    Attributes:
      raw: folder under --raw_dir.
      border: what the trimap's third value, a band of unclear pixels around the animal, becomes:
        a part of the pet (as in segmentation_models' example), ignored, or a class of its own.
    """

    raw: str = 'pets'
    border: Literal['pet', 'ignored', 'class'] = 'pet'

    def info(self, roots: Roots) -> Info:
        number = 3 if self.border == 'class' else 2
        return Info(_CLASSES[:number], _PALETTE[:number])

    def raw_folder(self, roots: Roots) -> Path:
        return roots.raw_dir / self.raw

    def side_files(self, roots: Roots) -> list[Path]:
        annotations = self.raw_folder(roots) / 'annotations'
        return [annotations / 'trainval.txt', annotations / 'test.txt']

    def require(self, roots: Roots) -> None:
        folder = self.raw_folder(roots).absolute()
        if not (folder / 'images').is_dir() or not all(f.is_file() for f in self.side_files(roots)):
            raise UserError(
                f'Oxford-IIIT Pet is not in {folder} (images/, annotations/trainval.txt and '
                f'test.txt). Fetch it (800 MB; CC BY-SA 4.0) with\n'
                f'  mkdir -p {folder} && cd {folder}\n'
                f'  for f in images annotations; do curl -L {URL}/$f.tar.gz | tar -xz; done\n'
                f'or say with --raw_dir=FOLDER where the folder `{self.raw}` is. '
                f'--exp=unet_shapes needs no data.'
            )

    def splits(self, roots: Roots) -> tuple[str, ...]:
        return ('train', 'val', 'trainval', 'test')

    def _names(self, split: str, roots: Roots) -> list[str]:
        """Of the pictures; a line of a list is `Abyssinian_100 1 1 1`."""
        listed = self.side_files(roots)[split == 'test']
        lines = (line for line in read_lines(listed) if line and not line.startswith('#'))
        names = sorted(line.split()[0] for line in lines)
        if split in ('trainval', 'test'):
            return names
        by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        val = set(by_hash[: len(names) // 10])
        return [name for name in names if (name in val) == (split == 'val')]

    def pairs(self, split: str, roots: Roots) -> list[Pair]:
        folder = self.raw_folder(roots)
        images, masks = folder / 'images', folder / 'annotations' / 'trimaps'
        pairs = [
            Pair(n, images / f'{n}.jpg', masks / f'{n}.png') for n in self._names(split, roots)
        ]
        for path in (path for pair in pairs for path in pair[1:]):
            if not path.is_file():
                raise UserError(f'{path} is missing; unpack the archives again.')
        return pairs

    def read_label(self, pair: Pair, roots: Roots) -> np.ndarray:
        del roots
        trimap = read_mask(pair.mask)
        if trimap.min() < ANIMAL or trimap.max() > BORDER:
            raise UserError(f'{pair.mask}: holds other values than 1, 2 and 3; unpack it again.')
        border = {'pet': 1, 'ignored': IGNORE_LABEL, 'class': 2}[self.border]
        return np.array([0, 1, 0, border], np.uint8)[trimap]
