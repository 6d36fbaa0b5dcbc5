"""One's own pictures and masks, in a folder.

    FOLDER/classes.txt               a class a line, line 0 the background: `name` or `name r g b`
    FOLDER/images/ FOLDER/masks/     picture and mask of one name (or NAME_mask), any suffix
    FOLDER/splits/train.txt val.txt  names, a line each; without them 80/20 by hash

or one pair of folders a split: FOLDER/train/images FOLDER/train/masks FOLDER/val/images ..., or
FOLDER/images/train FOLDER/masks/train .... Masks may also lie beside their pictures, as NAME_mask.
A TIFF of several pages, with a mask of as many, is as many pictures: NAME/00, NAME/01, ....
A last line `void r g b` of classes.txt gives colours to ignore in RGB masks.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segjax.data.dataset import Info, Roots, color_map
from segjax.data.images import count_pages, list_slices, read_mask, stack_of
from segjax.data.lists import read_lines
from segjax.data.pairs import Pair, PairedDataset, check_ids
from segjax.types import IGNORE_LABEL, UserError

_SUFFIXES = {'.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp', '.webp', '.gif', '.ppm', '.pgm'}
_MASK_ENDINGS = ('_mask', '_segmentation')  # the second is ISIC's
_SPLITS = ('train', 'val', 'test')
_LAYOUT = (
    'The layout: images/ and masks/ with files of one name (or NAME_mask), and classes.txt with a '
    'class a line, line 0 the background; see segjax/data/README.md.'
)


class _Classes(NamedTuple):
    info: Info
    coloured: bool  # whether every class has its colour in the file
    void: tuple[tuple[int, int, int], ...]


def _parse_line(path: Path, number: int, line: str) -> tuple[str, tuple[int, int, int] | None]:
    words = line.replace(',', ' ').split()
    if len(words) < 4 or not all(w.isdigit() for w in words[-3:]):
        return ' '.join(words), None
    r, g, b = map(int, words[-3:])
    if max(r, g, b) > 255:
        raise UserError(f'{path}, line {number}: colours go from 0 to 255: {line!r}.')
    return ' '.join(words[:-3]), (r, g, b)


def _read_classes(path: Path) -> _Classes:
    if not path.is_file():
        raise UserError(
            f'{path} is missing. Write it with one class a line: line 0 is the background (mask '
            f'value 0), then each class in the order of its id, as `name` or `name r g b`.'
        )
    lines = read_lines(path)
    parsed = [_parse_line(path, i, line) for i, line in enumerate(lines) if line]
    void = tuple(color for name, color in parsed if name == 'void' and color)
    classes = [(name, color) for name, color in parsed if not (name == 'void' and color)]
    names = tuple(name for name, _ in classes)
    if len(names) < 2:
        raise UserError(
            f'{path}: lists {len(names)} classes; a background and one more are needed.'
        )
    if len(names) > IGNORE_LABEL:
        raise UserError(f'{path}: lists {len(names)} classes; at most {IGNORE_LABEL} fit.')
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f'{path}: names twice: {", ".join(sorted(repeated))}.')
    colors = [color for _, color in classes if color]
    if colors and len(colors) < len(names):
        raise UserError(
            f'{path}: gives colours to some classes; give `name r g b` for all, or none.'
        )
    if len(set(colors + list(void))) < len(colors) + len(void):
        raise UserError(f'{path}: gives one colour to two classes.')
    palette = tuple(colors) or color_map(len(names))
    return _Classes(Info(names, palette), coloured=bool(colors), void=void)


def _list_pictures(folder: Path) -> dict[str, Path]:
    """{name without suffix: file}, subfolders included in the name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob('*')):
        if path.suffix.lower() not in _SUFFIXES or path.name.startswith('.'):
            continue
        name = path.relative_to(folder).with_suffix('').as_posix()
        if name in found:
            raise UserError(
                f'{found[name]} and {path} have one name; remove or rename one of them.'
            )
        found[name] = path
    return found


def _slices(pair: Pair) -> list[Pair]:
    """The slices of a stack and of its mask; a pair of plain pictures as it is."""
    images, masks = list_slices(pair.image), list_slices(pair.mask)
    if len(images) != len(masks):
        counts = [count_pages(path) for path in (pair.image, pair.mask)]  # names what is broken
        raise UserError(
            f'{pair.image} holds {counts[0]} pictures, its mask {pair.mask} {counts[1]}; slices '
            f'need as many pages in both TIFFs, all of one size and type, and no channels.'
        )
    if len(images) == 1:
        return [pair]
    return [
        Pair(f'{pair.name}/{image.name}', image, mask)
        for image, mask in zip(images, masks, strict=True)
    ]


def _match(images: Path, masks: Path) -> list[Pair]:
    """Pairs sorted by name."""
    pictures = _list_pictures(images)
    candidates = _list_pictures(masks) if masks.is_dir() else pictures
    if not masks.is_dir():
        pictures = {n: p for n, p in pictures.items() if not n.endswith(_MASK_ENDINGS)}
    pairs, missing = [], []
    for name, image in pictures.items():
        endings = (candidates.get(name + ending) for ending in _MASK_ENDINGS)
        mask = next((path for path in endings if path), None)
        if mask is None and masks.is_dir():
            mask = candidates.get(name)
        if mask is None:
            missing.append(name)
        else:
            pairs.append(Pair(name, image, mask))
    if not pairs:
        raise UserError(f'{images} and {masks}: no picture has a mask of its name. {_LAYOUT}')
    if missing:
        raise UserError(
            f'{images}: {len(missing)} of {len(pictures)} pictures have no mask in {masks}: '
            f'{", ".join(missing[:5])}{", ..." if len(missing) > 5 else ""}. Add the masks, or '
            f'take the pictures out.'
        )
    return [part for pair in pairs for part in _slices(pair)]


def _hash_unit(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], 'big') / 2**56


def _whole_name(pair: Pair) -> str:
    """The name of the stack that a slice is of; a plain picture's own."""
    is_slice = stack_of(pair.image) != pair.image
    return pair.name.rpartition('/')[0] if is_slice else pair.name


def _read_names(path: Path, known: dict[str, Pair]) -> list[Pair]:
    """The pairs that a split file names, with or without suffix; a stack means its slices."""
    stacks = collections.defaultdict(list)
    for name, pair in known.items():
        stacks[_whole_name(pair)].append(name)
    lines = [line for line in read_lines(path) if line]
    lines = [line if line in known else re.sub(r'\.[^./]*$', '', line) for line in lines]
    if unknown := [line for line in lines if line not in known and line not in stacks]:
        raise UserError(f'{path}: names pictures that are not there: {", ".join(unknown[:5])}.')
    names = {name for line in lines for name in ([line] if line in known else stacks[line])}
    return [known[name] for name in sorted(names)]


def _split_by_hash(pairs: list[Pair], groups: list[str], val_share: float) -> dict[str, list[Pair]]:
    """{'train', 'val'}: a group is in val if its hash is below val_share, so that pictures added
    later move none of those already there. The lowest hash makes an otherwise empty val, the
    highest an otherwise empty train."""
    hashes = {group: _hash_unit(group) for group in groups}
    if len(hashes) < 2:
        raise UserError(
            f'{pairs[0].image.parent}: {len(pairs)} pictures in {len(hashes)} group cannot be '
            f'split into train and val; add pictures, mend --group, or write splits/train.txt '
            f'and splits/val.txt.'
        )
    in_val = {group for group, value in hashes.items() if value < val_share}
    in_val = in_val or {min(hashes, key=hashes.__getitem__)}
    if len(in_val) == len(hashes):
        in_val.remove(max(hashes, key=hashes.__getitem__))
    splits: dict[str, list[Pair]] = {'train': [], 'val': []}
    for pair, group in zip(pairs, groups, strict=True):
        splits['val' if group in in_val else 'train'].append(pair)
    return splits


def _map_values(path: Path, mask: np.ndarray, mask_values: tuple[int, ...]) -> np.ndarray:
    """Value mask_values[i] becomes i; 255, unless listed, is ignored; any other is refused."""
    label = np.full(mask.shape, -1, np.int32)
    label[mask == IGNORE_LABEL] = IGNORE_LABEL
    for i, value in enumerate(mask_values):
        label[mask == value] = i
    if (label < 0).any():
        values = ', '.join(map(str, np.unique(mask[label < 0])[:10].tolist()))
        raise UserError(
            f'{path}: values that --mask_values={",".join(map(str, mask_values))} does not name: '
            f'{values}. The value at place i of that list becomes class i.'
        )
    return label


@dataclasses.dataclass(frozen=True)
class Folder(PairedDataset):
    """Pictures and masks of the user's own; the module's docstring gives the layout.

    Attributes:
      folder: where they are; `~` is the home directory.
      mask_values: the value of class i in the masks' files, at place i; 255, unless listed, is
        ignored. Empty: the values are the ids.
      void_values: other values of the masks' files that are ignored, as 255 is.
      group: regular expression found in a picture's name; pictures for which it finds one text (its
        first parenthesis, if any), such as those of one patient, stay in one split and in one fold.
      val_share: part of the groups that makes the split val, where no files or folders say.
    """

    folder: str = ''
    mask_values: tuple[int, ...] = ()
    void_values: tuple[int, ...] = ()
    group: str = ''
    val_share: float = 0.2

    @property
    def folders(self) -> tuple[str, str]:
        """Of pictures and masks, where no split has its own."""
        return 'images', 'masks'

    def raw_folder(self, roots: Roots) -> Path:
        del roots
        return Path(self.folder).expanduser()

    def require(self, roots: Roots) -> None:
        folder = self.raw_folder(roots)
        if not self.folder:
            raise UserError(
                f'Which folder? Give --folder=FOLDER. {_LAYOUT} --exp=fcn8s_shapes needs no data.'
            )
        if not folder.is_dir():
            raise UserError(f'{folder.absolute()} is not a folder; mend --folder. {_LAYOUT}')
        if not self._split_folders(roots) and not (folder / self.folders[0]).is_dir():
            raise UserError(
                f'{folder.absolute()} has neither {self.folders[0]}/ nor train/images/. {_LAYOUT}'
            )

    def _classes_file(self, roots: Roots) -> Path:
        return self.raw_folder(roots) / 'classes.txt'

    def side_files(self, roots: Roots) -> list[Path]:
        return [self._classes_file(roots)]

    def info(self, roots: Roots) -> Info:
        self.require(roots)
        return _read_classes(self._classes_file(roots)).info

    def _split_folders(self, roots: Roots) -> dict[str, tuple[Path, Path]]:
        """{split: (images, masks)} when each split has its own folders."""
        folder = self.raw_folder(roots)
        for images, masks in (('{}/images', '{}/masks'), ('images/{}', 'masks/{}')):
            paths = {s: (folder / images.format(s), folder / masks.format(s)) for s in _SPLITS}
            paths = {split: two for split, two in paths.items() if two[0].is_dir()}
            if 'train' in paths:
                if 'val' not in paths:
                    raise UserError(f'{folder}: has {paths["train"][0]}, but nothing such for val.')
                return paths
        return {}

    def _group(self, pair: Pair) -> str:
        name = pair.name
        if not self.group:
            return _whole_name(pair)
        try:
            found = re.search(self.group, name)
        except re.error as error:
            raise UserError(f'--group={self.group} is no regular expression: {error}.') from None
        if not found:
            raise UserError(f'--group={self.group} finds nothing in the picture name {name!r}.')
        return found.group(1 if found.re.groups else 0)

    def _all_pairs(self, roots: Roots) -> dict[str, list[Pair]]:
        """{split: pairs}."""
        self.require(roots)
        if folders := self._split_folders(roots):
            return {split: _match(*two) for split, two in folders.items()}
        folder = self.raw_folder(roots)
        images, masks = self.folders
        pairs = _match(folder / images, folder / masks)
        if not (folder / 'splits').is_dir():
            return _split_by_hash(pairs, [self._group(pair) for pair in pairs], self.val_share)
        known = {pair.name: pair for pair in pairs}
        files = {split: folder / 'splits' / f'{split}.txt' for split in _SPLITS}
        for split in ('train', 'val'):
            if not files[split].is_file():
                raise UserError(
                    f'{files[split]} is missing; write it, or remove the folder splits.'
                )
        return {split: _read_names(f, known) for split, f in files.items() if f.is_file()}

    def splits(self, roots: Roots) -> tuple[str, ...]:
        return tuple(self._all_pairs(roots))

    def pairs(self, split: str, roots: Roots) -> list[Pair]:
        pairs = self._all_pairs(roots)[split]
        if not pairs:
            raise UserError(f'{self.raw_folder(roots)}: the split {split} is empty.')
        return pairs

    @property
    def target_features(self) -> tuple[str, ...]:
        return (*super().target_features, *(('look',) if self.group else ()))

    def encode_target(
        self, pair: Pair, image: np.ndarray, roots: Roots
    ) -> tuple[np.ndarray, dict[str, bytes]]:
        label, features = super().encode_target(pair, image, roots)
        if self.group:
            features['look'] = self._group(pair).encode()
        return label, features

    def read_label(self, pair: Pair, roots: Roots) -> np.ndarray:
        classes = _read_classes(self._classes_file(roots))
        coloured = classes.coloured and not self.mask_values
        palette = classes.info.palette if coloured else ()
        mask = read_mask(pair.mask, palette=palette, void=classes.void if coloured else ())
        if self.void_values:
            mask = np.where(np.isin(mask, self.void_values), IGNORE_LABEL, mask)
        if self.mask_values:
            mask = _map_values(pair.mask, mask, self.mask_values)
        check_ids(pair.mask, mask, len(classes.info.class_names))
        return mask.astype(np.uint8)

    def doubtful(self, values: dict[Path, set[int]]) -> list[Path]:
        """Masks of exactly {0, 255}, unless 255 stands beside a class somewhere, so means void."""
        void_is_used = any(IGNORE_LABEL in v and v - {0, IGNORE_LABEL} for v in values.values())
        if self.mask_values or void_is_used:
            return []
        return [path for path, v in values.items() if v == {0, IGNORE_LABEL}]
