"""--mode=check_data: read all raw data, say what is wrong with it, and show what training sees."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from segjax import visualize_instances
from segjax.config import RunOptions
from segjax.data.check import Report, check
from segjax.data.dataset import Roots
from segjax.train.experiment import Experiment
from segjax.train.rundir import output_folder
from segjax.train.screen import Screen
from segjax.train.writers import plain
from segjax.types import IGNORE_LABEL, Batch, UserError
from segjax.visualize import contact_sheet, write_png

NUM_SAMPLES = 8
MAX_LISTED = 20


def run(experiment: Experiment, options: RunOptions) -> int:
    """Check the data of `experiment`, write check_data.json and batch.png; the exit code.

    Where the data has weights of pixels, weights.png shows those of the same samples.

    The files go into the run directory (or `--output`), which stays free for a training.

    Raises:
      UserError: data is absent or bad, naming the files; the directory cannot be written.
    """
    screen, roots = Screen(), Roots(options.raw_dir, options.data_dir)
    screen.facts({'data': f'{type(experiment.dataset).__name__}; reading every picture and mask'})
    report = check(experiment.dataset, roots)
    _say(screen, report)
    folder = output_folder(options)
    try:
        (folder / 'check_data.json').write_text(_json(report), encoding='utf-8')
        if report.problems:
            raise UserError(_complaint(report, folder))
        _draw_batch(experiment, roots, folder / 'batch.png')
    except OSError as error:
        raise UserError(
            f'{folder} cannot be written: {error.strerror or error}. Name another directory with '
            '--output=DIR.'
        ) from error
    screen.line()
    if report.left_out:
        screen.facts({'left out': _left_out(report)})
    screen.facts(
        {
            'problems': 'none',
            'pictures': f'{folder}/batch.png: {NUM_SAMPLES} augmented samples with their masks',
            'numbers': f'{folder}/check_data.json',
        }
    )
    return 0


def _say(screen: Screen, report: Report) -> None:
    """Counts, sizes, and a line a class."""
    labelled = int(report.pixels.sum())
    ignored = report.ignored / max(labelled + report.ignored, 1)
    facts = {
        'splits': ', '.join(f'{name} {count}' for name, count in report.counts.items()),
        'sizes': _sizes(report.sizes),
        'ignored': f'{100 * ignored:.1f}% of the pixels of train',
    }
    screen.facts(facts)
    screen.heading('Classes in train')
    rows = [
        (
            name,
            f'{pixels:,}',
            f'{100 * pixels / max(labelled, 1):.2f}%',
            f'{weight:.3f}' if pixels else 'does not occur',
        )
        for name, pixels, weight in zip(
            report.class_names, report.pixels.tolist(), report.weights.tolist(), strict=True
        )
    ]
    screen.table(('class', 'pixels', 'share', 'median-frequency weight'), rows)


def _sizes(sizes: dict[tuple[int, int], int]) -> str:
    """`480x360` or `12 sizes (width x height) between 300x200 and 500x500, mostly 500x375`."""
    names = [f'{width}x{height}' for height, width in sizes]
    if len(sizes) <= 1:
        return f'{names[0]} (width x height)' if names else 'no readable picture'
    heights, widths = zip(*sizes, strict=True)
    return (
        f'{len(sizes)} sizes (width x height) between {min(widths)}x{min(heights)} and '
        f'{max(widths)}x{max(heights)}, most often {names[0]}'
    )


def _json(report: Report) -> str:
    """The report with sizes as `WIDTHxHEIGHT`."""
    sizes = {f'{width}x{height}': count for (height, width), count in report.sizes.items()}
    fields = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    return json.dumps(plain({**fields, 'sizes': sizes}), indent=1, ensure_ascii=False) + '\n'


def _complaint(report: Report, folder: Path) -> str:
    listed = [f'  {file}: {text}' for file, text in report.problems[:MAX_LISTED]]
    number = len(report.problems)
    if number > MAX_LISTED:
        listed.append(f'  and {number - MAX_LISTED} more; {folder}/check_data.json names them all')
    what = 'one file is' if number == 1 else f'{number} files are'
    return '\n'.join([f'{what} not fit for training:', *listed])


def _left_out(report: Report) -> str:
    """The objects that are not learned, a line each."""
    number = len(report.left_out)
    listed = [f'{file}, {text}' for file, text in report.left_out[:MAX_LISTED]]
    more = [f'and {number - MAX_LISTED} more; check_data.json names them'] * (number > MAX_LISTED)
    return '\n'.join([f'of training, {number} objects:', *listed, *more])


def _label(sample: Batch) -> np.ndarray:
    """The label of a sample; where data has none, void."""
    if sample.label is None:
        return np.full(sample.image.shape[:2], IGNORE_LABEL)
    return sample.label


def _gray(weight: np.ndarray) -> np.ndarray:
    """Weights of pixels as a picture: the greatest is white."""
    return np.rint(255 * weight / max(weight.max(), 1e-6)).astype(np.uint8)[..., None]


def _draw_batch(experiment: Experiment, roots: Roots, path: Path) -> None:
    """The first samples of the training, exactly as it will see them, and their weights if any."""
    info = experiment.dataset.info(roots)
    source = experiment.dataset.source(experiment.train.split, roots)
    samples = [
        experiment.train.sample(source, seed=experiment.seed, number=number)
        for number in range(NUM_SAMPLES)
    ]
    if samples[0].label is None and samples[0].instances is not None:
        captions = [source.name(int(sample.image_id)) for sample in samples]
        drawn = visualize_instances.sheet(samples, captions, class_names=info.class_names)
        write_png(path, drawn)
        return
    images = {path: [sample.image for sample in samples]}
    if samples[0].weight is not None:
        images[path.with_name('weights.png')] = [_gray(sample.weight) for sample in samples]
    for file, pictures in images.items():
        sheet = contact_sheet(
            pictures,
            [_label(sample) for sample in samples],
            class_names=info.class_names,
            palette=info.palette,
            captions=[source.name(int(np.asarray(sample.image_id))) for sample in samples],
        )
        write_png(file, sheet)
