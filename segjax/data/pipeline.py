"""How samples become batches: batch `step` is a pure function of (seed, step).

There is no iterator state: sample n of a run, n = step * batch_size + row, is record
permutation(seed, epoch)[n % len] with the random numbers of (seed, n), where epoch = n // len.
Grain prefetches batches by threads; it decides nothing about their content.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import cv2
import numpy as np

from segjax.data import resample
from segjax.data.dataset import Source, evenly_spaced
from segjax.data.normalize import fill as normalization_fill
from segjax.data.resample import Warp
from segjax.data.transforms import Transform
from segjax.types import IGNORE_LABEL, Batch, Instances, UserError, check_ranges

cv2.setNumThreads(1)  # batches are made by several threads already

Fill = tuple[float, ...]  # raw value of each channel that padding is made of

_CROP_ATTEMPTS = 10  # as mmsegmentation's RandomCrop(cat_max_ratio)
_PERMUTATION, _SAMPLE = 0, 1  # streams of random numbers of one seed
_ENDLESS = 2**31 - 1


def _stack_part(parts: Sequence[Any]) -> Any:
    """The same part of several samples; None stays None, Instances are stacked field by field."""
    if parts[0] is None:
        return None
    if isinstance(parts[0], Instances):
        return Instances(*map(_stack_part, zip(*parts, strict=True)))
    return np.stack(parts, dtype=parts[0].dtype, casting='no')  # one type, one normalisation


def _stack(samples: Sequence[Batch]) -> Batch:
    return Batch(*map(_stack_part, zip(*samples, strict=True)))


def _prefetch(
    make: Callable[[int], Batch], start: int, stop: int, num_threads: int
) -> Iterator[Batch]:
    """make(start), make(start + 1), ...; in order, some threads ahead."""
    import grain

    steps = grain.MapDataset.range(start, stop).map(make)
    # the default buffer of 500 counts batches: gigabytes
    options = grain.ReadOptions(num_threads, num_threads + 2 if num_threads else 0)
    return iter(steps.to_iter_dataset(options))


def zero_color(source: Source, image: np.ndarray) -> Fill:
    """The raw value, a channel, that the source normalises to 0."""
    return normalization_fill(source.normalize, image.dtype, channels=image.shape[2])


def _in_type_of(image: np.ndarray, fill: Fill) -> np.ndarray:
    """The padding's colour in the type of the image."""
    value = np.array(fill)
    return (np.rint(value) if image.dtype.kind in 'iu' else value).astype(image.dtype)


def load_sample(source: Source, index: int) -> Batch:
    """Sample `index`. What it raises beside UserError says which one it was."""
    try:
        return source[index]
    except UserError:
        raise
    except Exception as error:
        error.add_note(f'while reading sample {index}')
        raise


def load_readable(source: Source, index: int) -> Batch:
    """Sample `index`; in place of a bad one the next that can be read, if it may be replaced.

    Which one that is follows from the files alone, so a batch remains a function of (seed, step).

    Raises:
      UserError: a sample is bad, and none or no more may be replaced.
    """
    for shift in range(len(source)):
        place = (index + shift) % len(source)
        try:
            return load_sample(source, place)
        except UserError as error:
            source.bad.note(place, error)
    raise UserError(f'None of {len(source)} samples can be read; the last: {source.bad[place]}')


@functools.lru_cache(maxsize=4)
def _chances(source: Source, balance: float) -> np.ndarray:
    """The chance of each record: of n of one look, n^-balance each, up to what makes the sum 1."""
    looks = [source.look(i) for i in range(len(source))]
    number = collections.Counter(looks)
    weights = np.array([number[look] for look in looks], np.float64) ** -balance
    return weights / weights.sum()


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng((seed, _PERMUTATION, epoch)).permutation(length)


def _largest_share(label: np.ndarray) -> float:
    """The share of the commonest class in the pixels that have a class; 1 if none has."""
    counts = np.bincount(label.ravel(), minlength=256)
    counts[IGNORE_LABEL] = 0
    return counts.max() / max(counts.sum(), 1) if counts.any() else 1.0


def _check_stretch(size: tuple[int, int]) -> None:
    if min(size) < 0 or (0 in size and any(size)):
        raise UserError(f'--stretch={size[0]},{size[1]}: height and width, or 0,0.')


@dataclasses.dataclass(frozen=True)
class TrainPipeline:
    """Shuffled, augmented, cropped batches without end.

    Attributes:
      split: which split of the data set.
      batch_size: pictures in a batch, over all devices and hosts.
      crop: height and width of the windows.
      scale: pictures are first scaled by this (0.5: half resolution), in the same resampling.
      stretch: height and width to which every whole picture is stretched before that, whatever its
        own; 0,0 for none. With a crop of the same size whole pictures are learned from, shrunk,
        instead of patches.
      transforms: augmentations, in their order.
      max_class_share: a window in which one class covers more than this is drawn again, up to ten
        times; 1 accepts any.
      balance: 0 learns from each record once an epoch. 1 draws every look (Source.look) as often as
        any other, however many records share it; between the two, of n records of one look each is
        drawn n^-balance as often as a single one. What is drawn does not know of epochs then.
      pad: what lies beyond the border, 'constant' (the value that is 0 after normalisation, label
        ignored) or 'reflect' (mirrored, label too). A picture smaller than the window is padded to
        the right and below.
      margin: windows may reach this far over the border; the margin of a valid-padded model.
      instances: objects a picture, 0 to leave them out; the largest are kept.
      mask_size: side of the objects' masks, 0 for whole canvases.
    """

    split: str = 'train'
    batch_size: int = 8
    crop: tuple[int, int] = (256, 256)
    scale: float = 1.0
    stretch: tuple[int, int] = (0, 0)
    transforms: tuple[Transform, ...] = ()
    max_class_share: float = 1.0
    balance: float = 0.0
    pad: Literal['constant', 'reflect'] = 'constant'
    margin: int = 0
    instances: int = 0
    mask_size: int = 28

    def __post_init__(self):
        _check_stretch(self.stretch)
        check_ranges(
            self,
            batch_size=(1, math.inf),
            crop=(1, math.inf),
            mask_size=(0, math.inf),
            balance=(0, 1),
        )

    def batches(
        self,
        source: Source,
        *,
        seed: int,
        start: int = 0,
        shard: tuple[int, int] = (0, 1),
        fill: Fill | None = None,
        num_threads: int = 2,
    ) -> Iterator[Batch]:
        """Batches start, start + 1, ... without end.

        Args:
          seed: with the step, decides everything about a batch.
          shard: (index, count): the rows of this host, an equal part of each batch.
          fill: raw value of the padding, a channel; by default what the source normalises to 0.
          num_threads: batches made at a time; no influence on their content.

        Raises:
          UserError: no pictures, or a batch_size that the hosts cannot share.
        """
        index, count = shard
        if len(source) == 0:
            raise UserError(f'The split {self.split} holds no pictures.')
        if self.batch_size % count:
            raise UserError(f'batch_size={self.batch_size} must be a multiple of {count} hosts.')
        rows = self.batch_size // count

        def make(step: int) -> Batch:
            first = step * self.batch_size + index * rows
            numbers = range(first, first + rows)
            return _stack([self.sample(source, seed=seed, number=n, fill=fill) for n in numbers])

        return _prefetch(make, start, _ENDLESS, num_threads)

    def sample(self, source: Source, *, seed: int, number: int, fill: Fill | None = None) -> Batch:
        """Sample `number` of a run: record, augmentation and window follow from (seed, number)."""
        rng = np.random.default_rng((seed, _SAMPLE, number))
        if self.balance:
            index = int(rng.choice(len(source), p=_chances(source, self.balance)))
        else:
            epoch, position = divmod(number, len(source))
            index = int(_permutation(seed, epoch, len(source))[position])
        return self._augment(load_readable(source, index), source, rng, fill)

    def empty_batch(self, channels: int) -> Batch:
        """A batch of the shapes that training sees, with no memory behind its zeros."""
        zeros = lambda dtype, *shape: np.broadcast_to(
            np.zeros((), dtype), (self.batch_size, *shape)
        )
        batch = Batch(
            image=zeros(np.uint8, *self.crop, channels),
            label=zeros(np.int32, *self.crop),
            size=zeros(np.int32, 2),
            image_id=zeros(np.int32),
            valid=zeros(np.bool_),
        )
        if not self.instances:
            return batch
        n, m = self.instances, self.mask_size
        shape = (m, m) if m else self.crop
        return batch._replace(
            instances=Instances(
                boxes=zeros(np.float32, n, 4),
                classes=zeros(np.int32, n),
                masks=zeros(np.uint8, n, *shape),
                crowd=zeros(np.bool_, n),
                valid=zeros(np.bool_, n),
                cut=zeros(np.int32),
            )
        )

    def _resize(self, warp: Warp, rng: np.random.Generator) -> Warp:
        """The whole picture at the size at which augmentation begins."""
        del rng
        if any(self.stretch):
            warp = warp.resized(self.stretch)
        return warp.scaled(self.scale)

    def _choose_window(self, sample: Batch, warp: Warp, rng: np.random.Generator) -> Warp:
        """A crop of the canvas, by chance within the limit on a class's share."""
        low = -self.margin
        top_limit, left_limit = (
            max(low, side - crop + self.margin)
            for side, crop in zip(warp.size, self.crop, strict=True)
        )
        window = warp
        for _ in range(_CROP_ATTEMPTS):
            top, left = rng.integers(low, top_limit + 1), rng.integers(low, left_limit + 1)
            window = warp.cropped(int(top), int(left), self.crop)
            if self.max_class_share >= 1 or sample.label is None:
                break
            if _largest_share(resample.warp_label(sample.label, window)) <= self.max_class_share:
                break
        return window

    def _augment(
        self, sample: Batch, source: Source, rng: np.random.Generator, fill: Fill | None
    ) -> Batch:
        h, w = sample.image.shape[:2]
        canvas = self._resize(Warp.identity((h, w)), rng)
        for transform in self.transforms:
            canvas = transform.warp(canvas, rng)
        warp = self._choose_window(sample, canvas, rng)
        image = resample.warp_image(sample.image, warp, border=self.pad)
        for transform in self.transforms:
            image = transform.color(image, rng)
        if self.pad == 'constant' and (beyond := resample.outside((h, w), warp)) is not None:
            image[beyond] = _in_type_of(image, fill or zero_color(source, image))
        label, weight, instances = sample.label, sample.weight, None
        if label is not None:
            label = resample.warp_label(label, warp, border=self.pad).astype(np.int32)
        if weight is not None:
            weight = resample.warp_weight(weight, warp, border=self.pad)
        if self.instances and sample.instances is not None:
            seen = resample.warp_instances(sample.instances, warp)
            instances = resample.pack_instances(
                seen, number=self.instances, mask_size=self.mask_size, size=self.crop
            )
        size = np.minimum(canvas.size, self.crop).astype(np.int32)
        return sample._replace(
            image=image, label=label, weight=weight, instances=instances, size=size
        )


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _zero_part(part: Any) -> Any:
    if isinstance(part, Instances):
        return Instances(*map(np.zeros_like, part))
    return None if part is None else np.zeros_like(part)


def _blank(sample: Batch) -> Batch:
    """A row that only fills up a batch: nothing in it counts."""
    label = None if sample.label is None else np.full_like(sample.label, IGNORE_LABEL)
    blank = Batch(*map(_zero_part, sample))
    return blank._replace(label=label, size=sample.size, image_id=np.int32(-1))


@dataclasses.dataclass(frozen=True)
class EvalPipeline:
    """Whole pictures, each once, in batches of one canvas shape.

    Attributes:
      split: which split of the data set.
      batch_size: pictures in a batch, over all devices and hosts.
      scale: the image, not the label, is scaled by this: evaluation is at native resolution.
      stretch: height and width to which the image, not the label, is stretched before that; 0,0 for
        none. What rounding adds is stretched with it.
      round_to: image and label are padded to the right and below to a multiple of this, in native
        pixels; larger numbers mean fewer shapes, so fewer compilations.
      round_extra: pixels more than that multiple: with 1, and 16 for round_to, 1024 becomes 1025,
        as a network of stride 16 that aligns corners has it.
      limit: so many pictures, evenly spaced over the split; 0 for all.
      tile: height and width in pixels, after `scale`: a picture larger than this is predicted in
        tiles of this size, or the nearest that the model takes; 0 for whole pictures.
      overlap: share of a tile that its neighbours have in common, for models that pad; others need
        none.
      orientations: the probabilities of so many of the picture's eight turned and mirrored versions
        are averaged: 1, the picture; 4, its quarter turns; 7 as in U-Net's paper, which does not
        say which seven; 8, all.
      scales: the probabilities of the picture at each of these scales, besides `scale`, are
        averaged; DeepLab's are .5, .75, 1, 1.25, 1.5 and 1.75.
      flip: likewise of the picture and of its mirror image, left and right exchanged.
      instances: objects a picture, 0 to leave them out; in native pixels.
      mask_size: side of the objects' masks, 0 for whole canvases.
    """

    split: str = 'val'
    batch_size: int = 8
    scale: float = 1.0
    stretch: tuple[int, int] = (0, 0)
    round_to: int = 1
    round_extra: int = 0
    limit: int = 0
    tile: tuple[int, int] = (0, 0)
    overlap: float = 0.5
    orientations: int = 1
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    instances: int = 0
    mask_size: int = 28

    def __post_init__(self):
        _check_stretch(self.stretch)
        check_ranges(self, batch_size=(1, math.inf), limit=(0, math.inf), mask_size=(0, math.inf))
        if not 0 <= self.overlap < 1:
            raise UserError(f'--overlap={self.overlap}: must be at least 0 and less than 1.')
        if not 1 <= self.orientations <= 8:
            raise UserError(f'--orientations={self.orientations}: must be from 1 to 8.')
        if self.flip and self.orientations > 1:
            raise UserError(
                '--flip=true: mirror images are among --orientations=8; use one of them.'
            )
        if not self.scales or min(self.scales) <= 0:
            given = ','.join(map(str, self.scales))
            raise UserError(f'--scales={given}: one number or more, all above 0.')
        if min(self.tile) < 0 or (0 in self.tile and any(self.tile)):
            raise UserError(f'--tile={self.tile[0]},{self.tile[1]}: height and width, or 0,0.')

    def indices(self, source: Source) -> list[int]:
        """The records evaluated, in the order of the source."""
        return evenly_spaced(len(source), self.limit or len(source))

    def canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the label's canvas for a picture of this size."""
        extra = self.round_extra
        h, w = (_round_up(max(side - extra, 0), self.round_to) + extra for side in size)
        return h, w

    def groups(self, source: Source, rows: int) -> list[tuple[tuple[int, int], list[int]]]:
        """(canvas, records) of each batch: canvases in the order in which they first appear."""
        by_canvas: dict[tuple[int, int], list[int]] = {}
        for index in self.indices(source):
            by_canvas.setdefault(self.canvas(source.size(index)), []).append(index)
        return [
            (canvas, members[i : i + rows])
            for canvas, members in by_canvas.items()
            for i in range(0, len(members), rows)
        ]

    def batches(
        self,
        source: Source,
        *,
        rows: int,
        shard: tuple[int, int] = (0, 1),
        fill: Fill | None = None,
        num_threads: int = 2,
    ) -> Iterator[Batch]:
        """Batches of exactly `rows` rows and one canvas shape each; every record once.

        The last batch of a canvas is filled up with rows that are not `valid`, whose labels are all
        IGNORE_LABEL and whose image_id is -1. `size` is the native height and width.

        Args:
          rows: rows of this host.
          shard: (index, count): of each count * rows records, this host takes its `rows`.
          fill: raw value of the padding, a channel; by default what the source normalises to 0.
          num_threads: batches made at a time.

        Raises:
          UserError: a sample is bad; here, none is ever replaced.
        """
        index, count = shard
        if bad := [i for i in self.indices(source) if i in source.bad]:
            raise UserError(
                f'The split {self.split} is evaluated, and {len(bad)} of its samples cannot be '
                f'read (--bad_samples=skip is for training alone): {source.bad[bad[0]]}'
            )
        groups = self.groups(source, rows * count)

        def make(number: int) -> Batch:
            canvas, members = groups[number]
            return self._batch(source, canvas, members, (index * rows, rows), fill)

        return _prefetch(make, 0, len(groups), num_threads)

    def _batch(self, source: Source, canvas, members: list[int], part, fill) -> Batch:
        first, rows = part
        samples = [self._place(source, i, canvas, fill) for i in members[first : first + rows]]
        if len(samples) < rows:
            # a host without records of its own still needs the shape of one
            pattern = samples[0] if samples else self._place(source, members[0], canvas, fill)
            samples += [_blank(pattern)] * (rows - len(samples))
        return _stack(samples)

    def view(self, shape: tuple[int, int], canvas: tuple[int, int]) -> Warp:
        """From the canvas that the network is fed to the pixels of a picture of this shape."""
        del shape
        placed = Warp.identity(canvas)
        return (placed.resized(self.stretch) if any(self.stretch) else placed).scaled(self.scale)

    def place_image(self, image: np.ndarray, canvas: tuple[int, int], fill: Fill) -> np.ndarray:
        """The picture `h w c` in its canvas, stretched and scaled: what the network is fed.

        Args:
          canvas: height and width in native pixels.
          fill: the raw value, a channel, of what lies beyond the picture.
        """
        shape = image.shape[:2]
        view = self.view(shape, canvas)
        if view.size == shape and (view.matrix == np.eye(3)).all():
            return image
        image = resample.warp_image(image, view)
        if (beyond := resample.outside(shape, view)) is not None:
            image[beyond] = _in_type_of(image, fill)
        return image

    def _place(self, source: Source, index: int, canvas, fill: Fill | None) -> Batch:
        sample = load_sample(source, index)
        shape = sample.image.shape[:2]
        placed = Warp.identity(canvas)
        image = self.place_image(sample.image, canvas, fill or zero_color(source, sample.image))
        label, weight, instances = sample.label, sample.weight, None
        if label is not None and canvas != shape:
            label = resample.warp_label(label, placed).astype(np.int32)
        if weight is not None and canvas != shape:
            weight = resample.warp_weight(weight, placed)
        if self.instances and sample.instances is not None:
            instances = resample.pack_instances(
                sample.instances, number=self.instances, mask_size=self.mask_size, size=canvas
            )
        return sample._replace(image=image, label=label, weight=weight, instances=instances)
