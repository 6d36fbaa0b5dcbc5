"""ADE20K as in the scene parsing challenge of 2016: 150 classes, things and stuff.

Source: Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017, and the data and evaluation
of github.com/CSAILVision/sceneparsing. In the files 0 is "other objects", which is not evaluated,
and 1..150 are the classes; here these are IGNORE_LABEL and 0..149.
"""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np

from segjax.data.dataset import Info, Roots, Source, color_map
from segjax.data.datasets.voc import note_incomplete
from segjax.data.images import read_mask
from segjax.data.lists import read_lines
from segjax.data.pairs import Pair, PairedDataset, check_ids
from segjax.types import IGNORE_LABEL, UserError

NUM_CLASSES = 150
COUNTS = {'train': 20210, 'val': 2000}  # pictures of the complete splits
URL = 'http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip'

_FOLDERS = {'train': 'training', 'val': 'validation'}
_TREES = ('ADEChallengeData2016', '.', 'sampleData')
_NAME_FILES = {'objectInfo150.txt': '\t', 'objectInfo150.csv': ','}  # and what parts the columns


def _read_names(path: Path) -> tuple[str, ...]:
    """The first word for each class: of `wall` and `building, edifice`, wall and building.

    The list with semicolons also has them for blanks: two classes become `screen`. A word that
    comes twice gets the number of its class.
    """
    rows = csv.DictReader(read_lines(path), delimiter=_NAME_FILES[path.name])
    try:
        texts = {int(row['Idx']): row['Name'].replace(';', ',') for row in rows}
        words = {i: texts[i].split(',')[0].strip() for i in range(1, NUM_CLASSES + 1)}
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(
            f'{path}: is not the list of the {NUM_CLASSES} classes ({error!r}); copy it again.'
        ) from None
    once = [word for word, count in Counter(words.values()).items() if count == 1]
    return tuple(word if word in once else f'{word} {i}' for i, word in words.items())


@dataclasses.dataclass(frozen=True)
class Ade20k(PairedDataset):
    """The tree ADEChallengeData2016, or the three samples of the challenge's code.

    The tree has the folders images and annotations, each with training and validation. The samples
    (sampleData) have pictures directly in these folders, and only the split val.

    Attributes:
      raw: folder under --raw_dir; it holds the tree, or is it, and objectInfo150.txt or .csv.
    """

    raw: str = 'ade20k'

    def info(self, roots: Roots) -> Info:
        self.require(roots)
        # No class is black, which pictures show as background.
        return Info(_read_names(self.side_files(roots)[0]), color_map(NUM_CLASSES + 1)[1:])

    def raw_folder(self, roots: Roots) -> Path:
        return roots.raw_dir / self.raw

    def require(self, roots: Roots) -> None:
        folder = self.raw_folder(roots).absolute()
        absent = [] if self._tree(roots) else ['images/ with annotations/']
        absent += [] if self.side_files(roots) else ['objectInfo150.txt']
        if absent:
            raise UserError(
                f'ADE20K is not in {folder} (no {", no ".join(absent)}). Fetch it (1 GB; research '
                f'use, see groups.csail.mit.edu/vision/datasets/ADE20K/terms) with\n'
                f'  mkdir -p {folder} && cd {folder}\n'
                f'  curl -LO {URL} && unzip {URL.rpartition("/")[2]}\n'
                f'or say with --raw_dir=FOLDER where the folder `{self.raw}` is. '
                f'--exp=fcn8s_shapes needs no data.'
            )

    def _tree(self, roots: Roots) -> Path | None:
        trees = (self.raw_folder(roots) / name for name in _TREES)
        there = (t for t in trees if (t / 'images').is_dir() and (t / 'annotations').is_dir())
        return next(there, None)

    def side_files(self, roots: Roots) -> list[Path]:
        """The list of classes."""
        folders = (self.raw_folder(roots) / name for name in _TREES)
        files = (folder / name for folder in folders for name in _NAME_FILES)
        return [file for file in files if file.is_file()][:1]

    def _folder(self, split: str, roots: Roots) -> str:
        """Below images and annotations; nothing in a flat tree."""
        tree = self._tree(roots)
        flat = tree is not None and not (tree / 'images' / _FOLDERS['val']).is_dir()
        return '' if flat else _FOLDERS[split]

    def splits(self, roots: Roots) -> tuple[str, ...]:
        return ('train', 'val') if self._folder('val', roots) else ('val',)

    def pairs(self, split: str, roots: Roots) -> list[Pair]:
        tree, part = self._tree(roots), self._folder(split, roots)
        assert tree is not None  # require() was called
        images, masks = tree / 'images' / part, tree / 'annotations' / part
        pairs = [Pair(p.stem, p, masks / f'{p.stem}.png') for p in sorted(images.glob('[!.]*.jpg'))]
        if not pairs:
            raise UserError(f'{images}: holds no *.jpg; unpack the archive again.')
        if missing := [pair.mask.name for pair in pairs if not pair.mask.is_file()]:
            raise UserError(
                f'{masks}: {len(missing)} of {len(pairs)} masks are missing: '
                f'{", ".join(missing[:5])}{", ..." if len(missing) > 5 else ""}. Unpack the '
                f'archive again.'
            )
        return pairs

    def read_label(self, pair: Pair, roots: Roots) -> np.ndarray:
        del roots
        mask = read_mask(pair.mask)
        check_ids(pair.mask, mask, NUM_CLASSES + 1)  # as the files count
        void = (mask == 0) | (mask == IGNORE_LABEL)
        return np.where(void, IGNORE_LABEL, mask.astype(np.int32) - 1).astype(np.uint8)

    def source(self, split: str, roots: Roots) -> Source:
        source = super().source(split, roots)
        note_incomplete(self.raw_folder(roots), split, len(source), COUNTS[split])
        return source
