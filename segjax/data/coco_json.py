"""COCO's instances_*.json: pictures, categories and objects of an annotation file."""

from __future__ import annotations

import collections
import functools
import json
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from segjax.data.images import MAX_PIXELS
from segjax.types import UserError

Annotation = dict[str, Any]

_NOT_COCO = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
_FIELDS = ('id', 'category_id', 'segmentation', 'bbox', 'area', 'iscrowd')


class Picture(NamedTuple):
    """A picture and its objects."""

    file_name: str
    size: tuple[int, int]  # height, width
    objects: list[Annotation]  # of `_FIELDS`, those that the file has


class CocoFile(NamedTuple):
    """What is in an annotation file; `num_strays` annotations belong to no picture of it."""

    pictures: dict[str, Picture]  # by the text of the picture's id
    categories: dict[int, str]  # names by id, in rising order; empty where the file has none
    num_strays: int


def _picture(image: dict[str, Any], objects: list[Annotation]) -> Picture:
    name, height, width = image['file_name'], image['height'], image['width']
    inside = isinstance(name, str) and name and not PurePosixPath(name).is_absolute()
    if not inside or '..' in PurePosixPath(name).parts or '\\' in name or '\0' in name:
        raise ValueError(f'file_name {name!r:.80} is no name of a file')
    whole = type(height) is type(width) is int
    if not (whole and min(height, width) > 0 and height * width <= MAX_PIXELS):
        raise ValueError(f'{name}: {width!r:.20} x {height!r:.20} is no size of a picture')
    return Picture(name, (height, width), objects)


def _category(category: dict[str, Any]) -> tuple[int, str]:
    number, name = category['id'], category['name']
    if type(number) is not int or number < 0 or not isinstance(name, str):
        raise ValueError(f'{category!r:.80} is no category')
    return number, name


def _annotation(annotation: dict[str, Any]) -> Annotation:
    known = {name: annotation[name] for name in _FIELDS if name in annotation}
    known['category_id'] = annotation['category_id']
    if known.get('iscrowd') not in (None, 0, 1):
        raise ValueError(f'iscrowd {known["iscrowd"]!r:.80} is neither 0 nor 1')
    if 'area' in known:
        known['area'] = float(known['area'])
    if 'bbox' in known:
        box = [float(side) for side in known['bbox']]
        if len(box) != 4:
            raise ValueError(f'bbox {known["bbox"]!r:.80} is not x, y, width, height')
        known['bbox'] = box
    return known


@functools.lru_cache(maxsize=4)
def _parse(path: Path, modified: int) -> CocoFile:
    """`modified` makes a changed file another one."""
    del modified
    try:
        content = json.loads(path.read_bytes())
        objects = collections.defaultdict(list)
        for annotation in content['annotations']:
            objects[annotation['image_id']].append(_annotation(annotation))
        pictures = {str(i['id']): _picture(i, objects.pop(i['id'], [])) for i in content['images']}
        if len(pictures) < len(content['images']):
            raise ValueError('two pictures of one id')
        if wrong := [name for name in pictures if (path / name).name != name]:
            raise ValueError(f'{wrong[0]!r:.80} is no id')
        categories = dict(sorted(map(_category, content.get('categories', []))))
        return CocoFile(pictures, categories, sum(map(len, objects.values())))
    except _NOT_COCO as error:
        raise UserError(
            f"{path}: is not one of COCO's instances_*.json ({error!r}); unpack it again."
        ) from error


def read_coco_file(path: Path) -> CocoFile:
    """The content of an annotation file, which is parsed once.

    Raises:
      UserError: it cannot be read, or is no such file.
    """
    try:
        modified = path.stat().st_mtime_ns
    except OSError as error:
        raise UserError(f'{path}: cannot be opened: {error.strerror or error}.') from None
    return _parse(path, modified)


def clear_cache() -> None:
    """Forget what was parsed: within one tick of the clock a changed file looks unchanged."""
    _parse.cache_clear()
