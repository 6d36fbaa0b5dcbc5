"""The folder that predictions are written to.

labels/NAME.png          class ids, with the palette of the classes
overlays/NAME.png        the prediction laid over the picture, at its own size
probabilities/NAME.npz   `probabilities`, h w k float16; or NAME.CLASS.png, 16 bits for 0..1
gallery/                 small pictures of index.html
index.html  sheet.png    all of them, and some of them, to look at
predictions.json         the same in numbers; files that were not read, and why
coco_results.json        what a detector found, in the form of COCO's results, masks as run lengths,
coco_images.json         and the pictures and classes that its numbers mean, in that of COCO's data

A detector's overlays are drawn at a size at which they are well seen; its labels have the class of
the best object at each pixel.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from segjax.data.dataset import Info
from segjax.files import write_whole
from segjax.gallery.page import Entry, page
from segjax.prediction import ObjectPrediction, Prediction
from segjax.visualize import contact_sheet, png_bytes, resize_label, to_rgb

Probabilities = Literal['none', 'npz', 'png']

SMALL = 480  # longest side of a picture in the gallery
SHEET = 24  # pictures on the contact sheet
_CELL = 320  # longest side of a picture on the contact sheet


def label_png(label: np.ndarray, info: Info) -> bytes:
    """Class ids as a PNG whose palette has the classes' colours; 16-bit gray for over 256."""
    if label.dtype != np.uint8:
        return _encoded(Image.fromarray(label), 'PNG')
    image = Image.fromarray(label)
    image.putpalette([value for color in info.palette for value in color])
    return _encoded(image, 'PNG')


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """RGB of at most `side` pixels a side; a large one is thinned out first, which is cheap."""
    step = max(1, min(picture.shape[:2]) // (4 * side))
    rgb = to_rgb(picture[::step, ::step])
    factor = side / max(rgb.shape[:2])
    if factor >= 1:
        return rgb
    h, w = (max(1, round(length * factor)) for length in rgb.shape[:2])
    return np.asarray(Image.fromarray(rgb).resize((w, h), Image.Resampling.BOX))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


class Gallery:
    """Writes predictions; `add` may be called by several threads.

    Args:
      keep: what to write of probabilities.
      sheet: names of the pictures that the contact sheet shows.
    """

    def __init__(
        self, path: Path, info: Info, *, keep: Probabilities = 'none', sheet: frozenset[str]
    ):
        self.path, self.info, self.keep = path, info, keep
        self._sheet = sheet
        self._cells: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._objects: dict[str, list[dict[str, Any]]] = {}

    def add(self, name: str, file: str, found: Prediction) -> Entry:
        """Write the files of one picture; raises OSError.

        Args:
          name: of the files, without suffix; may have folders.
          file: what the picture is called.
        """
        laid_over = found.overlay()
        full = f'overlays/{name}.png'
        _write(self.path / f'labels/{name}.png', label_png(found.label, self.info))
        _write(self.path / full, png_bytes(laid_over, fast=True))
        small = [f'gallery/{kind}/{name}.jpg' for kind in ('pictures', 'overlays')]
        for path, picture in zip(small, (found.image, laid_over), strict=True):
            shown = Image.fromarray(_shrunk(picture, SMALL))
            _write(self.path / path, _encoded(shown, 'JPEG', quality=88))
        if found.probabilities is not None:
            self._write_probabilities(name, found.probabilities)
        counts = None
        if isinstance(found, ObjectPrediction):
            self._objects[file], counts = found.as_coco(0), found.counts
        if name in self._sheet:
            cell = _shrunk(found.image, _CELL)
            self._cells[name] = cell, resize_label(found.label, (cell.shape[0], cell.shape[1]))
        size = found.label.shape[0], found.label.shape[1]
        return Entry(file, size, found.shares, small[0], small[1], full, counts)

    def _write_probabilities(self, name: str, found: np.ndarray) -> None:
        path = self.path / 'probabilities' / name
        if self.keep == 'npz':
            buffer = io.BytesIO()
            np.savez_compressed(buffer, probabilities=found.astype(np.float16))
            _write(path.with_name(f'{path.name}.npz'), buffer.getvalue())
            return
        for i, class_name in enumerate(self.info.class_names):
            deep = np.rint(found[..., i] * 65535).astype(np.uint16)
            word = re.sub(r'[^\w-]+', '_', class_name)
            _write(
                path.with_name(f'{path.name}.{word}.png'), _encoded(Image.fromarray(deep), 'PNG')
            )

    def _write_objects(self, entries: list[Entry]) -> None:
        images, objects = [], []
        for number, entry in enumerate(entries, start=1):
            height, width = entry.size
            images.append({'id': number, 'file_name': entry.file, 'height': height, 'width': width})
            objects += [{**found, 'image_id': number} for found in self._objects[entry.file]]
        names = enumerate(self.info.class_names)
        categories = [{'id': i, 'name': name} for i, name in names if i]
        about = {'images': images, 'categories': categories, 'annotations': []}
        write_whole(self.path / 'coco_results.json', json.dumps(objects).encode())
        write_whole(self.path / 'coco_images.json', json.dumps(about).encode())

    def close(
        self, entries: list[Entry], unreadable: Mapping[str, str], facts: Mapping[str, Any]
    ) -> None:
        """Write page, contact sheet and predictions.json; raises OSError."""
        title = f'{len(entries)} predictions'
        subtitle = ', '.join(f'{name}: {value}' for name, value in facts.items())
        html = page(entries, unreadable, info=self.info, title=title, subtitle=subtitle)
        write_whole(self.path / 'index.html', html.encode())
        pictures = [entry._asdict() for entry in entries]
        said = {**facts, 'pictures': pictures, 'unreadable': dict(unreadable)}
        text = json.dumps(said, indent=1, ensure_ascii=False)
        write_whole(self.path / 'predictions.json', text.encode() + b'\n')
        if self._objects:
            self._write_objects(entries)
        if self._cells:
            names = sorted(self._cells)
            cells = [self._cells[name] for name in names]
            sheet = contact_sheet(
                *zip(*cells, strict=True),
                class_names=self.info.class_names,
                palette=self.info.palette,
                captions=names,
            )
            write_whole(self.path / 'sheet.png', png_bytes(sheet))
