"""Pascal VOC 2012 segmentation, 21 classes, with SBD's further masks if there.

Sources: Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2010, and the
development kit of 2012; Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011
(SBD). The lists trainaug and seg11valid are those of DeepLab and of FCN.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from segjax.data.dataset import Info, Roots, Source, color_map
from segjax.data.images import read_mask
from segjax.data.lists import read_lines
from segjax.data.pairs import Pair, PairedDataset, check_ids
from segjax.types import UserError

CLASSES = (
    'background',
    'aeroplane',
    'bicycle',
    'bird',
    'boat',
    'bottle',
    'bus',
    'car',
    'cat',
    'chair',
    'cow',
    'diningtable',
    'dog',
    'horse',
    'motorbike',
    'person',
    'pottedplant',
    'sheep',
    'sofa',
    'train',
    'tvmonitor',
)

# Pictures of the complete splits.
COUNTS = {
    'train': 1464,
    'val': 1449,
    'trainval': 2913,
    'sbdtrain': 8498,
    'trainaug': 10582,
    'seg11valid': 736,
}

TAR = 'VOCtrainval_11-May-2012.tar'
# As in torchvision's prototype data sets
TAR_SHA256 = 'e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb'
TAR_URL = f'http://host.robots.ox.ac.uk/pascal/VOC/voc2012/{TAR}'
SBD_URL = 'https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz'

_LISTS = Path('ImageSets') / 'Segmentation'


def _read_list(path: Path) -> set[str]:
    """The picture names of a split file, one a line."""
    names = set(read_lines(path)) - {''}
    if not names:
        raise UserError(f'{path}: names no picture; copy it again.')
    return names


def _first(folders: list[Path], part: Path | str) -> Path | None:
    """The first folder that holds `part`."""
    return next((folder for folder in folders if (folder / part).exists()), None)


def _find(names: list[str], places: list[tuple[Path, str]]) -> dict[str, Path]:
    """The file of each name, in the first (folder, suffix) that has one."""
    found: dict[str, Path] = {}
    for folder, suffix in reversed(places):
        there = set(os.listdir(folder)) if folder.is_dir() else set()
        found |= {n: folder / f'{n}{suffix}' for n in names if f'{n}{suffix}' in there}
    return found


def _check_sha256(tar: Path) -> None:
    with tar.open('rb') as file:
        found = hashlib.file_digest(file, 'sha256').hexdigest()
    if found != TAR_SHA256:
        raise UserError(
            f'{tar}: its SHA-256 is {found}, not {TAR_SHA256}; the download is incomplete or '
            f'another file. Fetch it again from {TAR_URL}'
        )


def extract(tar: Path) -> None:
    """Unpacks the official tar beside itself, all or nothing: VOCdevkit/VOC2012.

    Members that would leave the folder, links out of it and devices are refused (tarfile's filter
    'data', PEP 706).

    Raises:
      UserError: another file than the official one, or one that cannot be unpacked.
    """
    print(f'Extracting {tar}', flush=True)
    _check_sha256(tar)
    draft = Path(tempfile.mkdtemp(prefix='.extracting-', dir=tar.parent))
    try:
        with tarfile.open(tar) as archive:
            archive.extractall(draft, filter='data')
        (draft / 'VOCdevkit').rename(tar.parent / 'VOCdevkit')
    except (tarfile.TarError, OSError) as error:
        raise UserError(f'{tar}: cannot be unpacked into {tar.parent}: {error}') from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def note_incomplete(folder: Path, split: str, there: int, complete: int) -> None:
    """Says so where a split is not the whole one; small trees are good for trying things out."""
    if there != complete:
        print(
            f'Note: the split {split} of {folder} holds {there} pictures, the complete one '
            f'{complete}: numbers are not comparable with published ones.',
            flush=True,
        )


def _read_sbd(path: Path) -> np.ndarray:
    """The class ids of SBD's cls/NAME.mat, `h w` uint8; SBD has no void."""
    import scipy.io

    try:
        return np.asarray(scipy.io.loadmat(path)['GTcls'][0, 0]['Segmentation'], np.uint8)
    except Exception as error:  # loadmat raises ValueError, TypeError, zlib.error, KeyError, ...
        raise UserError(
            f"{path}: is not one of SBD's cls/*.mat ({error}); copy it again."
        ) from error


@dataclasses.dataclass(frozen=True)
class Voc(PairedDataset):
    """The tree VOCdevkit/VOC2012 (or VOC2012) below `raw`, or the official tar there.

    Splits are train, val and trainval; with `sbd` also sbdtrain (SBD's train: FCN trains on it) and
    trainaug (VOC's train and all of SBD, less VOC's val; VOC's own mask where it has one); and
    seg11valid where its list lies beside the others (FCN evaluates on it), or where VOC2011's val
    list (`VOC2011` beside VOC2012) and SBD are there to compute it: VOC2011's val less SBD's train.
    Void, 255 in the masks, is ignored.

    Attributes:
      raw: folder under --raw_dir.
      sbd: folder under --raw_dir with SBD's cls, img, train.txt and val.txt, or with
        benchmark_RELEASE/dataset, which holds them; empty without SBD.
    """

    raw: str = 'voc2012'
    sbd: str = ''

    def info(self, roots: Roots) -> Info:
        return Info(CLASSES, color_map(len(CLASSES)))

    def raw_folder(self, roots: Roots) -> Path:
        return roots.raw_dir / self.raw

    def require(self, roots: Roots) -> None:
        folder = self.raw_folder(roots)
        if self._tree(roots) is None and (folder / TAR).is_file():
            extract(folder / TAR)
        if self._tree(roots) is None:
            raise UserError(
                f'Pascal VOC 2012 is not in {folder.absolute()} (no VOCdevkit/VOC2012/{_LISTS}). '
                f'Fetch it (2 GB; research use, pictures under the terms of Flickr) with\n'
                f'  mkdir -p {folder.absolute()}\n'
                f'  curl -L -o {folder.absolute() / TAR} {TAR_URL}\n'
                f'(the next start unpacks it), or say with --raw_dir=FOLDER where the folder '
                f'`{self.raw}` is. --exp=fcn8s_shapes needs no data.'
            )
        if self.sbd and self._sbd_tree(roots) is None:
            place = (roots.raw_dir / self.sbd).absolute()
            raise UserError(
                f'SBD is not in {place} (no cls/ with train.txt and val.txt). Fetch it (1.4 GB) '
                f'with\n'
                f'  mkdir -p {place}\n'
                f'  curl -L {SBD_URL} | tar -xz -C {place}\n'
                f'or leave it out with --sbd= and train on the split train.'
            )

    def _tree(self, roots: Roots) -> Path | None:
        folder = self.raw_folder(roots)
        return _first([folder / 'VOCdevkit' / 'VOC2012', folder / 'VOC2012', folder], _LISTS)

    def _sbd_tree(self, roots: Roots) -> Path | None:
        if not self.sbd:
            return None
        folder = roots.raw_dir / self.sbd
        candidates = [folder / 'benchmark_RELEASE' / 'dataset', folder / 'dataset', folder]
        return _first([f for f in candidates if (f / 'train.txt').is_file()], 'cls')

    def _list_files(self, roots: Roots) -> dict[str, Path]:
        """The split files there are: those of VOC, VOC2011's val as 'val11', and SBD's two."""
        tree, sbd = self._tree(roots), self._sbd_tree(roots)
        if tree is None:
            return {}
        names = ('train', 'val', 'trainval', 'seg11valid')
        files = {name: tree / _LISTS / f'{name}.txt' for name in names}
        files['val11'] = tree.parent / 'VOC2011' / _LISTS / 'val.txt'
        if sbd is not None:
            files |= {'sbdtrain': sbd / 'train.txt', 'sbdval': sbd / 'val.txt'}
        return {name: path for name, path in files.items() if path.is_file()}

    def splits(self, roots: Roots) -> tuple[str, ...]:
        files = set(self._list_files(roots))
        needs = {'train': {'train'}, 'val': {'val'}, 'trainval': {'trainval'}}
        needs |= {'sbdtrain': {'sbdtrain'}, 'trainaug': {'train', 'val', 'sbdtrain', 'sbdval'}}
        there = [split for split, lists in needs.items() if lists <= files]
        computed = {'val11', 'sbdtrain'} <= files
        return (*there, *(['seg11valid'] if 'seg11valid' in files or computed else []))

    def _names(self, split: str, roots: Roots) -> list[str]:
        files = self._list_files(roots)
        read = lambda *lists: set().union(*(_read_list(files[name]) for name in lists))
        if split == 'trainaug':
            names = read('train', 'sbdtrain', 'sbdval') - read('val')
        elif split == 'seg11valid' and split not in files:
            names = read('val11') - read('sbdtrain')
        else:
            names = read(split)
        return sorted(names)

    def pairs(self, split: str, roots: Roots) -> list[Pair]:
        tree, sbd = self._tree(roots), self._sbd_tree(roots)
        assert tree is not None  # require() was called
        masks, images = [(tree / 'SegmentationClass', '.png')], [(tree / 'JPEGImages', '.jpg')]
        if sbd is not None and split in ('sbdtrain', 'trainaug'):
            images.append((sbd / 'img', '.jpg'))
            masks.insert(0 if split == 'sbdtrain' else 1, (sbd / 'cls', '.mat'))
        names = self._names(split, roots)
        images, masks = _find(names, images), _find(names, masks)
        for what, found in (('picture', images), ('mask', masks)):
            if missing := [name for name in names if name not in found]:
                raise UserError(
                    f'{tree}: {len(missing)} of {len(names)} {what}s of the split {split} are '
                    f'missing: {", ".join(missing[:5])}{", ..." if len(missing) > 5 else ""}. '
                    f'Unpack the archive again.'
                )
        return [Pair(name, images[name], masks[name]) for name in names]

    def side_files(self, roots: Roots) -> list[Path]:
        return list(self._list_files(roots).values())

    def read_label(self, pair: Pair, roots: Roots) -> np.ndarray:
        del roots
        label = _read_sbd(pair.mask) if pair.mask.suffix == '.mat' else read_mask(pair.mask)
        check_ids(pair.mask, label, len(CLASSES))
        return label.astype(np.uint8)

    def source(self, split: str, roots: Roots) -> Source:
        source = super().source(split, roots)
        note_incomplete(self.raw_folder(roots), split, len(source), COUNTS[split])
        return source
