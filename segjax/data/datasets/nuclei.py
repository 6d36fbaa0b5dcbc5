"""Nuclei of the 2018 Data Science Bowl (BBBC038): microscopy of many kinds, a mask a nucleus.

Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl",
Nature Methods 2019. stage1_train has 670 pictures, most of them fluorescence; the rest are stained
tissue and bright-field. Many are tiles of one slide or frames of one film, so a random split tests
on near-duplicates of what was learned; here these stay together.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segjax.data.cells import CellDataset
from segjax.data.dataset import Roots
from segjax.data.images import read_image, read_mask
from segjax.data.pairs import Pair
from segjax.types import UserError

PARTS = ('fluorescence', 'stained', 'bright-field')
NEAR = 0.25  # two pictures within this in every number of _describe may be of one origin
_STAINED = 8  # mean difference of the largest and least of R, G, B, of 255


def modality(image: np.ndarray) -> str:
    """One of PARTS for a picture `h w 3` or `h w 1` uint8: by saturation, then by the ground."""
    values = image.astype(np.float32)
    if np.mean(values.max(2) - values.min(2)) > _STAINED:
        return 'stained'
    return 'bright-field' if np.median(values) > 127 else 'fluorescence'


class _Look(NamedTuple):
    """What pictures of one origin share."""

    part: str
    size: tuple[int, int]
    numbers: tuple[float, ...]


def _describe(image: np.ndarray) -> _Look:
    """Log brightness of the ground, the middle and the nuclei, sharpness, saturation."""
    values = image.astype(np.float32)
    gray = values.mean(2)
    gradient = sum(np.abs(np.diff(gray, axis=axis)).mean() for axis in (0, 1))
    brightness = np.log2(np.percentile(gray, (5, 50, 99)) + 4)
    sharpness = np.log2((gradient + 0.1) / (gray.std() + 1))
    saturation = np.mean(values.max(2) - values.min(2)) / 16
    numbers = (*brightness.tolist(), float(sharpness), float(saturation))
    return _Look(modality(image), gray.shape, numbers)


def _group(looks: list[_Look]) -> list[list[int]]:
    """Pictures of one modality and size that a chain of near ones links; in order of the first."""
    group = list(range(len(looks)))
    for i, look in enumerate(looks):
        for j in range(i):
            if look[:2] != looks[j][:2] or group[i] == group[j]:
                continue
            if np.abs(np.subtract(look.numbers, looks[j].numbers)).max() < NEAR:
                low, high = sorted((group[i], group[j]))
                group = [low if g == high else g for g in group]
    members = collections.defaultdict(list)
    for i, g in enumerate(group):
        members[g].append(i)
    return list(members.values())


def split_by_look(names: list[str], looks: list[_Look], share: float) -> set[str]:
    """The names that make val.

    In each modality, groups in the order of a hash of their first name go to val as long as no more
    than `share` of the modality's pictures do. A modality of a single group is all train's.
    """
    val: set[str] = set()
    groups = [[names[i] for i in members] for members in _group(looks)]
    part_of = dict(zip(names, (look.part for look in looks), strict=True))
    for part in PARTS:
        own = [g for g in groups if part_of[g[0]] == part]
        own.sort(key=lambda g: hashlib.sha256(g[0].encode()).digest())
        room = share * sum(map(len, own))
        for members in own:
            if len(members) <= room:
                room -= len(members)
                val.update(members)
    return val


@functools.lru_cache(maxsize=2)
def _looks(folder: Path, names: tuple[str, ...]) -> list[_Look]:
    return [_describe(read_image(_picture(folder / name))) for name in names]


@functools.lru_cache(maxsize=2)
def _val_names(folder: Path, names: tuple[str, ...], share: float) -> frozenset[str]:
    return frozenset(split_by_look(list(names), _looks(folder, names), share))


@functools.lru_cache(maxsize=2)
def _origins(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The first picture of the group of each."""
    groups = _group(_looks(folder, names))
    return {names[i]: names[members[0]] for members in groups for i in members}


def _picture(folder: Path) -> Path:
    return folder / 'images' / f'{folder.name}.png'


@dataclasses.dataclass(frozen=True)
class Nuclei(CellDataset):
    """Kaggle's folders stage1_train/ID/images/ID.png and stage1_train/ID/masks/*.png.

    Where masks of two nuclei overlap, the smaller one has the pixels.

    Attributes:
      raw: folder under --raw_dir.
      val_share: most pictures of a modality that go to val; which ones, split_by_look says.
    """

    raw: str = 'dsb2018'
    val_share: float = 0.25

    object_name = 'nucleus'

    def raw_folder(self, roots: Roots) -> Path:
        return roots.raw_dir / self.raw

    def require(self, roots: Roots) -> None:
        folder = self.raw_folder(roots).absolute()
        if not (folder / 'stage1_train').is_dir():
            raise self.complain_absent(
                f'The nuclei of the 2018 Data Science Bowl are not in {folder} (no stage1_train/). '
                f'Fetch them (80 MB; CC0) with',
                folder,
                f'\n  mkdir -p {folder} && cd {folder}\n'
                f'  curl -LO https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip && '
                f'unzip -d stage1_train stage1_train.zip\n',
            )

    def splits(self, roots: Roots) -> tuple[str, ...]:
        return ('train', 'val')

    def _folders(self, roots: Roots) -> list[Path]:
        found = sorted((self.raw_folder(roots) / 'stage1_train').glob('[!.]*/images'))
        if not found:
            raise UserError(
                f'{self.raw_folder(roots)}/stage1_train: no ID/images; unpack it again.'
            )
        return [path.parent for path in found]

    def raw_files(self, roots: Roots) -> list[Path]:
        folders = self._folders(roots)
        return [_picture(f) for f in folders] + [p for f in folders for p in f.glob('masks/*.png')]

    def pairs(self, split: str, roots: Roots) -> list[Pair]:
        folders = self._folders(roots)
        if len(folders) < 2 or not 0 < self.val_share < 1:
            raise UserError(f'--val_share={self.val_share} of {len(folders)} pictures is no split.')
        val = _val_names(folders[0].parent, tuple(f.name for f in folders), self.val_share)
        chosen = [f for f in folders if (f.name in val) == (split == 'val')]
        return [Pair(f.name, _picture(f), f / 'masks') for f in chosen]

    def read_objects(self, pair: Pair, roots: Roots) -> np.ndarray:
        """Numbered from the largest to the smallest."""
        del roots
        masks = [read_mask(path) > 0 for path in sorted(pair.mask.glob('[!.]*.png'))]
        if not masks:
            raise UserError(f'{pair.mask}: holds no mask; unpack the archive again.')
        if len({mask.shape for mask in masks}) > 1:
            raise UserError(f'{pair.mask}: the masks are of different sizes.')
        objects = np.zeros(masks[0].shape, np.uint16)
        for number, mask in enumerate(sorted(masks, key=np.sum, reverse=True), start=1):
            objects[mask] = number
        return objects

    @property
    def target_features(self) -> tuple[str, ...]:
        return (*super().target_features, 'look')

    def encode_target(
        self, pair: Pair, image: np.ndarray, roots: Roots
    ) -> tuple[np.ndarray, dict[str, bytes]]:
        label, features = super().encode_target(pair, image, roots)
        folders = self._folders(roots)
        origins = _origins(folders[0].parent, tuple(f.name for f in folders))
        return label, features | {'look': origins[pair.name].encode()}

    def part(self, image: np.ndarray) -> str:
        return modality(image)
