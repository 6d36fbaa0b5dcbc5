"""Objects with masks, as COCO's annotation files describe them: COCO 2017, or one's own pictures.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014. Category ids have gaps; the
classes of a network are numbered from 1 in their order (`numbering='dense'`), or are the ids
themselves ('ids'), as torchvision's published detectors have them. Boxes to be learned are those of
the masks' pixels; evaluation takes the annotated boxes and areas.

One's own folder, one annotation file a split, or one file that is split 80/20 by hash, as is that
of train where val has none:

    FOLDER/train.json  FOLDER/val.json     or annotations/instances_train*.json, or
    FOLDER/images/                         train/_annotations.coco.json beside the pictures
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segjax.data.coco_json import Annotation, CocoFile, Picture, read_coco_file
from segjax.data.dataset import Info, Roots, Source, color_map, evenly_spaced
from segjax.data.datasets.voc import note_incomplete
from segjax.data.pairs import Pair, PairedDataset
from segjax.data.segmentations import draw_segmentation
from segjax.types import IGNORE_LABEL, Instances, UserError

NUM_VAL = 5000  # pictures of val2017
MAX_CLASSES = IGNORE_LABEL

_SPLITS = ('train', 'val')
_IMAGES = ('{split}2017', 'images/{split}', '{split}/images', '{split}', 'images', '.')
_ANNOTATIONS = (
    *('annotations/instances_{split}2017.json', 'annotations/instances_{split}.json'),
    *('annotations/{split}.json', '{split}/_annotations.coco.json', '{split}.json'),
)
_SINGLE = ('annotations.json', 'instances.json', '_annotations.coco.json', 'result.json')
_LAYOUT = (
    'The layout: train.json and val.json in the form of COCO (or one annotations.json), and the '
    'pictures in images/; see segjax/data/README.md.'
)


def flaw(annotation: Annotation, size: tuple[int, int], mask: np.ndarray | None) -> str:
    """What makes an object unfit to be learned; '' for nothing.

    Args:
      size: height and width of the picture.
      mask: its pixels, `h w`, or None where they are not known yet.
    """
    if 'bbox' in annotation:
        x, y, w, h = box = annotation['bbox']
        if not np.isfinite(box).all():
            return f'its box {x:g}, {y:g}, {w:g}, {h:g} is not finite'
        if not min(w, h) > 0:
            return f'its box is {w:g} wide and {h:g} high'
        if x >= size[1] or y >= size[0] or x + w <= 0 or y + h <= 0:
            return f'its box {x:g}, {y:g}, {w:g}, {h:g} lies outside the picture'
    return 'it covers no pixel' if mask is not None and not mask.any() else ''


def draw_object(annotation: Annotation, size: tuple[int, int], *, name: str) -> np.ndarray:
    """The pixels of an object, `h w` bool; those of its box where it has no outline.

    Raises:
      UserError: the outline is broken, or there is neither outline nor box.
    """
    described = f'{name}, object {annotation.get("id")}'
    if annotation.get('segmentation'):
        return draw_segmentation(annotation['segmentation'], size, name=described)
    if 'bbox' not in annotation or not np.isfinite(annotation['bbox']).all():
        raise UserError(f'{described}: has neither an outline nor a box.')
    x, y, w, h = annotation['bbox']
    left, top = max(round(x), 0), max(round(y), 0)
    mask = np.zeros(size, bool)
    mask[top : max(round(y + h), top), left : max(round(x + w), left)] = True
    return mask


def _encode(mask: np.ndarray) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    runs: Any = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {'size': list(mask.shape), 'counts': runs['counts'].decode()}


def _tight_box(mask: np.ndarray) -> list[float]:
    """x, y, width and height of the pixels of a mask that has some."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return [float(left), float(top), float(right - left), float(bottom - top)]


def encode_objects(picture: Picture, classes: dict[int, int], *, name: str) -> bytes:
    """The objects of a picture as JSON: annotations whose `category_id` is the class.

    Masks are run lengths. Objects that cannot be learned are marked by `flaw`.

    Args:
      classes: {category id: class}.
    """
    objects = []
    for annotation in picture.objects:
        mask = draw_object(annotation, picture.size, name=name)
        found = {
            'category_id': classes[annotation['category_id']],
            'bbox': annotation.get('bbox') or (_tight_box(mask) if mask.any() else [0.0] * 4),
            'area': annotation.get('area', float(mask.sum())),
            'iscrowd': int(bool(annotation.get('iscrowd', 0))),
            'segmentation': _encode(mask),
        }
        if said := flaw(annotation, picture.size, mask):
            found['flaw'] = said
        objects.append(found)
    return json.dumps(objects).encode()


def decode_objects(objects: list[Annotation]) -> Instances:
    """What can be learned of them: boxes and cropped masks of their pixels."""
    from pycocotools import mask as coco_mask

    boxes, masks, kept = [], [], [o for o in objects if 'flaw' not in o]
    for o in kept:
        runs: Any = dict(o['segmentation'])
        pixels: Any = coco_mask.decode(runs)
        x, y, w, h = map(int, _tight_box(pixels))
        boxes.append((x, y, x + w, y + h))
        masks.append(np.ascontiguousarray(pixels[y : y + h, x : x + w]))
    return Instances(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        classes=np.array([o['category_id'] for o in kept], np.int32),
        masks=tuple(masks),
        crowd=np.array([o['iscrowd'] for o in kept], bool),
        valid=np.ones(len(kept), bool),
    )


@dataclasses.dataclass(frozen=True)
class CocoInstances(PairedDataset):
    """The folders annotations, train2017 and val2017 of COCO.

    Attributes:
      raw: folder under --raw_dir.
      numbering: 'dense' numbers the classes from 1 without gaps; 'ids' takes the category ids, 91
        classes with the background, some of them nothing.
      keep_empty: train on pictures without objects, too; published recipes leave them out.
      num_train: train on so many pictures, evenly spaced over the split; 0 for all. With
        --eval.split=train the same are evaluated: can the network learn a handful by heart?
    """

    raw: str = 'coco2017'
    numbering: Literal['dense', 'ids'] = 'dense'
    keep_empty: bool = True
    num_train: int = 0

    def __post_init__(self):
        super().__post_init__()
        if self.num_train < 0:
            raise UserError(f'--num_train={self.num_train}: a number of pictures, or 0 for all.')

    def raw_folder(self, roots: Roots) -> Path:
        return roots.raw_dir / self.raw

    def annotation_files(self, roots: Roots) -> dict[str, Path]:
        """The annotation file of each split."""
        folder = self.raw_folder(roots) / 'annotations'
        return {split: folder / f'instances_{split}2017.json' for split in _SPLITS}

    def images(self, split: str, roots: Roots) -> Path:
        """The folder to which the names of a split's pictures belong."""
        return self.raw_folder(roots) / f'{split}2017'

    def require(self, roots: Roots) -> None:
        folder = self.raw_folder(roots).absolute()
        absent = [p for p in self.side_files(roots) if not p.is_file()]
        absent += [p for s in _SPLITS if not (p := self.images(s, roots)).is_dir()]
        if absent:
            names = ', '.join(p.absolute().relative_to(folder).as_posix() for p in absent)
            raise UserError(
                f'COCO 2017 is not in {folder} (no {names}). Fetch it (19 GB; annotations CC BY '
                f'4.0, pictures under the terms of Flickr) with\n'
                f'  mkdir -p {folder} && cd {folder}\n'
                f'  for f in zips/train2017 zips/val2017 annotations/annotations_trainval2017; do\n'
                f'    curl -LO http://images.cocodataset.org/$f.zip && unzip ${{f#*/}}.zip\n'
                f'  done\n'
                f'or say with --raw_dir=FOLDER where the folder `{self.raw}` is. '
                f'--exp=maskrcnn_shapes needs no data.'
            )

    def splits(self, roots: Roots) -> tuple[str, ...]:
        return tuple(self.annotation_files(roots))

    def side_files(self, roots: Roots) -> list[Path]:
        return list(dict.fromkeys(self.annotation_files(roots).values()))

    def raw_files(self, roots: Roots) -> list[Path]:
        """Only the annotation files: reading which pictures there are takes half a minute."""
        return self.side_files(roots)

    def _categories(self, roots: Roots) -> dict[int, str]:
        """Names by id, of all splits together."""
        found: dict[int, str] = {}
        for path in self.side_files(roots):
            found |= read_coco_file(path).categories
        if not found:
            raise UserError(f'{self.side_files(roots)[0]}: names no categories.')
        if len(found) >= MAX_CLASSES or (max(found) >= MAX_CLASSES and self.numbering == 'ids'):
            raise UserError(f'{self.raw_folder(roots)}: more than {MAX_CLASSES - 1} categories.')
        return dict(sorted(found.items()))

    def classes(self, roots: Roots) -> dict[int, int]:
        """The class of each category id."""
        ids = self._categories(roots)
        if self.numbering == 'ids' and 0 not in ids:
            return {i: i for i in ids}
        return {i: number for number, i in enumerate(ids, start=1)}

    def info(self, roots: Roots) -> Info:
        self.require(roots)
        categories, classes = self._categories(roots), self.classes(roots)
        names = ['background', *(f'nothing {i}' for i in range(1, max(classes.values()) + 1))]
        for number, name in categories.items():
            names[classes[number]] = name
        return Info(tuple(names), color_map(len(names)))

    def _pictures(self, split: str, roots: Roots) -> tuple[Path, CocoFile]:
        path = self.annotation_files(roots)[split]
        return path, read_coco_file(path)

    def pairs(self, split: str, roots: Roots) -> list[Pair]:
        pairs = self._all_pairs(split, roots)
        if split != 'train' or not self.num_train:
            return pairs
        return [pairs[i] for i in evenly_spaced(len(pairs), self.num_train)]

    def _all_pairs(self, split: str, roots: Roots) -> list[Pair]:
        path, content = self._pictures(split, roots)
        images = self.images(split, roots)
        there = {p.name for p in images.iterdir()}
        pairs, missing = [], []
        for name, picture in content.pictures.items():
            if split == 'train' and not self.keep_empty and not picture.objects:
                continue
            file = images / picture.file_name
            if file.name not in there and not file.is_file():
                missing.append(picture.file_name)
            pairs.append(Pair(name, file, path / name))
        if missing:
            raise UserError(
                f'{images}: {len(missing)} of {len(pairs)} pictures are missing: '
                f'{", ".join(missing[:5])}{", ..." if len(missing) > 5 else ""}; {path} names them.'
            )
        return sorted(pairs, key=lambda pair: pair.image)

    def picture(self, pair: Pair) -> Picture:
        """A picture as annotated; `pair.mask` is the file and, as if in a folder, its id."""
        return read_coco_file(pair.mask.parent).pictures[pair.mask.name]

    def read_label(self, pair: Pair, roots: Roots) -> np.ndarray:
        """The classes of the objects' pixels, later ones above; crowds are ignored."""
        picture, classes = self.picture(pair), self.classes(roots)
        label = np.zeros(picture.size, np.uint8)
        for o in picture.objects:
            pixels = draw_object(o, picture.size, name=str(pair.mask))
            label[pixels] = IGNORE_LABEL if o.get('iscrowd') else self._class(o, classes, pair)
        return label

    def flaws(self, pair: Pair) -> list[str]:
        picture, said = self.picture(pair), []
        for o in picture.objects:
            mask = draw_object(o, picture.size, name=str(pair.mask))
            if text := flaw(o, picture.size, mask):
                said.append(f'object {o.get("id")}: {text}')
        return said

    def _class(self, annotation: Annotation, classes: dict[int, int], pair: Pair) -> int:
        number = annotation['category_id']
        if not isinstance(number, int) or number not in classes:
            raise UserError(
                f'{pair.mask}, object {annotation.get("id")}: category {number!r:.40} is not among '
                f'the categories of the file.'
            )
        return classes[number]

    @property
    def target_features(self) -> tuple[str, ...]:
        return ('objects',)

    def encode_target(
        self, pair: Pair, image: np.ndarray, roots: Roots
    ) -> tuple[np.ndarray, dict[str, bytes]]:
        del image
        picture, classes = self.picture(pair), self.classes(roots)
        for o in picture.objects:
            self._class(o, classes, pair)
        objects = encode_objects(picture, classes, name=str(pair.mask))
        return np.zeros(picture.size, np.uint8), {'objects': objects}

    def decode_target(self, features: dict[str, bytes], name: str) -> dict[str, Any]:
        return {'label': None, 'instances': decode_objects(json.loads(features['objects']))}

    def decode_annotations(self, features: dict[str, bytes]) -> list[Annotation]:
        """All objects as they were annotated."""
        return json.loads(features['objects'])

    def source(self, split: str, roots: Roots) -> Source:
        source = super().source(split, roots)
        self._note_size(split, source, roots)
        path, content = self._pictures(split, roots)
        if content.num_strays:
            print(
                f'Note: {path}: {content.num_strays} annotations are of pictures that it does not '
                f'name, and left out.',
                flush=True,
            )
        return source

    def _note_size(self, split: str, source: Source, roots: Roots) -> None:
        if split == 'val':
            note_incomplete(self.raw_folder(roots), split, len(source), NUM_VAL)


def _in_val(name: str, share: float) -> bool:
    """By hash, so that pictures added later move none of those already there."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], 'big') / 2**56 < share


@dataclasses.dataclass(frozen=True)
class CocoFolder(CocoInstances):
    """One's own pictures with annotations in COCO's form; the module's docstring has the layouts.

    Attributes:
      folder: where they are; `~` is the home directory.
      val_share: part of the pictures that makes the split val, where one file holds all.
    """

    folder: str = ''
    val_share: float = 0.2

    def raw_folder(self, roots: Roots) -> Path:
        del roots
        return Path(self.folder).expanduser()

    def annotation_files(self, roots: Roots) -> dict[str, Path]:
        folder = self.raw_folder(roots)
        found = {}
        for split in ('train', 'val', 'test'):
            names = [split, 'valid'] if split == 'val' else [split]
            candidates = [folder / p.format(split=n) for n in names for p in _ANNOTATIONS]
            if there := [path for path in candidates if path.is_file()]:
                found[split] = there[0]
        if 'train' in found and 'val' in found:
            return found
        single = [folder / name for name in _SINGLE if (folder / name).is_file()]
        if single:
            return dict.fromkeys(_SPLITS, single[0])
        return {**dict.fromkeys(_SPLITS, found['train']), **found} if 'train' in found else {}

    def images(self, split: str, roots: Roots) -> Path:
        """The first of the usual places that has the first picture."""
        path, content = self._pictures(split, roots)
        if not content.pictures:
            raise UserError(f'{path}: names no pictures.')
        first = next(iter(content.pictures.values())).file_name
        names = [split, 'valid'] if split == 'val' else [split]
        folder, files = self.raw_folder(roots), self.annotation_files(roots)
        if files['train'] == path:
            names = ['train']  # of which val is a part, where one file holds both
        places = [folder / p.format(split=n) for p in _IMAGES for n in names]
        there = [place for place in [*places, path.parent] if (place / first).is_file()]
        if not there:
            raise UserError(
                f'{folder}: the picture {first} that {path} names is nowhere. {_LAYOUT}'
            )
        return there[0]

    def require(self, roots: Roots) -> None:
        folder = self.raw_folder(roots)
        if not self.folder:
            raise UserError(
                f'Which folder? Give --folder=FOLDER. {_LAYOUT} --exp=maskrcnn_shapes needs no '
                f'data.'
            )
        if not self.annotation_files(roots):
            raise UserError(f'{folder.absolute()} holds no annotation files to train on. {_LAYOUT}')

    def _all_pairs(self, split: str, roots: Roots) -> list[Pair]:
        pairs, files = super()._all_pairs(split, roots), self.annotation_files(roots)
        if files['train'] != files['val']:
            return pairs
        chosen = [p for p in pairs if _in_val(p.image.name, self.val_share) == (split == 'val')]
        if not chosen:
            raise UserError(
                f'{files[split]}: of {len(pairs)} pictures none is in {split}; add pictures, '
                f'change --val_share, or write two files.'
            )
        return chosen

    def _note_size(self, split: str, source: Source, roots: Roots) -> None:
        """A folder of one's own is whole."""
