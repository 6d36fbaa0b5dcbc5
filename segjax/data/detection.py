"""Pictures with objects as detectors are fed: resized by their sides, on few canvases.

A canvas holds a picture in its upper left corner and padding. Every batch has one canvas shape, so
pictures of one orientation come together: which ones is a plan for each epoch that depends on
nothing but the seed and the sizes of the pictures.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from segjax.data import resample
from segjax.data.dataset import Source
from segjax.data.pipeline import (
    EvalPipeline,
    Fill,
    TrainPipeline,
    load_readable,
    load_sample,
    zero_color,
)
from segjax.data.resample import Warp
from segjax.types import Batch, UserError, check_ranges

Size = tuple[int, int]  # height and width
Rounding = Literal['down', 'nearest']

_PLAN, _SAMPLE = 2, 3  # streams of random numbers of one seed; the pipeline's own are 0 and 1


def fitted(size: Size, short: int, long: int, rounding: Rounding) -> Size:
    """A picture's size once its shorter side is `short`, or its longer side `long` if that is less.

    Args:
      rounding: 'down' as torchvision (640 x 480 to 1066 x 800), 'nearest' as detectron2 (1067).
    """
    scale = min(short / min(size), long / max(size))
    cut = math.floor if rounding == 'down' else lambda side: int(side + 0.5)
    h, w = (max(cut(side * scale), 1) for side in size)
    return h, w


def choose_canvas(size: Size, canvases: Sequence[Size]) -> Size:
    """The smallest canvas that holds a picture; where none does, the one that shows most of it."""
    holds = [c for c in canvases if c[0] >= size[0] and c[1] >= size[1]]
    if holds:
        return min(holds, key=math.prod)
    return max(canvases, key=lambda c: min(c[0], size[0]) * min(c[1], size[1]))


@dataclasses.dataclass(frozen=True)
class DetectionTrain(TrainPipeline):
    """Shuffled, augmented pictures with their objects.

    A picture is resized, augmented (`ScaleJitter(0.1, 2.0)` is the large-scale jitter of Ghiasi et
    al., "Simple Copy-Paste", CVPR 2021) and shown by a window of its canvas: all of it where it
    fits, else a part by chance. Pictures without objects remain.

    Attributes:
      short: lengths of the shorter side, one of which is drawn for each picture; empty leaves the
        picture as it is.
      long: most pixels of the longer side, for which the shorter one gives way.
      rounding: of the new size, see `fitted`.
      canvases: further canvases beside `crop`, as (800, 1344) and (1344, 800); each picture goes to
        the smallest that holds it at the largest of `short`, and each batch is of one canvas. In an
        epoch every picture is seen once, and a few again that fill up the last batch of a canvas.
    """

    instances: int = 100
    short: tuple[int, ...] = ()
    long: int = 1333
    rounding: Rounding = 'down'
    canvases: tuple[Size, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        positive = (1, math.inf)
        check_ranges(self, instances=positive, short=positive, long=positive, canvases=positive)
        if self.balance and self.canvases:
            raise UserError(
                f'--balance={self.balance}: needs a single canvas, no --train.canvases.'
            )

    def sample(self, source: Source, *, seed: int, number: int, fill: Fill | None = None) -> Batch:
        """Sample `number` of a run: record, canvas, augmentation follow from (seed, number)."""
        if not self.canvases:
            return super().sample(source, seed=seed, number=number, fill=fill)
        length = _plan_length(self, source)
        epoch, place = divmod(number // self.batch_size, length)
        canvas, records = _plan(self, source, seed, epoch)[place]
        rng = np.random.default_rng((seed, _SAMPLE, number))
        loaded = load_readable(source, records[number % self.batch_size])
        return dataclasses.replace(self, crop=canvas)._augment(loaded, source, rng, fill)

    def _augment(
        self, sample: Batch, source: Source, rng: np.random.Generator, fill: Fill | None
    ) -> Batch:
        if sample.instances is None:
            raise UserError(f'{type(source).__name__}: the data does not know its objects apart.')
        sample = sample._replace(label=None, weight=None)  # nothing here asks for them
        return super()._augment(sample, source, rng, fill)

    def _resize(self, warp: Warp, rng: np.random.Generator) -> Warp:
        if self.short:
            short = self.short[rng.integers(len(self.short))]
            warp = warp.resized(fitted(warp.size, short, self.long, self.rounding))
        return warp

    def empty_batch(self, channels: int) -> Batch:
        """A batch of the shapes that training sees, on the first canvas."""
        return super().empty_batch(channels)._replace(label=None)


@functools.lru_cache(maxsize=4)
def _members(pipeline: DetectionTrain, source: Source) -> dict[Size, list[int]]:
    """{canvas: its records}, in the order in which the canvases first appear."""
    canvases = (pipeline.crop, *pipeline.canvases)
    found: dict[Size, list[int]] = {}
    for index in range(len(source)):
        size = source.size(index)
        if pipeline.short:
            size = fitted(size, max(pipeline.short), pipeline.long, pipeline.rounding)
        found.setdefault(choose_canvas(size, canvases), []).append(index)
    return found


def _plan_length(pipeline: DetectionTrain, source: Source) -> int:
    """Batches of an epoch."""
    members = _members(pipeline, source).values()
    return sum(-(-len(records) // pipeline.batch_size) for records in members)


@functools.lru_cache(maxsize=4)
def _plan(
    pipeline: DetectionTrain, source: Source, seed: int, epoch: int
) -> list[tuple[Size, list[int]]]:
    """(canvas, records) of each batch of an epoch, shuffled."""
    rng, rows = np.random.default_rng((seed, _PLAN, epoch)), pipeline.batch_size
    batches = []
    for canvas, records in _members(pipeline, source).items():
        order = rng.permutation(records)
        number = -(-len(order) // rows)
        full = np.resize(order, (number, rows))  # the last one begins anew
        batches += [(canvas, row) for row in full.tolist()]
    return [batches[i] for i in rng.permutation(len(batches))]


@dataclasses.dataclass(frozen=True)
class DetectionEval(EvalPipeline):
    """Whole pictures, each once; `Batch.size` is a picture's own part of its canvas.

    Detections are scored in the pixels of the original pictures.

    Attributes:
      short: length of the shorter side; 0: its own.
      long: most pixels of the longer side, for which the shorter one gives way.
      rounding: of the new size, see `fitted`.
      canvases: a picture goes to the smallest that holds it. Empty, or where none does: to its own
        size, rounded up to `round_to`; larger numbers mean fewer shapes, so fewer compilations.
      max_dets: detections of a picture that count in COCO's scores, in rising order; the last holds
        for the average precision.
    """

    round_to: int = 32
    instances: int = 100
    short: int = 0
    long: int = 1333
    rounding: Rounding = 'down'
    canvases: tuple[Size, ...] = ()
    max_dets: tuple[int, ...] = (1, 10, 100)

    def __post_init__(self):
        super().__post_init__()
        positive = (1, math.inf)
        check_ranges(self, instances=positive, long=positive, canvases=positive)
        check_ranges(self, short=(0, math.inf), round_to=positive)
        given = self.max_dets
        if not given or min(given) < 1 or list(given) != sorted(set(given)):
            shown = ','.join(map(str, given))
            raise UserError(f'--max_dets={shown}: rising numbers from 1, as 1,10,100.')
        if any(self.tile) or any(self.stretch) or self.orientations > 1 or self.scale != 1:
            raise UserError(
                '--tile, --stretch, --scale and --orientations are for class maps; detectors are '
                'given whole pictures, resized by --eval.short and --eval.long.'
            )

    def fitted(self, size: Size) -> Size:
        """The size at which the network sees a picture of this size."""
        return fitted(size, self.short or min(size), self.long, self.rounding)

    def canvas(self, size: Size) -> Size:
        """Height and width of the canvas for a picture of this size."""
        h, w = seen = self.fitted(size)
        if any(c[0] >= h and c[1] >= w for c in self.canvases):
            return choose_canvas(seen, self.canvases)
        return super().canvas(seen)

    def view(self, shape: Size, canvas: Size) -> Warp:
        """From the canvas to the pixels of a picture of this shape."""
        return Warp.identity(shape).resized(self.fitted(shape)).cropped(0, 0, canvas)

    def _place(self, source: Source, index: int, canvas: Size, fill: Fill | None) -> Batch:
        sample = load_sample(source, index)
        shape = sample.image.shape[:2]
        image = self.place_image(sample.image, canvas, fill or zero_color(source, sample.image))
        instances = sample.instances
        if instances is not None:
            instances = resample.pack_instances(
                resample.warp_instances(instances, self.view(shape, canvas)),
                number=self.instances,
                mask_size=self.mask_size,
                size=canvas,
            )
        size = np.array(self.fitted(shape), np.int32)
        return sample._replace(image=image, label=None, weight=None, instances=instances, size=size)
