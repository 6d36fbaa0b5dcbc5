"""--mode=new: looks at a folder of pictures and masks, and writes an experiment that fits it.

    python launch.py --mode=new --folder=PATH [--like=unet_folder] [--name=NAME]

The experiment is that of --like with another crop, batch, normalisation, weights of the classes and
length of training, each with a comment why. The rules are this file's functions, one a field.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segjax import config
from segjax.config import RunOptions
from segjax.data.check import Report, check
from segjax.data.dataset import Roots
from segjax.data.datasets.binary_folder import BinaryFolder
from segjax.data.datasets.folder import Folder
from segjax.data.images import read_image
from segjax.data.pairs import DOUBTFUL_VALUES
from segjax.data.survey import Survey, survey
from segjax.data.transforms import Flip, Turn
from segjax.files import write_whole
from segjax.train.experiment import Experiment
from segjax.train.screen import Screen
from segjax.train.source_code import experiment_source
from segjax.types import UserError

UNIT = 32  # sides of windows are multiples of it, as most networks need
WINDOW = (96, 256)  # least and greatest side of a window
BATCHES = (16, 8, 4, 2)
PASSES = 40  # over the training pictures
STEPS = (400, 6000)
LARGE_OBJECT = 128  # pixels; pictures of larger ones are halved
SMALL_OBJECT = 12  # pixels, to which the small ones may be shrunk
IMBALANCE = 30  # of pixels of the commonest to the rarest class; beyond it classes are weighted
MAX_WEIGHT = 10.0
MAX_SHAPES = 8  # of evaluated pictures, each of which is compiled
LARGE_PICTURE = 1536
DARK_TO_BRIGHT = 3.0  # pictures that differ more than this are normalised one by one


class Choice(NamedTuple):
    """A field's value, and why."""

    path: str
    value: Any
    why: str


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
        sides = np.repeat(list(self.report.sizes), list(self.report.sizes.values()), axis=0)
        height, width = np.median(sides, axis=0)
        return int(height), int(width)


def _up(value: float, multiple: int) -> int:
    return math.ceil(value / multiple) * multiple


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
    wanted = 192 if math.isnan(large) else min(max(_up(3 * large, UNIT), WINDOW[0]), WINDOW[1])
    height, width = (min(wanted, _up(side * scale, UNIT)) for side in data.side)
    crop = experiment.model.input_size((height, width))
    why = f'about three times an object of {large:.0f} pixels, with its surroundings'
    if (height, width) != (wanted, wanted):
        why = f'most pictures are {data.side[1]}x{data.side[0]} (width x height)'
    if wanted == WINDOW[1]:
        why += f'; not above {wanted}, for the memory'
    return crop, why


def choose_batch(data: _Data, experiment: Experiment, crop: tuple[int, int]) -> tuple[int, str]:
    """As many pixels in a batch as the experiment has that this one is like."""
    budget = experiment.train.batch_size * math.prod(experiment.train.crop)
    fitting = [n for n in BATCHES if n * math.prod(crop) <= budget and n <= data.pictures]
    batch = fitting[0] if fitting else BATCHES[-1]
    return batch, f'{batch * math.prod(crop) / 1e6:.2f} million pixels a step'


def choose_steps(data: _Data, crop: tuple[int, int], batch: int, scale: float) -> tuple[int, str]:
    """PASSES over the pixels of the training pictures, within STEPS."""
    pixels = data.pictures * math.prod(data.side) * scale**2
    one_pass = max(pixels / (batch * math.prod(crop)), 1 / batch)
    steps = min(max(_up(PASSES * one_pass, 50), STEPS[0]), STEPS[1])
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


def choose_normalize(data: _Data, experiment: Experiment) -> tuple[str, str]:
    """'zscore' for anything but 8 bits and for brightness that varies, else what is there."""
    kinds, spread = data.look.kinds, data.look.spread
    if kinds != ('uint8',):
        return 'zscore', f'{" and ".join(kinds)} pictures, each normalised by itself'
    if spread > DARK_TO_BRIGHT:
        return 'zscore', f'bright pictures are {spread:.0f} times as bright as dark ones'
    return experiment.dataset.normalize, '8 bits, of similar brightness'


def choose_rounding(data: _Data) -> tuple[int, str]:
    """So that pictures of many sizes have few shapes: each is compiled once."""
    sizes = list(data.report.sizes)
    for multiple in (UNIT, 2 * UNIT, 4 * UNIT, 8 * UNIT):
        shapes = {tuple(_up(side, multiple) for side in size) for size in sizes}
        if len(shapes) <= MAX_SHAPES:
            break
    one = 'all pictures are of one size'
    many = f'{len(sizes)} sizes of pictures become {len(shapes)} to be compiled'
    return multiple, many if len(sizes) > 1 else one


def choose_transforms(experiment: Experiment) -> tuple[tuple[Any, ...], str]:
    """Those that are there: a folder does not say whether it has an up and a down."""
    transforms = experiment.train.transforms
    if any(isinstance(t, Turn) or t == Flip('vertical') for t in transforms):
        return transforms, "take Turn() and Flip('vertical') out where there is an up and a down"
    return transforms, "add Turn() and Flip('vertical') where there is no up and no down"


def _choices(experiment: Experiment, data: _Data) -> Iterator[Choice]:
    """All that is chosen."""
    scale, why_scale = choose_scale(data)
    crop, why_crop = choose_crop(data, experiment, scale)
    batch, why_batch = choose_batch(data, experiment, crop)
    steps, why_steps = choose_steps(data, crop, batch, scale)
    if hasattr(experiment.task.criterion, 'class_weights'):
        yield Choice('task.criterion.class_weights', *choose_class_weights(data))
    yield Choice('dataset.normalize', *choose_normalize(data, experiment))
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


def _fit_dataset(dataset: Any, roots: Roots) -> tuple[Folder, str]:
    """The data set that can read the folder, and why where it is another."""
    if not isinstance(dataset, Folder):
        raise UserError(
            f'--like: reads {type(dataset).__name__}, not a folder of your own. Take '
            'unet_folder, unetpp_folder, fcn8s_folder or deeplabv3plus_folder.'
        )
    dataset.require(roots)
    dataset = dataclasses.replace(dataset, folder=str(dataset.raw_folder(roots).resolve()))
    if isinstance(dataset, BinaryFolder):
        return dataset, ''
    if not (Path(dataset.folder) / 'classes.txt').is_file() and _are_binary(dataset, roots):
        fields = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(Folder)}
        why = 'no classes.txt, and masks of 0 and 255: background and one foreground'
        return BinaryFolder(**fields), why
    return dataset, ''


def _look(dataset: Folder, roots: Roots) -> tuple[Folder, str, _Data]:
    """The data set, a note on it, and what it holds. Raises UserError for what cannot be used."""
    report, why = check(dataset, roots), ''
    doubts = {text for _, text in report.problems} == {DOUBTFUL_VALUES}
    if doubts and len(report.class_names) == 2:
        dataset = dataclasses.replace(dataset, mask_values=(0, 255))
        why = 'masks of 0 and 255: with two classes 255 is the foreground'
        report = check(dataset, roots)
    if report.problems:
        file, text = report.problems[0]
        raise UserError(
            f'{len(report.problems)} files are not fit for training, the first {file}: {text} '
            'Mend or remove them; --mode=check_data --exp=unet_folder lists all.'
        )
    return dataset, why, _Data(report, survey(dataset, roots))


def _describe(data: _Data) -> dict[str, str]:
    """What was found, for the screen and for the file."""
    report, look = data.report, data.look
    share = 100 * report.pixels / max(report.pixels.sum(), 1)
    names = zip(report.class_names, share, strict=True)
    balance = ', '.join(f'{name} {part:.3g}%' for name, part in names)
    kind = 'colour' if look.coloured > 0.5 else 'gray'
    ground = '' if math.isnan(look.ground) else ', dark' if look.ground < 0.25 else ', light'
    small, middle, large = look.diameters
    height, width = data.side
    objects = f'{small:.0f}, {middle:.0f}, {large:.0f} pixels (10th, 50th, 90th percentile)'
    return {
        'pictures': ', '.join(f'{split} {number}' for split, number in report.counts.items()),
        'sizes': f'{len(report.sizes)} of them, the median {width}x{height} (width x height)',
        'kind': f'{kind}{ground}, {" and ".join(look.kinds)}',
        'classes': balance,
        'objects': f'{look.objects:.1f} a picture, {objects}' if middle == middle else 'none',
    }


# --- The file ------------------------------------------------------------------------------------


def _target(data: Folder, options: RunOptions) -> Path:
    """The file to write; UserError when the name is none or taken."""
    beside = sys.modules[f'experiments.{options.exp}'].__file__
    folder = Path(options.output) if options.output else Path(str(beside)).parent
    name = options.name
    if not name:
        name = re.sub(r'\W+', '_', Path(data.folder).name.lower()).strip('_')
    if not re.fullmatch(r'[a-z][a-z0-9_]*', name):
        raise UserError(f'--name={name}: small letters, digits and _, beginning with a letter.')
    if (folder / f'{name}.py').exists():
        raise UserError(f'{folder / f"{name}.py"} is there already; give another --name=NAME.')
    return folder / f'{name}.py'


def _text(name: str, model: str, data: Folder, found: dict[str, str], like: str) -> str:
    """The docstring of the file."""
    width = max(map(len, found)) + 2
    facts = [
        textwrap.fill(
            f'{key:<{width}}{value}',
            100,
            initial_indent='    ',
            subsequent_indent=' ' * (width + 4),
        )
        for key, value in found.items()
    ]
    folds = '\nFew pictures: --folds=5 --mode=sweep trains and scores five divisions of them.\n'
    few = folds if int(found['pictures'].split()[1].strip(',')) < 30 else ''
    return (
        f'{model} on the pictures of {Path(data.folder).name}/; begun by --mode=new '
        f'like {like}.\n\n'
        f'    python launch.py --exp={name} --mode=check_data\n'
        f'    python launch.py --exp={name}\n\n'
        'What was found:\n\n' + '\n'.join(facts) + '\n' + few
    )


def run(experiment: Experiment, options: RunOptions) -> int:
    """Look at the data, write the file, say what was chosen and what comes next; the exit code.

    Raises:
      UserError: the folder cannot be used, or the file is there already.
    """
    screen, roots = Screen(), Roots(options.raw_dir, options.data_dir)
    dataset, why_dataset = _fit_dataset(experiment.dataset, roots)
    target = _target(dataset, options)
    screen.facts({'data': f'{dataset.folder}; reading every picture and mask'})
    dataset, why_values, data = _look(dataset, roots)
    found = _describe(data)
    screen.facts(found)
    choices = [*_choices(experiment, data)]
    chosen = config.replace(
        dataclasses.replace(experiment, dataset=dataset), {c.path: c.value for c in choices}
    )
    notes = {c.path: c.why for c in choices}
    notes |= {'dataset': why_dataset} if why_dataset else {}
    notes |= {'dataset.mask_values': why_values} if why_values else {}
    source = experiment_source(
        chosen,
        text=_text(target.stem, type(chosen.model).__name__, dataset, found, options.exp),
        summary=f'Like {options.exp}, fitted to the data by --mode=new; yours to change.',
        notes=notes,
    )
    try:
        write_whole(target, source.encode())
    except OSError as error:
        raise UserError(f'{target} cannot be written: {error.strerror}; see --output.') from error
    screen.heading('Chosen')
    screen.facts({c.path: f'{config.show(c.value) or "none"}: {c.why}' for c in choices})
    screen.line()
    name = target.stem
    screen.facts(
        {
            'written to': str(target),
            'next': f'python launch.py --exp={name} --mode=check_data   look at what it will see\n'
            f'python launch.py --exp={name}                     train',
        }
    )
    return 0
