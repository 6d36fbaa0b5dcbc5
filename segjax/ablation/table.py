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


class Metrics(NamedTuple):
    """The two scores of an image: the first is compared, the second is told beside it."""

    first: str  # their names in the rows
    second: str
    names: tuple[str, str]  # what people call them
    note: str


METRICS = (
    Metrics('iou', 'dice', ('IoU', 'Dice'), 'IoU and Dice are those of the foreground of each'),
    Metrics(
        'mask_ap',
        'box_ap',
        ('mask AP', 'box AP'),
        "mask AP and box AP are COCO's average precisions within each",
    ),
)


def metrics_of(rows: Sequence[Row]) -> Metrics:
    """Those that the rows hold."""
    return next(m for m in METRICS if m.first in rows[0])


class Comparison(NamedTuple):
    """With the control, by the first score."""

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
    metrics: Metrics
    score: np.ndarray  # s n, the first one
    interval: Interval  # of it
    second: np.ndarray  # s n
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
    metrics = metrics_of(rows)
    first, second = scores(rows, metrics.first), scores(rows, metrics.second)
    cost = {(row['arm'], row['level']): row for row in costs}
    others = [key for key in first if key != control]
    compared = [_comparison(first[key], first[control]) for key in others]
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
    for key, by_seed in first.items():
        seeds = sorted(by_seed)
        own = _matrix(by_seed, seeds)
        lines.append(
            Line(
                *key,
                seeds=tuple(seeds),
                images=own.shape[1],
                metrics=metrics,
                score=own,
                interval=statistics.bootstrap_interval(own),
                second=_matrix(second[key], seeds),
                cost=cost[key],
                comparison=comparisons.get(key),
            )
        )
    return lines


# --- As text -------------------------------------------------------------------------------------


def columns(metrics: Metrics) -> tuple[str, ...]:
    """Of table.csv."""
    first, second = metrics.first, metrics.second
    return (
        *('arm', 'level', 'seeds', 'images', 'params', 'gmac', 'latency_p50_ms', 'latency_p95_ms'),
        *('memory_mb', first, f'{first}_sd', f'{first}_low', f'{first}_high'),
        *(second, f'{second}_sd', 'difference'),
        *('difference_low', 'difference_high', 'p_holm', 'detectable', 'verdict'),
    )


def values(line: Line) -> Row:
    """The columns of table.csv; None where there is nothing to say."""
    cost, compared = line.cost, line.comparison
    first, second = line.metrics.first, line.metrics.second
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
        first: line.interval.mean,
        f'{first}_sd': statistics.deviation(line.score),
        f'{first}_low': line.interval.low,
        f'{first}_high': line.interval.high,
        second: float(line.second.mean()),
        f'{second}_sd': statistics.deviation(line.second),
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
    names = columns(line.metrics)
    return {name: None if nothing(value := found.get(name)) else value for name in names}


def csv_text(lines: Sequence[Line]) -> str:
    """table.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(lines[0].metrics), lineterminator='\n')
    writer.writeheader()
    writer.writerows(values(line) for line in lines)
    return text.getvalue()


def _p(value: float) -> str:
    return '<.001' if value < 0.001 else f'{value:.3f}'


def _cells(line: Line) -> list[str]:
    """The cells of table.md."""
    row, several = values(line), len(line.seeds) > 1
    first, second = line.metrics.first, line.metrics.second
    score = lambda name, form='.3f': '-' if row[name] is None else format(row[name], form)
    spread = lambda name: score(name) + (f' ± {row[f"{name}_sd"]:.3f}' if several else '')
    between = lambda name, form: f'{score(f"{name}_low", form)} to {score(f"{name}_high", form)}'
    cells = [row['arm'], row['level'], f'{row["params"]:,}', f'{row["gmac"]:.3g}']
    cells += [f'{row["latency_p50_ms"]:.1f} / {row["latency_p95_ms"]:.1f}']
    cells += [f'{row["memory_mb"]:.0f}', spread(first), between(first, '.3f'), spread(second)]
    if line.comparison is None:
        return [*cells, '-', '-', '-', 'control']
    difference = f'{score("difference", "+.3f")} ({between("difference", "+.3f")})'
    return [*cells, difference, _p(line.comparison.p), score('detectable'), row['verdict']]


def header(metrics: Metrics) -> tuple[str, ...]:
    """The columns of table.md."""
    first, second = metrics.names
    return (
        *('arm', 'level', 'parameters', 'GMAC', 'latency p50 / p95, ms', 'memory, MB'),
        *(f'{first}, mean ± sd', '95 %', f'{second}, mean ± sd'),
        *(f'difference of {first} (95 %)', 'p', 'detectable', 'result'),
    )


def _notes(lines: Sequence[Line]) -> str:
    first = lines[0]
    counts = sorted({len(line.seeds) for line in lines})
    seeds = ' to '.join(map(str, counts if len(counts) < 3 else (counts[0], counts[-1])))
    size = 'x'.join(map(str, first.cost['input'][1:3]))
    notes = [
        f'{first.images} images, {seeds} {"seed" if counts == [1] else "seeds"} an arm. '
        f'{first.metrics.note} image at its own resolution, after the last step; '
        '± is the standard deviation of the seeds; intervals are bootstrapped over seeds and '
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
    titles = header(lines[0].metrics)
    table = [titles, ['---'] * len(titles), *(_cells(line) for line in lines)]
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in table) + f'\n\n{_notes(lines)}\n'


_SHORT = (0, 1, 2, 3, 6, 9, 10, 12)  # the columns of table.md that fit on a screen


def short(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows, for the screen."""
    choose = lambda cells: [cells[i] for i in _SHORT]
    return choose(header(lines[0].metrics)), [choose(_cells(line)) for line in lines]
