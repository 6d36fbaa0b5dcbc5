"""What a task chooses for a folder, and the rules that all tasks share."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from segjax.data.check import Report
from segjax.data.survey import Appearance
from segjax.data.transforms import Flip, Turn
from segjax.train.experiment import Experiment
from segjax.types import UserError

UNIT = 32  # sides of windows and canvases are multiples of it, as most networks need
BATCHES = (16, 8, 4, 2)
DARK_TO_BRIGHT = 3.0  # pictures that differ more than this are normalised one by one


class Choice(NamedTuple):
    """A field's value, and why."""

    path: str
    value: Any
    why: str


class Plan(NamedTuple):
    """What the file will say.

    Attributes:
      experiment: with the data set that reads the folder, before the choices.
      found: what the data is like, by subject.
      choices: the fields that are fitted.
      notes: comments on further fields, by their dotted paths.
      other: (what it does, command) of other ways to train, for the docstring.
    """

    experiment: Experiment
    found: dict[str, str]
    choices: list[Choice]
    notes: dict[str, str]
    other: tuple[tuple[str, str], ...] = ()


def round_up(value: float, multiple: int) -> int:
    """The next multiple that is not less."""
    return math.ceil(value / multiple) * multiple


def median_side(report: Report) -> tuple[int, int]:
    """Median height and width of the pictures."""
    sides = np.repeat(list(report.sizes), list(report.sizes.values()), axis=0)
    height, width = np.median(sides, axis=0)
    return int(height), int(width)


def choose_normalize(appearance: Appearance, present: str) -> tuple[str, str]:
    """'zscore' for anything but 8 bits and for brightness that varies, else what is there."""
    kinds, spread = appearance.kinds, appearance.spread
    if kinds != ('uint8',):
        return 'zscore', f'{" and ".join(kinds)} pictures, each normalised by itself'
    if spread > DARK_TO_BRIGHT:
        return 'zscore', f'bright pictures are {spread:.0f} times as bright as dark ones'
    return present, '8 bits, of similar brightness'


def choose_batch(pictures: int, crop: tuple[int, int], budget: int) -> tuple[int, str]:
    """As many windows as have `budget` pixels together, of `pictures` at the most."""
    fitting = [n for n in BATCHES if n * math.prod(crop) <= budget and n <= pictures]
    batch = fitting[0] if fitting else BATCHES[-1]
    return batch, f'{batch * math.prod(crop) / 1e6:.2f} million pixels a step'


def choose_transforms(experiment: Experiment) -> tuple[tuple[Any, ...], str]:
    """Those that are there: a folder does not say whether it has an up and a down."""
    transforms = experiment.train.transforms
    if any(isinstance(t, Turn) or t == Flip('vertical') for t in transforms):
        return transforms, "take Turn() and Flip('vertical') out where there is an up and a down"
    return transforms, "add Turn() and Flip('vertical') where there is no up and no down"


def describe_pictures(report: Report, appearance: Appearance) -> dict[str, str]:
    """Number, sizes and kind of the pictures, for the screen and for the file."""
    kind = 'colour' if appearance.coloured > 0.5 else 'gray'
    ground = appearance.ground
    light = '' if math.isnan(ground) else ', dark' if ground < 0.25 else ', light'
    height, width = median_side(report)
    return {
        'pictures': ', '.join(f'{split} {number}' for split, number in report.counts.items()),
        'sizes': f'{len(report.sizes)} of them, the median {width}x{height} (width x height)',
        'kind': f'{kind}{light}, {" and ".join(appearance.kinds)}',
    }


def refuse_problems(report: Report, like: str) -> None:
    """Raises UserError where files are not fit for training."""
    if report.problems:
        file, text = report.problems[0]
        raise UserError(
            f'{len(report.problems)} files are not fit for training, the first {file}: {text} '
            f'Mend or remove them; --mode=check_data --exp={like} lists all.'
        )
