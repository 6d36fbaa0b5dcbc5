"""The size at which a detector sees the pictures of a folder, and the canvases that hold them.

Whole pictures are best, as objects are seen with their surroundings; but small objects need
resolution, for which a picture is seen in windows. Sides of objects are the geometric mean of
height and width of their boxes, as those of anchors are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from segjax.data.check import Report
from segjax.data.detection import DetectionEval, Size, choose_canvas
from segjax.data.survey import Appearance, Objects
from segjax.modes.new.plan import UNIT, round_up

ENLARGE = 2.0  # for small objects, at the most
LONGEST = 1536  # side of a canvas that is evaluated, for the memory
SHARE_WHOLE = 95  # percent of the pictures that canvases of training hold as a whole
EVAL_CANVASES = 3
WORTH_A_CANVAS = 0.8  # of the pixels that a further canvas in training must not exceed


class Begin(NamedTuple):
    """What depends on whether trained weights are loaded.

    Attributes:
      side: greatest side of a canvas in training.
      enlarge: pictures may be enlarged so much to fill it.
      budget: pixels of a batch.
      proposals: that leave the RPN, at least.
      least: pixels that small objects need, the side of a cell of p2 being 4.
      passes, steps: over the training pictures, and the least and greatest number of steps.
      layouts: canvases in training at the most, each of which is compiled.
    """

    side: int
    enlarge: float
    budget: int
    proposals: int
    layouts: int
    least: int
    passes: int
    steps: tuple[int, int]


FROM_WEIGHTS = Begin(
    side=512,
    enlarge=2.0,
    budget=2 * 512 * 512,
    proposals=1000,
    layouts=2,
    least=16,
    passes=20,
    steps=(500, 8000),
)
FROM_SCRATCH = Begin(
    side=256,
    enlarge=1.0,
    budget=8 * 256 * 256,  # eight pictures, as batches are normalised
    proposals=400,
    layouts=1,
    least=8,
    passes=60,
    steps=(600, 3000),
)


class Data(NamedTuple):
    """What is known of the data before anything is chosen."""

    report: Report
    appearance: Appearance
    train: Objects
    val: Objects

    @property
    def sides(self) -> np.ndarray:
        """`o`, of the objects of train in pixels of their pictures."""
        return np.sqrt(self.train.boxes.prod(axis=1))

    @property
    def median_sides(self) -> tuple[float, float]:
        """Median length of the shorter and of the longer sides of all pictures."""
        sizes = list(self.report.sizes)
        sides = np.repeat(np.sort(sizes, axis=1), list(self.report.sizes.values()), axis=0)
        short, long = np.median(sides, axis=0)
        return float(short), float(long)

    @property
    def most(self) -> int:
        """Objects of the fullest picture."""
        return int(max(self.train.counts.max(), self.val.counts.max(initial=0)))


class View(NamedTuple):
    """The data at the size at which the network sees it.

    Attributes:
      short, long: sides of the pictures; short 0 leaves them as they are.
      sizes: `n 2` of the pictures of train.
      sides: `o` of their objects.
      why: of the scale.
    """

    short: int
    long: int
    sizes: np.ndarray
    sides: np.ndarray
    why: str


def _scale(data: Data, begin: Begin) -> tuple[float, str]:
    """Of the median picture: it fills a canvas, but small objects keep `begin.least` pixels."""
    small, middle, large = np.percentile(data.sides, (10, 50, 90))
    longest = data.median_sides[1]
    whole = min(begin.side / longest, begin.enlarge)
    needed = min(begin.least / small, ENLARGE, begin.side / large)
    scale = min(max(whole, needed), LONGEST / longest)
    objects = f'objects of {small:.0f} to {large:.0f} pixels, most often about {middle:.0f}'
    if scale * small < begin.least / 2:
        return scale, (
            f'{objects}: small ones have but {scale * small:.0f} pixels here and will be missed; '
            'cut the pictures into parts beforehand'
        )
    if needed > whole:
        return scale, f'{objects}: small ones want resolution'
    return scale, f'{objects}: large enough where whole pictures are seen'


def choose_view(data: Data, begin: Begin) -> View:
    """Sides to which pictures are resized; none where they are about right."""
    scale, why = _scale(data, begin)
    shorter, longer = data.median_sides
    short, long = 0, LONGEST
    if not 0.9 < scale < 1.1:
        sides = np.array(list(data.report.sizes))
        elongation = np.percentile(sides.max(axis=1) / sides.min(axis=1), 90)
        short = max(round(scale * shorter / UNIT) * UNIT, 2 * UNIT)
        long = min(round_up(short * elongation, UNIT), LONGEST)
        why += f'; pictures of {longer:.0f}x{shorter:.0f} are scaled by {scale:.2f}'
    seen = DetectionEval(short=short, long=long)
    sizes = np.array([seen.fitted((int(h), int(w))) for h, w in data.train.sizes])
    factors = (sizes / data.train.sizes).mean(axis=1)
    return View(short, long, sizes, data.sides * factors[data.train.picture], why)


def group_canvases(sizes: Mapping[Size, int], most: int) -> list[Size]:
    """At most so many canvases that together hold all pictures with little padding.

    Begins with a canvas for each size and joins, again and again, the two that cost fewest pixels.

    Args:
      sizes: the number of pictures of each size.

    Returns:
      The canvases, that of most pictures first.
    """
    unit, canvases = UNIT, Counter()
    while not canvases or len(canvases) > 40:  # pairs are tried in turn
        canvases = Counter()
        for (h, w), number in sizes.items():
            canvases[round_up(h, unit), round_up(w, unit)] += number
        unit *= 2

    def join(a: Size, b: Size) -> Size:
        return max(a[0], b[0]), max(a[1], b[1])

    def cost(a: Size, b: Size) -> int:
        joined = math.prod(join(a, b))
        return sum(canvases[c] * (joined - math.prod(c)) for c in (a, b))

    while len(canvases) > most:
        _, a, b = min((cost(a, b), a, b) for a in canvases for b in canvases if a < b)
        number = canvases.pop(a) + canvases.pop(b)
        canvases[join(a, b)] += number
    return [canvas for canvas, _ in canvases.most_common()]


def _pixels(sizes: Mapping[Size, int], canvases: list[Size]) -> int:
    """Of all pictures with their padding."""
    return sum(n * math.prod(choose_canvas(size, canvases)) for size, n in sizes.items())


def choose_canvases(view: View, begin: Begin) -> tuple[list[Size], str]:
    """Those of training: whole pictures, or windows where they are larger than `begin.side`."""
    limits = [
        min(begin.side, round_up(float(np.percentile(axis, SHARE_WHOLE)), UNIT))
        for axis in view.sizes.T
    ]
    shown = Counter((min(int(h), limits[0]), min(int(w), limits[1])) for h, w in view.sizes)
    one, several = (group_canvases(shown, most) for most in (1, begin.layouts))
    canvases = several if _pixels(shown, several) < WORTH_A_CANVAS * _pixels(shown, one) else one
    holds = np.array([(view.sizes <= canvas).all(axis=1) for canvas in canvases]).any(axis=0)
    share = 100 * holds.mean()
    if share < 50:
        return canvases, f'windows; only {share:.0f}% of the pictures fit as a whole'
    return canvases, f'{share:.0f}% of the pictures fit as a whole, of the others a part by chance'


def choose_eval_canvases(data: Data, view: View) -> tuple[list[Size], str]:
    """Few canvases that hold every picture: each is compiled."""
    seen = DetectionEval(short=view.short, long=view.long)
    sizes: Counter[Size] = Counter()
    for size, number in data.report.sizes.items():
        sizes[seen.fitted(size)] += number
    canvases = group_canvases(sizes, EVAL_CANVASES)
    few = 'all pictures are of one size' if len(sizes) == 1 else f'for {len(sizes)} sizes'
    return canvases, f'{few}; each canvas is compiled'
