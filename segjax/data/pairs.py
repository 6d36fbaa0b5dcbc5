"""Data sets that are pairs of files: a picture, and a mask of class ids of the same size."""

from __future__ import annotations

import abc
import dataclasses
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from segjax.data import records
from segjax.data.bad_samples import BadSamples
from segjax.data.dataset import Dataset, Roots, Source, make_sample
from segjax.data.images import read_bytes, read_image, read_mask, stack_of
from segjax.types import IGNORE_LABEL, Batch, UserError

DOUBTFUL_VALUES = (
    'its values are exactly 0 and 255, which may mean background and foreground, or background and '
    'ignored. Say which: --mask_values=0,255 (255 is the foreground, class 1) or --mask_values=0 '
    '(255 is ignored).'
)


class Pair(NamedTuple):
    """A picture and its mask, as files or slices; `name` is what messages call the two."""

    name: str
    image: Path
    mask: Path


def check_sizes(pair: Pair, image: np.ndarray, mask: np.ndarray) -> None:
    """Raises UserError, naming both files, unless image and mask are of one size."""
    if image.shape[:2] != mask.shape[:2]:
        (h, w), (mask_h, mask_w) = image.shape[:2], mask.shape[:2]
        raise UserError(
            f'{pair.image} is {w}x{h} but its mask {pair.mask} is {mask_w}x{mask_h}; '
            f'a mask needs exactly the size of its picture.'
        )


def check_type(path: Path, image: np.ndarray, first: dict[str, Path], normalize: str) -> None:
    """Raises UserError for another dtype than the first picture's: one mean cannot serve both.

    Args:
      first: {dtype: path} of the first picture; empty before it, filled by it.
      normalize: 'zscore' serves every type.
    """
    kind = image.dtype.name
    if not first:
        first[kind] = path
    if kind not in first and normalize != 'zscore':
        ((first_kind, first_path),) = first.items()
        raise UserError(
            f'{path}: holds {kind} values, but {first_path} {first_kind}; save all pictures in one '
            f'type, or normalise each by itself with --normalize=zscore.'
        )


def check_ids(name: str | Path, label: np.ndarray, num_classes: int) -> None:
    """Raises UserError, listing ids and pixel counts, unless all are below K or IGNORE_LABEL."""
    wrong = label[(label >= num_classes) & (label != IGNORE_LABEL)]
    if wrong.size:
        ids, counts = np.unique(wrong, return_counts=True)
        listed = ', '.join(f'{i} ({n} pixels)' for i, n in zip(ids[:10], counts[:10], strict=True))
        raise UserError(
            f'{name}: ids outside 0..{num_classes - 1} and {IGNORE_LABEL} (ignored): {listed}'
            f'{", ..." if len(ids) > 10 else ""}. Mend the masks or the list of '
            f'classes; in a folder of your own --void_values={ids[0]} ignores a value.'
        )


def encode_png(ids: np.ndarray) -> bytes:
    """`h w` of uint8 or uint16 as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(ids).save(file, 'PNG', compress_level=3)
    return file.getvalue()


class PairSource(Source):
    """Samples decoded from prepared records."""

    def __init__(self, dataset: PairedDataset, prepared: records.Records):
        """`dataset` says how pixels are normalised and how many channels they have."""
        self.normalize = dataset.normalize
        self._dataset = dataset
        self._records = prepared
        self.bad = BadSamples(dataset.bad_limit, prepared.bad)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Batch:
        if index in self._records.bad:
            raise UserError(self._records.bad[index])
        features = self._records[index]
        name = features['name'].decode()
        image = read_image(features['image'], channels=self._dataset.channels, name=name)
        parts = self._dataset.decode_target(features, name)
        return make_sample(image, index=index, normalize=self.normalize, **parts)

    def name(self, index: int) -> str:
        return self._records[index]['name'].decode()

    def size(self, index: int) -> tuple[int, int]:
        return self._records.sizes[index]

    def group(self, index: int) -> str:
        return self._records[index].get('group', b'').decode()

    def look(self, index: int) -> str:
        if 'look' not in self._dataset.target_features:
            return ''  # without reading the record
        return self._records[index]['look'].decode()

    def annotations(self, index: int) -> list[dict[str, Any]]:
        known = self._dataset.decode_annotations(self._records[index])
        return super().annotations(index) if known is None else known


@dataclasses.dataclass(frozen=True)
class PairedDataset(Dataset):
    """Base of the data sets that are pairs of files; a subclass says which, and what ids mean."""

    @abc.abstractmethod
    def raw_folder(self, roots: Roots) -> Path:
        """Where the raw files are."""

    @abc.abstractmethod
    def require(self, roots: Roots) -> None:
        """Raises UserError with the remedy unless the raw files are there."""

    @abc.abstractmethod
    def pairs(self, split: str, roots: Roots) -> list[Pair]:
        """The files of a split, sorted by name."""

    @abc.abstractmethod
    def read_label(self, pair: Pair, roots: Roots) -> np.ndarray:
        """The mask as `h w` uint8 of 0..K-1 and IGNORE_LABEL; UserError when it is not that."""

    def read_picture(self, pair: Pair, roots: Roots) -> bytes:
        """The picture's file, or what stands for it where a file holds several."""
        del roots
        return read_bytes(pair.image)

    @property
    def target_features(self) -> tuple[str, ...]:
        """What the records hold beside name and image."""
        return ('label',)

    def encode_target(
        self, pair: Pair, image: np.ndarray, roots: Roots
    ) -> tuple[np.ndarray, dict[str, bytes]]:
        """The label `h w` uint8, and the target_features; called once, to write the record."""
        del image
        label = self.read_label(pair, roots)
        return label, {'label': encode_png(label.astype(np.uint8))}

    def decode_target(self, features: dict[str, bytes], name: str) -> dict[str, Any]:
        """The parts of a sample beside its image, as make_sample takes them."""
        return {'label': read_mask(features['label'], name=name)}

    def flaws(self, pair: Pair) -> list[str]:
        """The objects of a readable pair that are left out of training, and why."""
        del pair
        return []

    def decode_annotations(self, features: dict[str, bytes]) -> list[dict[str, Any]] | None:
        """The objects of a record as COCO writes them; None: as the sample has them."""
        del features
        return None

    def side_files(self, roots: Roots) -> list[Path]:
        """Further files that decide what the records hold."""
        del roots
        return []

    def raw_files(self, roots: Roots) -> list[Path]:
        """The files whose change means that the records are prepared again."""
        files = self.side_files(roots)
        for split in self.splits(roots):
            for pair in self.pairs(split, roots):
                files += [stack_of(pair.image), stack_of(pair.mask)]
        return files

    def doubtful(self, values: dict[Path, set[int]]) -> list[Path]:
        """Masks whose label values, seen beside those of all the others, are probably not ids."""
        del values
        return []

    def _examples(
        self, split: str, roots: Roots, values: dict[Path, set[int]], first: dict[str, Path]
    ) -> Iterator[records.Record]:
        """The records of a split; `values` and `first` are shared by all splits."""
        bad = BadSamples(self.bad_limit)
        for index, pair in enumerate(self.pairs(split, roots)):
            try:
                record, label = self._example(pair, roots, first)
                values[pair.mask] = set(np.unique(label).tolist())
            except UserError as error:  # better found now than in the midst of training
                bad.note(index, error)
                features = dict.fromkeys(('image', *self.target_features), b'')
                features['name'] = str(pair.image).encode()
                record = records.Record(size=(1, 1), features=features, error=str(error))
            yield record
        if doubtful := self.doubtful(values):
            raise UserError(f'{doubtful[0]}: {DOUBTFUL_VALUES}')

    def _example(
        self, pair: Pair, roots: Roots, first: dict[str, Path]
    ) -> tuple[records.Record, np.ndarray]:
        """The record of a pair, and its label; `first` is what check_type takes."""
        data = self.read_picture(pair, roots)
        image = read_image(data, name=str(pair.image))
        check_type(pair.image, image, first, self.normalize)
        label, features = self.encode_target(pair, image, roots)
        check_sizes(pair, image, label)
        features |= {'name': str(pair.image).encode(), 'image': data}
        height, width = label.shape
        return records.Record(size=(height, width), features=features), label

    def _prepare(self, target: Path, roots: Roots) -> None:
        splits = [s for s in self.splits(roots) if self.pairs(s, roots)]
        print(f'Preparing {self.raw_folder(roots)} ({", ".join(splits)}) in {target}', flush=True)
        values: dict[Path, set[int]] = {}
        first: dict[str, Path] = {}
        try:
            records.prepare(
                target,
                name=type(self).__name__.lower(),
                features=('name', 'image', *self.target_features),
                splits={split: self._examples(split, roots, values, first) for split in splits},
            )
        except OSError as error:
            raise UserError(
                f'{target}: records cannot be written ({error.strerror or error}); name another '
                f'place with --data_dir=FOLDER.'
            ) from error

    def _prepared(self, roots: Roots) -> Path:
        """The folder of the records of the raw files as they are now."""
        folder = self.raw_folder(roots).resolve()
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for field in dataclasses.fields(Dataset):  # these act after the records are read
            del fields[field.name]
        parent = roots.data_dir / type(self).__name__.lower()
        identity = records.digest(type(self).__name__, folder, fields, self.target_features)
        earlier = sorted(parent.glob(f'{identity}-*'), key=lambda f: f.stat().st_mtime)
        try:
            self.require(roots)
        except UserError:
            complete = [f for f in earlier if records.is_complete(f)]
            if not complete or folder.exists():
                raise
            return complete[-1]  # the raw files were removed after they had been prepared
        target = parent / f'{identity}-{records.fingerprint(self.raw_files(roots))}'
        if not records.is_complete(target):
            self._prepare(target, roots)
            for stale in earlier:
                if stale != target:
                    shutil.rmtree(stale, ignore_errors=True)
        return target

    def source(self, split: str, roots: Roots) -> Source:
        prepared = self._prepared(roots)
        try:
            source = PairSource(self, records.Records(prepared, split))
        except KeyError:
            raise UserError(
                f'{self.raw_folder(roots)}: there is no split {split!r}, only '
                f'{", ".join(self.splits(roots))}.'
            ) from None
        source.bad.check()
        return source
