"""ISBI 2012: neuronal membranes in slices of a fruit fly's nerve cord, 512x512.

Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for
connectomics", Frontiers in Neuroanatomy 2015: 30 consecutive serial-section TEM slices with 4x4x50
nm pixels. The challenge's test labels were never published; scores on slices held out here do not
compare with its table.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from segjax.data.cells import CellDataset, number_objects
from segjax.data.dataset import Roots
from segjax.data.images import count_pages, read_mask
from segjax.data.pairs import Pair
from segjax.types import UserError

STACKS = ('train-volume.tif', 'train-labels.tif')


@dataclasses.dataclass(frozen=True)
class Isbi2012(CellDataset):
    """The stacks train-volume.tif and train-labels.tif, or a PNG a slice.

    The PNGs are train/image/N.png and train/label/N.png, N = 0, 1, .... In the labels 0 is
    membrane (class 0), anything else cell (class 1); a cell is one 4-connected part, as in the
    challenge's metrics. Neighbouring slices look alike, so the split is by blocks of slices.

    Attributes:
      raw: folder under --raw_dir.
      val_slices: the first slice of val and the first after it; the others are train's.
    """

    channels: int = 1
    raw: str = 'isbi2012'
    val_slices: tuple[int, int] = (18, 24)

    background_name = 'membrane'

    def raw_folder(self, roots: Roots) -> Path:
        return roots.raw_dir / self.raw

    def _stacks(self, roots: Roots) -> tuple[Path, Path] | None:
        image, label = (self.raw_folder(roots) / name for name in STACKS)
        return (image, label) if image.is_file() and label.is_file() else None

    def require(self, roots: Roots) -> None:
        folder = self.raw_folder(roots).absolute()
        if self._stacks(roots) is None and not (folder / 'train' / 'label').is_dir():
            raise self.complain_absent(
                f'ISBI 2012 is not in {folder} (neither {" and ".join(STACKS)} nor train/image '
                f'with train/label). The challenge (imagej.net/events/isbi-2012-segmentation-'
                f'challenge; free for research) gave out the stacks; as PNGs there are in',
                folder,
                f'\n  git clone --depth=1 https://github.com/zhixuhao/unet\n'
                f'  mkdir -p {folder}/train && cp -r unet/data/membrane/train/image '
                f'unet/data/membrane/train/label {folder}/train\n',
            )

    def splits(self, roots: Roots) -> tuple[str, ...]:
        return ('train', 'val')

    def _slices(self, roots: Roots) -> list[Pair]:
        """In a stack a file of a slice is named as if it lay in it: train-volume.tif/7."""
        if stacks := self._stacks(roots):
            counts = [count_pages(path) for path in stacks]
            if counts[0] != counts[1]:
                raise UserError(
                    f'{stacks[0]} has {counts[0]} slices, {stacks[1]} {counts[1]}; copy both again.'
                )
            return [Pair(str(i), stacks[0] / str(i), stacks[1] / str(i)) for i in range(counts[0])]
        images = self.raw_folder(roots) / 'train' / 'image'
        files = sorted(images.glob('[0-9]*.png'), key=lambda path: (len(path.stem), path.stem))
        pairs = [Pair(p.stem, p, images.parent / 'label' / p.name) for p in files]
        if missing := [pair.mask for pair in pairs if not pair.mask.is_file()]:
            raise UserError(f'{missing[0]} is missing; copy the labels again.')
        return pairs

    def pairs(self, split: str, roots: Roots) -> list[Pair]:
        slices = self._slices(roots)
        first, stop = self.val_slices
        if not 0 <= first < stop <= len(slices) or stop - first == len(slices):
            raise UserError(
                f'--val_slices={first},{stop}: {self.raw_folder(roots)} has the slices 0 to '
                f'{len(slices) - 1}, of which some are val and some train; the second number is '
                f'the first slice after val.'
            )
        return slices[first:stop] if split == 'val' else slices[:first] + slices[stop:]

    def raw_files(self, roots: Roots) -> list[Path]:
        return list(self._stacks(roots) or super().raw_files(roots))

    def read_objects(self, pair: Pair, roots: Roots) -> np.ndarray:
        del roots
        return number_objects(read_mask(pair.mask) > 0)
