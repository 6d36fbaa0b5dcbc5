"""The table of an ablation: from a row a seed, arm, level and image to a line an arm and level.

The control is the first arm's whole network. All others are compared with it, on the same images
and with the same seeds; the tests of a table are one family.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from segjax.metrics import statistics
from segjax.metrics.statistics import Interval
from segjax.types import UserError

Row = dict[str, Any]


class Comparison(NamedTuple):
    """With the control, by IoU."""

    difference: Interval
    p: float  # Wilcoxon's, adjusted by Holm
    detectable: float
    verdict: str  # statistics.verdict; 'one seed' where there is only one


class Line(NamedTuple):
    """An arm at a level."""

    arm: str
    level: str
    seeds: tuple[int, ...]
    images: int
    iou: np.ndarray  # s n
    interval: Interval  # of the IoU
    dice: np.ndarray  # s n
    cost: Row  # of measure.cost
    comparison: Comparison | None  # none of the control


def scores(rows: Sequence[Row], metric: str) -> dict[tuple[str, str], dict[int, dict[str, float]]]:
    """(arm, level) -> seed -> image -> score, in the order of the rows."""
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for row in rows:
        seeds = found.setdefault((row['arm'], row['level']), {})
        seeds.setdefault(row['seed'], {})[row['image']] = row[metric]
    return found


def _matrix(by_seed: dict[int, dict[str, float]], seeds: Sequence[int]) -> np.ndarray:
    """The scores `s n`, images by name."""
    images = sorted(by_seed[seeds[0]])
    if any(sorted(by_seed[seed]) != images for seed in seeds):
        raise UserError('the trainings of a sweep were scored on other images; --fresh starts anew')
    return np.array([[by_seed[seed][image] for image in images] for seed in seeds])


def _comparison(own: dict, control: dict) -> tuple[np.ndarray, float]:
    """Differences `s n` of the seeds that both have, and Wilcoxon's p of the images' means."""
    seeds = sorted(own.keys() & control.keys())
    if not seeds:
        raise UserError('an arm has no seed in common with the control, the first arm')
    differences = _matrix(own, seeds) - _matrix(control, seeds)
    return differences, statistics.wilcoxon_p(differences.mean(axis=0))


def summarise(rows: Sequence[Row], costs: Sequence[Row], control: tuple[str, str]) -> list[Line]:
    """A line for each arm and level, in the order of the rows.

    Args:
      control: its arm and level.

    Raises:
      UserError: arms cannot be compared: they have no seed in common, or were scored on other
        images.
    """
    iou, dice = scores(rows, 'iou'), scores(rows, 'dice')
    cost = {(row['arm'], row['level']): row for row in costs}
    others = [key for key in iou if key != control]
    compared = [_comparison(iou[key], iou[control]) for key in others]
    adjusted = statistics.holm([p for _, p in compared])
    comparisons = {}
    for key, (differences, _), p in zip(others, compared, adjusted, strict=True):
        interval = statistics.bootstrap_interval(differences)
        comparisons[key] = Comparison(
            interval,
            p,
            statistics.detectable_effect(differences),
            statistics.verdict(interval, p) if len(differences) > 1 else 'one seed',
        )
    lines = []
    for key, by_seed in iou.items():
        seeds = sorted(by_seed)
        own = _matrix(by_seed, seeds)
        lines.append(
            Line(
                *key,
                seeds=tuple(seeds),
                images=own.shape[1],
                iou=own,
                interval=statistics.bootstrap_interval(own),
                dice=_matrix(dice[key], seeds),
                cost=cost[key],
                comparison=comparisons.get(key),
            )
        )
    return lines


# --- As text -------------------------------------------------------------------------------------

COLUMNS = (
    *('arm', 'level', 'seeds', 'images', 'params', 'gmac', 'latency_p50_ms', 'latency_p95_ms'),
    *('memory_mb', 'iou', 'iou_sd', 'iou_low', 'iou_high', 'dice', 'dice_sd', 'difference'),
    *('difference_low', 'difference_high', 'p_holm', 'detectable', 'verdict'),
)


def values(line: Line) -> Row:
    """The columns of table.csv; None where there is nothing to say."""
    cost, compared = line.cost, line.comparison
    found = {
        'arm': line.arm,
        'level': line.level,
        'seeds': len(line.seeds),
        'images': line.images,
        'params': cost['params'],
        'gmac': cost['macs'] / 1e9,
        'latency_p50_ms': 1e3 * cost['latency_p50_s'],
        'latency_p95_ms': 1e3 * cost['latency_p95_s'],
        'memory_mb': cost['memory_bytes'] / 1e6,
        'iou': line.interval.mean,
        'iou_sd': statistics.deviation(line.iou),
        'iou_low': line.interval.low,
        'iou_high': line.interval.high,
        'dice': float(line.dice.mean()),
        'dice_sd': statistics.deviation(line.dice),
        'verdict': 'control',
    }
    if compared:
        found |= {
            'difference': compared.difference.mean,
            'difference_low': compared.difference.low,
            'difference_high': compared.difference.high,
            'p_holm': compared.p,
            'detectable': compared.detectable,
            'verdict': compared.verdict,
        }
    nothing = lambda value: value is None or (isinstance(value, float) and math.isnan(value))
    return {name: None if nothing(value := found.get(name)) else value for name in COLUMNS}


def csv_text(lines: Sequence[Line]) -> str:
    """table.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(values(line) for line in lines)
    return text.getvalue()


def _p(value: float) -> str:
    return '<.001' if value < 0.001 else f'{value:.3f}'


def _cells(line: Line) -> list[str]:
    """The cells of table.md."""
    row, several = values(line), len(line.seeds) > 1
    score = lambda name, form='.3f': '-' if row[name] is None else format(row[name], form)
    spread = lambda name: score(name) + (f' ± {row[f"{name}_sd"]:.3f}' if several else '')
    between = lambda name, form: f'{score(f"{name}_low", form)} to {score(f"{name}_high", form)}'
    cells = [row['arm'], row['level'], f'{row["params"]:,}', f'{row["gmac"]:.3g}']
    cells += [f'{row["latency_p50_ms"]:.1f} / {row["latency_p95_ms"]:.1f}']
    cells += [f'{row["memory_mb"]:.0f}', spread('iou'), between('iou', '.3f'), spread('dice')]
    if line.comparison is None:
        return [*cells, '-', '-', '-', 'control']
    difference = f'{score("difference", "+.3f")} ({between("difference", "+.3f")})'
    return [*cells, difference, _p(line.comparison.p), score('detectable'), row['verdict']]


HEADER = (
    *('arm', 'level', 'parameters', 'GMAC', 'latency p50 / p95, ms', 'memory, MB'),
    *('IoU, mean ± sd', '95 %', 'Dice, mean ± sd', 'difference of IoU (95 %)', 'p'),
    *('detectable', 'result'),
)


def _notes(lines: Sequence[Line]) -> str:
    first = lines[0]
    counts = sorted({len(line.seeds) for line in lines})
    seeds = ' to '.join(map(str, counts if len(counts) < 3 else (counts[0], counts[-1])))
    size = 'x'.join(map(str, first.cost['input'][1:3]))
    notes = [
        f'{first.images} images, {seeds} {"seed" if counts == [1] else "seeds"} an arm. IoU and '
        'Dice are those of the foreground of each image at its own resolution, after the last '
        'step; ± is the standard deviation of the seeds; intervals are bootstrapped over seeds and '
        'images; p is that of a paired Wilcoxon test of the images, each averaged over the seeds, '
        'adjusted by Holm for all tests of this table; detectable is the smallest difference that '
        'would be found four times in five.',
        f'Parameters, multiply-accumulates, latency and memory are those of one image of {size} '
        f'({first.cost["device"]}).',
    ]
    if counts[0] < 5:
        notes.append(
            'With fewer than five seeds an arm the noise of training is hardly known: intervals '
            'are too narrow, and one seed says nothing of another.'
        )
    return '\n\n'.join(notes)


def markdown(lines: Sequence[Line]) -> str:
    """table.md."""
    table = [HEADER, ['---'] * len(HEADER), *(_cells(line) for line in lines)]
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in table) + f'\n\n{_notes(lines)}\n'


SHORT = ('arm', 'level', 'parameters', 'GMAC', 'IoU', 'difference of IoU', 'p', 'result')


def short(lines: Sequence[Line]) -> list[list[str]]:
    """The columns of `SHORT`, for the screen."""
    places = [HEADER.index(name) for name in ('arm', 'level', 'parameters', 'GMAC')]
    places += [HEADER.index('IoU, mean ± sd'), HEADER.index('difference of IoU (95 %)')]
    places += [HEADER.index('p'), HEADER.index('result')]
    return [[cells[i] for i in places] for cells in map(_cells, lines)]
