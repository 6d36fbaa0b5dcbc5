"""The rules for pictures with masks of classes: resolution, window, weights of the classes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segjax.config import RunOptions
from segjax.data.check import Report, check
from segjax.data.dataset import Roots
from segjax.data.datasets.binary_folder import BinaryFolder
from segjax.data.datasets.folder import Folder
from segjax.data.images import read_image
from segjax.data.pairs import DOUBTFUL_VALUES
from segjax.data.survey import Survey, survey
from segjax.modes.new.plan import (
    UNIT,
    Choice,
    Plan,
    choose_batch,
    choose_normalize,
    choose_transforms,
    describe_pictures,
    median_side,
    refuse_problems,
    round_up,
)
from segjax.train.experiment import Experiment

WINDOW = (96, 256)  # least and greatest side of a window
PASSES = 40  # over the training pictures
STEPS = (400, 6000)
LARGE_OBJECT = 128  # pixels; pictures of larger ones are halved
SMALL_OBJECT = 12  # pixels, to which the small ones may be shrunk
IMBALANCE = 30  # of pixels of the commonest to the rarest class; beyond it classes are weighted
MAX_WEIGHT = 10.0
MAX_SHAPES = 8  # of evaluated pictures, each of which is compiled
LARGE_PICTURE = 1536


class _Data(NamedTuple):
    """What is known of the data before anything is chosen."""

    report: Report
    look: Survey

    @property
    def pictures(self) -> int:
        return self.report.counts['train']

    @property
    def side(self) -> tuple[int, int]:
        """Median height and width of the pictures."""
        return median_side(self.report)


# --- The rules -----------------------------------------------------------------------------------


def choose_scale(data: _Data) -> tuple[float, str]:
    """Half or a quarter where objects are large: a network sees a window, not the picture."""
    small, middle, large = data.look.diameters
    if math.isnan(middle):
        return 1.0, 'no objects were found in the masks'
    scale = 1.0
    while scale > 0.25 and middle * scale > LARGE_OBJECT and small * scale / 2 >= SMALL_OBJECT:
        scale /= 2
    sizes = f'objects measure {small:.0f} to {large:.0f} pixels, most often about {middle:.0f}'
    if scale == 1:
        return scale, f'{sizes}: full resolution'
    return scale, f'{sizes}: at {scale:g} of their size they fit into a window'


def choose_crop(data: _Data, experiment: Experiment, scale: float) -> tuple[tuple[int, int], str]:
    """Three times a large object, within WINDOW; not more than a picture."""
    large = data.look.diameters[2] * scale
    wanted = 192 if math.isnan(large) else min(max(round_up(3 * large, UNIT), WINDOW[0]), WINDOW[1])
    height, width = (min(wanted, round_up(side * scale, UNIT)) for side in data.side)
    crop = experiment.model.input_size((height, width))
    why = f'about three times an object of {large:.0f} pixels, with its surroundings'
    if (height, width) != (wanted, wanted):
        why = f'most pictures are {data.side[1]}x{data.side[0]} (width x height)'
    if wanted == WINDOW[1]:
        why += f'; not above {wanted}, for the memory'
    return crop, why


def choose_steps(data: _Data, crop: tuple[int, int], batch: int, scale: float) -> tuple[int, str]:
    """PASSES over the pixels of the training pictures, within STEPS."""
    pixels = data.pictures * math.prod(data.side) * scale**2
    one_pass = max(pixels / (batch * math.prod(crop)), 1 / batch)
    steps = min(max(round_up(PASSES * one_pass, 50), STEPS[0]), STEPS[1])
    why = f'about {steps / one_pass:.0f} passes over {data.pictures} pictures; more where the '
    return steps, why + 'curve of val still rises at the end'


def choose_class_weights(data: _Data) -> tuple[tuple[float, ...], str]:
    """None, or median-frequency weights where a class is rare."""
    names, pixels = data.report.class_names, data.report.pixels
    absent = [name for name, n in zip(names, pixels, strict=True) if n == 0]
    note = f'; not one pixel in train: {", ".join(absent)}' if absent else ''
    share = pixels[pixels > 0] / max(pixels.sum(), 1)
    if not share.size or share.max() <= IMBALANCE * share.min():
        return (), f'the commonest class has less than {IMBALANCE} times the pixels of any{note}'
    weights = np.where(pixels > 0, np.clip(data.report.weights, 1 / MAX_WEIGHT, MAX_WEIGHT), 1)
    rarest = names[int(np.argmin(np.where(pixels > 0, pixels, np.inf)))]
    return (
        tuple(float(f'{w:.3g}') for w in weights),
        f'median frequency over frequency: {rarest} has {100 * share.min():.2g}% of the '
        f'pixels{note}',
    )


def choose_rounding(data: _Data) -> tuple[int, str]:
    """So that pictures of many sizes have few shapes: each is compiled once."""
    sizes = list(data.report.sizes)
    for multiple in (UNIT, 2 * UNIT, 4 * UNIT, 8 * UNIT):
        shapes = {tuple(round_up(side, multiple) for side in size) for size in sizes}
        if len(shapes) <= MAX_SHAPES:
            break
    one = 'all pictures are of one size'
    many = f'{len(sizes)} sizes of pictures become {len(shapes)} to be compiled'
    return multiple, many if len(sizes) > 1 else one


def _choices(experiment: Experiment, data: _Data) -> Iterator[Choice]:
    """All that is chosen."""
    scale, why_scale = choose_scale(data)
    crop, why_crop = choose_crop(data, experiment, scale)
    budget = experiment.train.batch_size * math.prod(experiment.train.crop)
    batch, why_batch = choose_batch(data.pictures, crop, budget)
    steps, why_steps = choose_steps(data, crop, batch, scale)
    if hasattr(experiment.task.criterion, 'class_weights'):
        yield Choice('task.criterion.class_weights', *choose_class_weights(data))
    present = experiment.dataset.normalize
    yield Choice('dataset.normalize', *choose_normalize(data.look.appearance, present))
    yield Choice('train.batch_size', batch, why_batch)
    yield Choice('train.crop', crop, why_crop)
    yield Choice('train.scale', scale, why_scale)
    if data.report.pixels.max() > 0.9 * data.report.pixels.sum():
        why = 'windows of almost nothing but the commonest class are drawn again'
        yield Choice('train.max_class_share', 0.98, why)
    yield Choice('train.transforms', *choose_transforms(experiment))
    yield Choice('eval.scale', scale, 'as in training; scores are at native resolution')
    yield Choice('eval.round_to', *choose_rounding(data))
    if max(max(size) for size in data.report.sizes) * scale > LARGE_PICTURE:
        yield Choice('eval.tile', (512, 512), 'large pictures: the memory is that of a tile')
    yield Choice('num_steps', steps, why_steps)
    yield Choice('eval_every', steps // 4, 'four evaluations')


# --- The data ------------------------------------------------------------------------------------


def _are_binary(folder: Folder, roots: Roots) -> bool:
    """Whether the first masks of train hold 0 and 255 alone, or are JPEGs."""
    for pair in folder.pairs('train', roots)[:20]:
        mask = read_image(pair.mask, channels=1)
        jpeg = pair.mask.suffix.lower() in ('.jpg', '.jpeg')  # invents values between the two
        if mask.dtype != np.uint8 or not (jpeg or np.isin(mask, (0, 255)).all()):
            return False
    return True


def _fit_dataset(dataset: Folder, roots: Roots) -> tuple[Folder, str]:
    """The data set that can read the folder, and why where it is another."""
    dataset = dataclasses.replace(dataset, folder=str(dataset.raw_folder(roots).resolve()))
    if isinstance(dataset, BinaryFolder):
        return dataset, ''
    if not (Path(dataset.folder) / 'classes.txt').is_file() and _are_binary(dataset, roots):
        fields = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(Folder)}
        why = 'no classes.txt, and masks of 0 and 255: background and one foreground'
        return BinaryFolder(**fields), why
    return dataset, ''


def _look(dataset: Folder, roots: Roots, like: str) -> tuple[Folder, str, _Data]:
    """The data set, a note on it, and what it holds. Raises UserError for what cannot be used."""
    report, why = check(dataset, roots), ''
    doubts = {text for _, text in report.problems} == {DOUBTFUL_VALUES}
    if doubts and len(report.class_names) == 2:
        dataset = dataclasses.replace(dataset, mask_values=(0, 255))
        why = 'masks of 0 and 255: with two classes 255 is the foreground'
        report = check(dataset, roots)
    refuse_problems(report, like)
    return dataset, why, _Data(report, survey(dataset, roots))


def _describe(data: _Data) -> dict[str, str]:
    """What was found, for the screen and for the file."""
    report, look = data.report, data.look
    share = 100 * report.pixels / max(report.pixels.sum(), 1)
    names = zip(report.class_names, share, strict=True)
    small, middle, large = look.diameters
    objects = f'{small:.0f}, {middle:.0f}, {large:.0f} pixels (10th, 50th, 90th percentile)'
    return {
        **describe_pictures(report, look.appearance),
        'classes': ', '.join(f'{name} {part:.3g}%' for name, part in names),
        'objects': f'{look.objects:.1f} a picture, {objects}' if middle == middle else 'none',
    }


def plan(experiment: Experiment, roots: Roots, options: RunOptions) -> Plan:
    """The experiment fitted to the folder of its data set.

    Raises:
      UserError: the folder cannot be used.
    """
    given: Any = experiment.dataset
    dataset, why_dataset = _fit_dataset(given, roots)
    dataset, why_values, data = _look(dataset, roots, options.exp)
    notes = {'dataset': why_dataset} if why_dataset else {}
    notes |= {'dataset.mask_values': why_values} if why_values else {}
    return Plan(
        dataclasses.replace(experiment, dataset=dataset),
        found=_describe(data),
        choices=[*_choices(experiment, data)],
        notes=notes,
    )
