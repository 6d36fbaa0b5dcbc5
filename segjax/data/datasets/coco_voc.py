"""COCO 2017 instances turned into the 21 classes of Pascal VOC.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, by the rules of torchvision's
segmentation references (coco_utils.py), with which its published weights were trained: the 20
categories that VOC has; pixels of two or more objects, even of one class, are ignored; crowds count
as objects; training pictures need objects of more than 1000 pixels together, by the annotated
areas.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from segjax.data.coco_json import Annotation, Picture, read_coco_file
from segjax.data.dataset import Info, Roots, Source, color_map
from segjax.data.datasets.voc import CLASSES, note_incomplete
from segjax.data.pairs import Pair, PairedDataset
from segjax.data.segmentations import draw_segmentation
from segjax.types import IGNORE_LABEL, UserError

# COCO's category of each class of VOC; 0, which no annotation has, for the background.
CATEGORIES = (0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
MIN_AREA = 1000  # pixels, of a training picture's objects together
NUM_VAL = 5000  # pictures of val2017

_SPLITS = ('train', 'val')


def _of_voc(annotations: Path, picture: Picture) -> list[Annotation]:
    """The objects of VOC's categories. Raises UserError where one lacks area or outline."""
    found = [o for o in picture.objects if o['category_id'] in CATEGORIES]
    for o in found:
        if not {'area', 'segmentation'} <= o.keys():
            raise UserError(
                f"{annotations}: is not one of COCO's instances_*.json (object {o.get('id')} has "
                f'no area or no segmentation); unpack it again.'
            )
    return found


def draw_label(
    objects: list[Annotation], size: tuple[int, int], *, name: str = 'annotation'
) -> np.ndarray:
    """The label `h w` uint8 of a picture's annotations: VOC's ids, IGNORE_LABEL where two meet.

    Raises:
      UserError: the outline of an object is broken; `name` and the object's id are named.
    """
    label = np.zeros(size, np.uint8)
    covered = np.zeros(size, np.int32)
    for annotation in objects:
        described = f'{name}, object {annotation.get("id")}'
        pixels = draw_segmentation(annotation['segmentation'], size, name=described)
        label[pixels] = CATEGORIES.index(annotation['category_id'])
        covered += pixels
    label[covered > 1] = IGNORE_LABEL
    return label


@dataclasses.dataclass(frozen=True)
class CocoVoc(PairedDataset):
    """The folders annotations, train2017 and val2017 of COCO.

    Attributes:
      raw: folder under --raw_dir.
    """

    raw: str = 'coco2017'

    def info(self, roots: Roots) -> Info:
        return Info(CLASSES, color_map(len(CLASSES)))

    def raw_folder(self, roots: Roots) -> Path:
        return roots.raw_dir / self.raw

    def require(self, roots: Roots) -> None:
        folder = self.raw_folder(roots).absolute()
        absent = [p for p in self.side_files(roots) if not p.is_file()]
        absent += [folder / f'{s}2017' for s in _SPLITS if not (folder / f'{s}2017').is_dir()]
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
                f'--exp=fcn8s_shapes needs no data.'
            )

    def splits(self, roots: Roots) -> tuple[str, ...]:
        return _SPLITS

    def side_files(self, roots: Roots) -> list[Path]:
        folder = self.raw_folder(roots) / 'annotations'
        return [folder / f'instances_{split}2017.json' for split in _SPLITS]

    def raw_files(self, roots: Roots) -> list[Path]:
        """Only the annotation files: reading which pictures there are takes half a minute."""
        return self.side_files(roots)

    def pairs(self, split: str, roots: Roots) -> list[Pair]:
        annotations = self.side_files(roots)[_SPLITS.index(split)]
        images = self.raw_folder(roots) / f'{split}2017'
        there = {p.name for p in images.iterdir()}
        pairs, missing = [], []
        for name, picture in read_coco_file(annotations).pictures.items():
            if (
                split == 'train'
                and sum(o['area'] for o in _of_voc(annotations, picture)) <= MIN_AREA
            ):
                continue
            if picture.file_name not in there:
                missing.append(picture.file_name)
            pairs.append(Pair(name, images / picture.file_name, annotations / name))
        if missing:
            raise UserError(
                f'{images}: {len(missing)} of {len(pairs)} pictures are missing: '
                f'{", ".join(missing[:5])}{", ..." if len(missing) > 5 else ""}. Unpack the '
                f'archive again.'
            )
        return sorted(pairs, key=lambda pair: pair.image)

    def read_label(self, pair: Pair, roots: Roots) -> np.ndarray:
        """`pair.mask` is the annotation file and, as if in a folder, the picture's id."""
        del roots
        annotations = pair.mask.parent
        picture = read_coco_file(annotations).pictures[pair.mask.name]
        return draw_label(_of_voc(annotations, picture), picture.size, name=str(pair.mask))

    def source(self, split: str, roots: Roots) -> Source:
        source = super().source(split, roots)
        if split == 'val':
            note_incomplete(self.raw_folder(roots), split, len(source), NUM_VAL)
        return source
