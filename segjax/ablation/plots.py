"""The plots of an ablation: accuracy over cost, and every single training.

matplotlib is imported when a plot is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from segjax.ablation.table import Line
from segjax.metrics import statistics
from segjax.train import plots


def _color(number: int) -> str:
    """Of the arm with this number; the ten of matplotlib's own cycle, in turn."""
    return f'C{number % 10}'


def _label(lines: Sequence[Line]) -> str:
    return f'{lines[0].metrics.names[0]}, mean of the images'


def _arms(lines: Sequence[Line]) -> dict[str, list[Line]]:
    arms: dict[str, list[Line]] = {}
    for line in lines:
        arms.setdefault(line.arm, []).append(line)
    return arms


def _over_cost(lines: Sequence[Line], cost: Callable[[Line], float], xlabel: str) -> np.ndarray:
    """A colour an arm; its levels joined, the mean of its heads hollow; bars: sd of the seeds."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(8, 5), dpi=110, facecolor='white', layout='constrained')
    axes = figure.add_subplot()
    plots.style(axes, 'Accuracy and cost', xlabel=xlabel, ylabel=_label(lines))
    arms = _arms(lines)
    several = [arm for arm, levels in arms.items() if len(levels) > 1]
    for i, (arm, levels) in enumerate(arms.items()):
        color = _color(i)
        pruned = [line for line in levels if line.level != 'mean']
        points = [(cost(line), line.interval.mean) for line in pruned]
        marker = {'marker': 'o', 'ms': 6}  # so that an arm of one level has one in the legend
        axes.plot(*zip(*points, strict=True), color=color, lw=1.4, label=arm, **marker)
        for line in levels:
            face = 'white' if line.level == 'mean' else color
            spread = np.nan_to_num(statistics.deviation(line.score))
            place = cost(line), line.interval.mean
            axes.errorbar(
                *place, spread, color=color, marker='o', ms=6, mfc=face, capsize=2.5, elinewidth=1
            )
            if arm in several[:1]:  # one arm's levels name those of all
                offset = {'xytext': (6, -11), 'textcoords': 'offset points'}
                axes.annotate(line.level, place, fontsize=8, color=color, **offset)
    axes.set_xscale('log')
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize=8, framealpha=0.85, edgecolor='none')
    return plots.rendered(figure)


def over_macs(lines: Sequence[Line]) -> np.ndarray:
    """The score over multiply-accumulates; uint8 `h w 3`."""
    return _over_cost(lines, lambda line: line.cost['macs'] / 1e9, 'GMAC an image')


def over_latency(lines: Sequence[Line]) -> np.ndarray:
    """The score over the median latency of one image; uint8 `h w 3`."""
    on = lines[0].cost['device']
    return _over_cost(lines, lambda line: 1e3 * line.cost['latency_p50_s'], f'ms an image ({on})')


def seeds(lines: Sequence[Line]) -> np.ndarray:
    """Every training a dot, beside the mean of its arm and level and its interval; `h w 3`."""
    from matplotlib.figure import Figure

    height = 1.3 + 0.32 * len(lines)
    figure = Figure(figsize=(8, height), dpi=110, facecolor='white', layout='constrained')
    axes = figure.add_subplot()
    plots.style(axes, 'Every seed', xlabel=_label(lines))
    arms = list(_arms(lines))
    for y, line in enumerate(lines):
        color = _color(arms.index(line.arm))
        found = line.score.mean(axis=1)
        axes.plot([line.interval.low, line.interval.high], [y, y], color=color, alpha=0.3, lw=5)
        axes.plot(found, np.full(len(found), y), 'o', color=color, ms=5, alpha=0.8)
        axes.plot(line.interval.mean, y, '|', color='black', ms=12)
    axes.set_yticks(range(len(lines)), [f'{line.arm}  {line.level}' for line in lines])
    axes.invert_yaxis()
    return plots.rendered(figure)
