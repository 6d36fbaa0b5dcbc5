"""Two films of the Cell Tracking Challenge on which U-Net was evaluated.

Maska et al., "A benchmark for comparison of cell tracking algorithms", Bioinformatics 2014.
PhC-C2DH-U373: glioblastoma cells, phase contrast, 520x696. DIC-C2DH-HeLa: HeLa cells, differential
interference contrast, 512x512. Two films each; some frames have a segmentation (PhC-C2DH-U373: 34,
not every cell of each; DIC-C2DH-HeLa: 18). The labels of the challenge's own films are hidden.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from segjax.data.cells import CellDataset
from segjax.data.dataset import Roots
from segjax.data.images import read_mask
from segjax.data.pairs import Pair
from segjax.types import UserError

URL = 'http://data.celltrackingchallenge.net/training-datasets'
_FILMS = ('01', '02')
_PREFIX = 'man_seg'


@dataclasses.dataclass(frozen=True)
class CellTracking(CellDataset):
    """FILM_SET/01/t000.tif and FILM_SET/01_GT/SEG/man_seg000.tif, likewise 02.

    Frames of a film look alike, so a split is a film. A pixel without a number is background, also
    where a cell was left out.

    Attributes:
      raw: folder under --raw_dir.
      film_set: which two films.
      val_film: the film that is val; the other one is train's.
    """

    channels: int = 1
    raw: str = 'cell_tracking'
    film_set: Literal['PhC-C2DH-U373', 'DIC-C2DH-HeLa'] = 'PhC-C2DH-U373'
    val_film: Literal['01', '02'] = '02'

    def raw_folder(self, roots: Roots) -> Path:
        return roots.raw_dir / self.raw / self.film_set

    def _labels(self, film: str, roots: Roots) -> Path:
        return self.raw_folder(roots) / f'{film}_GT' / 'SEG'

    def require(self, roots: Roots) -> None:
        folder = self.raw_folder(roots).absolute()
        absent = [film for film in _FILMS if not self._labels(film, roots).is_dir()]
        if absent:
            raise self.complain_absent(
                f'{self.film_set} of the Cell Tracking Challenge is not in {folder} (no '
                f'{", ".join(f"{film}_GT/SEG" for film in absent)}). Fetch it (40 MB; free for '
                f'research, see celltrackingchallenge.net) with',
                folder.parent,
                f'\n  mkdir -p {folder.parent} && cd {folder.parent}\n'
                f'  curl -LO {URL}/{self.film_set}.zip && unzip {self.film_set}.zip\n',
            )

    def splits(self, roots: Roots) -> tuple[str, ...]:
        return ('train', 'val')

    def pairs(self, split: str, roots: Roots) -> list[Pair]:
        film = self.val_film if split == 'val' else _FILMS[self.val_film == '01']
        labels = sorted(self._labels(film, roots).glob(f'{_PREFIX}[0-9]*.tif'))
        if not labels:
            raise UserError(f'{self._labels(film, roots)}: holds no {_PREFIX}*.tif; unpack again.')
        pairs = []
        for mask in labels:
            frame = mask.stem.removeprefix(_PREFIX)
            image = self.raw_folder(roots) / film / f't{frame}.tif'
            if not image.is_file():
                raise UserError(f'{image} is missing; unpack the archive again.')
            pairs.append(Pair(f'{film}/{frame}', image, mask))
        return pairs

    def read_objects(self, pair: Pair, roots: Roots) -> np.ndarray:
        del roots
        return read_mask(pair.mask).astype(np.uint16)
