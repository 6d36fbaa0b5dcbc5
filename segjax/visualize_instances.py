"""Pictures of objects: what is there, what was found, and how the two overlap.

Everything returns RGB pictures (uint8 `h w 3`). Each object has a colour of its own, as touching
objects of one class could not be told apart otherwise; its class is written at its box.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from segjax import visualize
from segjax.data.segmentations import encode_mask
from segjax.metrics.matching import Matching, Objects, match_objects
from segjax.types import Batch, Instances
from segjax.visualize import Palette

Size = tuple[int, int]

SURE = 0.5  # score from which a detection is drawn
COLORS = (
    *((31, 119, 220), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 219)),
    *((140, 86, 75), (227, 60, 194), (188, 189, 34), (23, 190, 207), (255, 187, 20)),
)
THERE, FOUND = (34, 197, 94), (239, 68, 68)  # green and red: the truth, and a detection


class Drawn(NamedTuple):
    """Objects of a picture, in its pixels."""

    boxes: np.ndarray  # n 4
    masks: Sequence[np.ndarray]  # n arrays h w bool, or none; at the picture's size or as shown
    texts: Sequence[str]  # n, what stands at the box
    colors: Sequence[tuple[int, int, int]]  # n


def _whole(mask: np.ndarray, box: np.ndarray, size: Size) -> np.ndarray:
    """A cropped mask on a canvas of its picture, `h w` bool."""
    canvas = np.zeros(size, bool)
    left, top = box[:2].astype(int)
    canvas[top : top + mask.shape[0], left : left + mask.shape[1]] = mask > 0
    return canvas


def _decode(mask: dict[str, Any]) -> np.ndarray:
    """Run lengths as a canvas, `h w` bool."""
    from pycocotools import mask as coco_mask

    return np.asarray(coco_mask.decode(dict(mask))) > 0  # pyright: ignore[reportArgumentType]


def decoded(masks: Sequence[dict[str, Any]] | None) -> list[np.ndarray]:
    """Run lengths as canvases `h w` bool; none for a detector without masks."""
    return [_decode(mask) for mask in masks or ()]


def _shown(masks: Iterable[np.ndarray], size: Size) -> list[np.ndarray]:
    """Canvases of a picture at the size at which it is shown.

    One after another: a hundred canvases of a large picture would not fit into memory.
    """
    return [visualize.resize_label(mask, visualize.display_size(*size)) for mask in masks]


def _known_masks(known: Instances, chosen: np.ndarray, size: Size) -> list[np.ndarray]:
    return _shown((_whole(known.masks[i], known.boxes[i], size) for i in chosen), size)


def _found_masks(found: Any, chosen: np.ndarray, size: Size) -> list[np.ndarray]:
    return _shown((_decode(found.masks[i]) for i in chosen), size) if found.masks else []


# --- Drawing -------------------------------------------------------------------------------------


def draw(image: np.ndarray, objects: Drawn, *, alpha: float = 0.45) -> np.ndarray:
    """Masks laid over a picture, with boxes and texts; at the size at which panels show it.

    Args:
      image: `h w c`, any dtype.
      alpha: how much of a mask's colour covers the picture; its border is opaque.
    """
    size = image.shape[:2]
    shown = visualize.display_size(*size)
    canvas = visualize.resize_image(image, shown).astype(np.float32)
    for mask, color in zip(objects.masks, objects.colors, strict=False):
        grown = visualize.resize_label(mask, shown)
        strength = np.where(grown, alpha, 0.0)
        strength[grown & visualize.borders(grown)] = 1.0
        canvas += strength[..., None] * (np.array(color, np.float32) - canvas)
    picture = Image.fromarray((canvas + 0.5).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    scale = np.array([shown[1] / size[1], shown[0] / size[0]] * 2)
    for box, text, color in zip(objects.boxes * scale, objects.texts, objects.colors, strict=True):
        left, top, right, bottom = box.tolist()
        pen.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), outline=color)
        _write_at(pen, (left, top), text, color)
    return np.asarray(picture)


def _write_at(
    pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, color: tuple[int, int, int]
) -> None:
    """White on the object's colour, at the upper left corner of its box, inside the picture."""
    if not text:
        return
    font = visualize.typeface(11)
    width, height = font.getlength(text) + 4, 14
    limit = pen.im.size
    left = min(max(place[0], 0), max(limit[0] - width, 0))
    top = place[1] - height if place[1] >= height else place[1]
    pen.rectangle((left, top, left + width, top + height), fill=color)
    pen.text((left + 2, top + height / 2), text, (255, 255, 255), font, anchor='lm')


def _cycle(number: int) -> list[tuple[int, int, int]]:
    return [COLORS[i % len(COLORS)] for i in range(number)]


def known_objects(known: Instances, size: Size, class_names: Sequence[str]) -> Drawn:
    """What is there; crowds are marked with a star."""
    texts = [
        f'{class_names[label]}{" *" if crowd else ""}'
        for label, crowd in zip(known.classes.tolist(), known.crowd, strict=True)
    ]
    masks = _known_masks(known, np.arange(len(texts)), size)
    return Drawn(known.boxes, masks, texts, _cycle(len(texts)))


def found_objects(
    found: Any, size: Size, class_names: Sequence[str], *, sure: float = SURE
) -> Drawn:
    """The detections (boxes, scores, classes, masks: evaluate.Found) with a score of `sure`."""
    kept = np.flatnonzero(found.scores >= sure)
    texts = [f'{class_names[found.classes[i]]} {found.scores[i]:.2f}' for i in kept]
    return Drawn(found.boxes[kept], _found_masks(found, kept, size), texts, _cycle(len(kept)))


def match_sure(known: Instances, found: Any, size: Size, *, sure: float = SURE) -> Matching:
    """Whom the detections with a score of `sure` find; by masks, without them by boxes."""
    kept = np.flatnonzero(found.scores >= sure)
    shapes = [_corner_and_size(known.boxes), _corner_and_size(found.boxes[kept])]
    if found.masks is not None:
        parts = zip(known.masks, known.boxes.astype(int).tolist(), strict=True)
        runs = [encode_mask(mask, (box[0], box[1]), size) for mask, box in parts]
        shapes = [runs, [found.masks[i] for i in kept]]
    there = Objects(shapes[0], known.classes, np.asarray(known.crowd, bool))
    return match_objects(there, Objects(shapes[1], found.classes[kept], np.zeros(len(kept), bool)))


def _corner_and_size(boxes: np.ndarray) -> list[list[float]]:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()


class Differences(NamedTuple):
    """The truth in green against the detections in red."""

    drawn: Drawn
    matching: Matching

    @property
    def said(self) -> str:
        """How many were found, in words."""
        right, wrong, missed = self.matching.right, self.matching.wrong, self.matching.missed.sum()
        said = f'{right + missed} there, {right + wrong} found, {right} of them right'
        quality = self.matching.quality
        return said + (f'; quality {quality:.2f}' if quality == quality else '')


def differences(known: Instances, found: Any, size: Size, *, sure: float = SURE) -> Differences:
    """Each detection carries its score and its IoU with the object that it finds; an object that is
    not found says so. Crowds are left out. Only objects and detections of one class match."""
    kept = np.flatnonzero(found.scores >= sure)
    single = np.flatnonzero(~np.asarray(known.crowd, bool))
    matching = match_sure(known, found, size, sure=sure)
    texts = ['missed' if matching.missed[i] else '' for i in single]
    for column, i in enumerate(kept):
        spared = 'crowd' if matching.spared[column] else f'{matching.iou[column]:.2f}'
        texts.append(f'{found.scores[i]:.2f} / {spared}')
    masks = []
    if found.masks is not None:
        masks = [*_known_masks(known, single, size), *_found_masks(found, kept, size)]
    boxes = np.concatenate([known.boxes[single], found.boxes[kept]])
    colors = [THERE] * len(single) + [FOUND] * len(kept)
    return Differences(Drawn(boxes, masks, texts, colors), matching)


def panel(
    samples: Sequence[Any], captions: Sequence[str], *, class_names: Sequence[str], palette: Palette
) -> np.ndarray:
    """`image | ground truth | detections | differences`, a row a picture.

    Args:
      samples: pictures with `image`, `known` and `found`, as evaluate.InstanceSample.
      palette: of the classes; objects have colours of their own.
    """
    del palette
    if not samples:
        raise ValueError('a panel needs at least one picture')
    column = max(160, *(visualize.display_size(*s.image.shape[:2])[1] for s in samples))
    titles = (
        'image',
        'ground truth',
        f'detections from {SURE}',
        'truth green, found red: score / IoU',
    )
    strips = [visualize.title_line(titles, column)]
    for sample, caption in zip(samples, captions, strict=True):
        size = sample.image.shape[:2]
        compared = differences(sample.known, sample.found, size)
        cells = [
            draw(sample.image, Drawn(np.zeros((0, 4)), [], [], [])),
            draw(sample.image, known_objects(sample.known, size, class_names)),
            draw(sample.image, found_objects(sample.found, size, class_names)),
            draw(sample.image, compared.drawn, alpha=0.25),
        ]
        strips.append(visualize.abreast(cells, column))
        strips.append(visualize.heading_line(caption, compared.said, strips[0].shape[1]))
    return visualize.framed(visualize.stacked(strips, visualize.GAP))


class Compared(NamedTuple):
    """One picture of a comparison: what is there, and what each of several detectors found."""

    image: np.ndarray  # h w c, any dtype
    known: Instances
    found: Sequence[Any]  # evaluate.Found
    caption: str = ''


def comparison(
    rows: Sequence[Compared],
    titles: Sequence[str],
    *,
    subtitles: Sequence[str],
    class_names: Sequence[str],
) -> np.ndarray:
    """`image | ground truth | detections | detections | ...`, a row a picture.

    Each detector has a title and a subtitle above its column; below stands how well its sure
    detections, which are drawn, did in this picture.
    """
    if not rows:
        raise ValueError('a comparison needs at least one row')
    column = max(160, *(visualize.display_size(*row.image.shape[:2])[1] for row in rows))
    strips = [visualize.title_line(['image', 'ground truth', *titles], column, bold=True)]
    strips.append(visualize.title_line(['', '', *subtitles], column))
    for row in rows:
        size = row.image.shape[:2]
        cells = [
            draw(row.image, Drawn(np.zeros((0, 4)), [], [], [])),
            draw(row.image, known_objects(row.known, size, class_names)),
            *(draw(row.image, found_objects(found, size, class_names)) for found in row.found),
        ]
        quality = [match_sure(row.known, found, size).quality for found in row.found]
        said = [f'quality {q:.2f}' if q == q else '' for q in quality]
        strips.append(visualize.abreast(cells, column))
        strips.append(visualize.title_line([row.caption, '', *said], column))
    return visualize.framed(visualize.stacked(strips, visualize.GAP))


def steps_picture(steps: Any, *, class_names: Sequence[str]) -> np.ndarray:
    """Anchors, proposals and detections of a picture beside one another, its masks below them.

    Args:
      steps: `image, anchors, proposals, detections`, as evaluate.detection_steps finds them.
    """
    found = steps.detections
    kept = np.flatnonzero(found.valid & (found.scores >= SURE))
    texts = [f'{class_names[found.classes[i]]} {found.scores[i]:.2f}' for i in kept]
    colors = _cycle(len(kept))
    plain = lambda boxes: Drawn(boxes, [], [''] * len(boxes), _cycle(len(boxes)))
    cells = [
        draw(steps.image, plain(np.zeros((0, 4)))),
        draw(steps.image, plain(steps.anchors)),
        draw(steps.image, plain(steps.proposals)),
        draw(steps.image, Drawn(found.boxes[kept], [], texts, colors)),
    ]
    column = max(160, cells[0].shape[1])
    titles = (
        'image',
        f'{len(steps.anchors)} anchors most like objects',
        f'the first {len(steps.proposals)} proposals',
        f'detections from {SURE}',
    )
    strips = [visualize.title_line(titles, column), visualize.abreast(cells, column)]
    if found.masks is not None and len(kept):
        strips += _mask_strip([found.masks[i] for i in kept], texts, len(cells), column)
    return visualize.framed(visualize.stacked(strips, visualize.GAP))


def _mask_strip(
    masks: Sequence[np.ndarray], texts: Sequence[str], columns: int, width: int
) -> list[np.ndarray]:
    """The masks as the network gives them, a square each, white where it is sure; with titles."""
    side = min(width, 4 * masks[0].shape[0])
    grown = [visualize.resize_label(np.rint(255 * m).astype(np.uint8), (side, side)) for m in masks]
    strips = []
    for first in range(0, len(grown), columns):
        chosen = slice(first, first + columns)
        strips.append(visualize.abreast([visualize.to_rgb(g) for g in grown[chosen]], width))
        strips.append(visualize.title_line(texts[chosen], width))
    return strips


def sheet(
    samples: Sequence[Batch], captions: Sequence[str], *, class_names: Sequence[str]
) -> np.ndarray:
    """Samples of a training with their objects, as the network is given them, four in a row.

    Masks are grown from their square cells to their boxes.
    """
    drawn = []
    for sample in samples:
        known: Any = sample.instances
        real = np.flatnonzero(known.valid)
        size, boxes = sample.image.shape[:2], known.boxes[real]
        masks = [_grown(known.masks[i], known.boxes[i], size) for i in real]
        texts = [f'{class_names[known.classes[i]]}{" *" if known.crowd[i] else ""}' for i in real]
        drawn.append(draw(sample.image, Drawn(boxes, masks, texts, _cycle(len(real)))))
    column = max(160, *(picture.shape[1] for picture in drawn))
    strips = []
    for first in range(0, len(drawn), 4):
        chosen = slice(first, first + 4)
        strips.append(visualize.abreast(drawn[chosen], column))
        strips.append(visualize.title_line(captions[chosen], column))
    return visualize.framed(visualize.stacked(strips, visualize.GAP))


def _grown(mask: np.ndarray, box: np.ndarray, size: Size) -> np.ndarray:
    """A mask `m m` stretched over its whole-numbered box, or one of the whole canvas as it is."""
    if mask.shape == size:
        return mask > 0
    canvas = np.zeros(size, bool)
    left, top, right, bottom = np.rint(box).astype(int).tolist()
    window = canvas[top:bottom, left:right]
    window[:] = visualize.resize_label(mask, window.shape) > 0
    return canvas
