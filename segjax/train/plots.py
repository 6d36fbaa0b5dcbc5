"""Plots: the curves of a training run and the confusion matrix.

matplotlib is imported when a plot is drawn and used by its figure objects, without pyplot: no
global state, no display, no backend to choose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segjax.metrics.coco import RECALLS, CocoScores
from segjax.train.screen import metric_name
from segjax.visualize import write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = ('#1f5fa8', '#d9730d', '#2a9d5c', '#8a4fbf', '#b3362b', '#5d6470')
_INK, _SOFT, _PALE = '#222228', '#55555c', '#9a9aa2'
_NOT_METRICS = {'step', 'epoch', 'loss', 'learning_rate', 'images_per_s', 'wait'}

Line = Mapping[str, Any]  # an object of metrics.jsonl


# What was measured


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The objects of a metrics.jsonl, in order; a half-written line is passed over.

    Of several lines of one step and split the last counts. Raises OSError without the file.
    """
    lines: dict[tuple[int, str], dict[str, Any]] = {}
    for text in Path(path).read_text(encoding='utf-8', errors='replace').splitlines():
        try:
            line = json.loads(text)
            key = int(line['step']), str(line['split'])
        except (ValueError, KeyError, TypeError):
            continue
        lines.pop(key, None)  # so that the order is that of the lines that count
        lines[key] = line
    return list(lines.values())


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Centred moving mean over `width` (odd) values.

    smooth_i = mean of the finite values_j with |i - j| <= width // 2; NaN where there is none.
    """
    reach, known = width // 2, np.isfinite(values)
    totals = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    low = np.maximum(np.arange(len(values)) - reach, 0)
    high = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    number = counts[high] - counts[low]
    return np.where(number > 0, (totals[high] - totals[low]) / np.maximum(number, 1), np.nan)


def _curve(lines: Sequence[Line], split: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one number; null (NaN or infinite when written) is NaN."""
    points = [
        (line['step'], line[name]) for line in lines if line['split'] == split and name in line
    ]
    points.sort(key=lambda point: point[0])
    steps = np.array([step for step, _ in points], float)
    return steps, np.array([np.nan if value is None else value for _, value in points], float)


def _metric_names(lines: Sequence[Line], best: str) -> list[str]:
    """Numbers of the evaluated splits that stay within 0..1, `best` first.

    Names with a slash belong to single classes and are left out, as are times (`..._s`); no more
    names than colours.
    """
    values: dict[str, list[float]] = {}
    for line in lines:
        for name, value in line.items() if line['split'] != 'train' else ():
            if isinstance(value, int | float) and not isinstance(value, bool):
                values.setdefault(name, []).append(value)
    names = [
        name
        for name, series in values.items()
        if name not in _NOT_METRICS and '/' not in name and not name.endswith('_s')
        if min(series) >= 0 and max(series) <= 1
    ]
    names.sort(key=lambda name: name != best)
    return names[: len(_COLORS)]


# The three plots of progress.png


def style(axes: Axes, title: str, *, ylabel: str = '', xlabel: str = '') -> None:
    """How the axes of all plots look: a bold title, a pale grid, no box."""
    axes.set_title(title, loc='left', fontsize=11, fontweight='bold', color=_INK)
    axes.set_xlabel(xlabel, fontsize=9, color=_SOFT)
    axes.set_ylabel(ylabel, fontsize=9, color=_SOFT)
    axes.tick_params(labelsize=8, colors=_SOFT, length=3)
    axes.grid(True, color='#e4e4e8', linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
    for side in ('left', 'bottom'):
        axes.spines[side].set_color('#b8b8c0')


def _legend(axes: Axes) -> None:
    """Where the fewest points are; white, so that it is read even above a curve."""
    axes.legend(fontsize=8, loc='best', framealpha=0.85, edgecolor='none', borderaxespad=0.8)


def _say(axes: Axes, text: str) -> None:
    """A sentence in the place of curves that do not exist."""
    axes.text(0.5, 0.5, text, ha='center', va='center', color=_PALE, transform=axes.transAxes)


def _plot_loss(axes: Axes, lines: Sequence[Line], splits: Sequence[str]) -> None:
    """Training loss raw (faint) and smoothed over a twentieth of its points; the other splits."""
    style(axes, 'Loss', ylabel='loss')
    shown = [np.empty(0)]
    for color, split in zip(_COLORS, splits, strict=False):
        steps, values = _curve(lines, split, 'loss')
        if not np.isfinite(values).any():
            continue
        thin = slice(None, None, len(values) // 2000 + 1)  # a picture has no more pixels
        if long := split == 'train' and len(values) >= 20:
            axes.plot(steps[thin], values[thin], color=color, alpha=0.25, linewidth=0.8)
            values = smooth(values, len(values) // 20 * 2 + 1)
        curve = axes.plot(steps[thin], values[thin], color=color, linewidth=1.8, label=split)
        curve[0].set(marker='' if long else 'o', markersize=3.5)
        shown.append(values[np.isfinite(values)])
    everything = np.concatenate(shown)
    if not everything.size:
        return _say(axes, 'no loss yet')
    _scale_loss(axes, everything.min(), everything.max())
    _legend(axes)


def _scale_loss(axes: Axes, low: float, high: float) -> None:
    """Logarithmic beyond a factor of ten, with plain numbers; raw outliers do not set the scale."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if low > 0 and high > 10 * low:
        axes.set_yscale('log')
        axes.set_ylim(0.6 * low, 1.8 * high)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif high > low >= 0:
        axes.set_ylim(max(low - 0.25 * (high - low), 0), high + 0.25 * (high - low))


def _plot_metrics(axes: Axes, lines: Sequence[Line], splits: Sequence[str], best: str) -> None:
    """Metrics of the evaluated splits, each with its own stroke; the highest `best` is marked."""
    evaluated = [split for split in splits if split != 'train']
    style(axes, f'Evaluation on {" and ".join(evaluated) or "val"}', xlabel='step')
    for color, name in zip(_COLORS, _metric_names(lines, best), strict=False):
        for split, stroke in zip(evaluated, ('-', '--', ':'), strict=False):
            steps, values = _curve(lines, split, name)
            if not np.isfinite(values).any():
                continue
            label = metric_name(name)
            label += f' ({split})' if len(evaluated) > 1 else ''
            width, height = (2.2, 3) if name == best else (1.3, 2)  # above the rest
            curve = axes.plot(steps, values, stroke, color=color, lw=width, marker='o', ms=3.5)
            curve[0].set(label=label, zorder=height)
            if name == best and split == 'val':
                _mark_best(axes, steps, values, color)
    axes.set_ylim(0, 1)
    if axes.lines:
        _legend(axes)
    else:
        _say(axes, 'no evaluation yet')


def _mark_best(axes: Axes, steps: np.ndarray, values: np.ndarray, color: str) -> None:
    best = int(np.nanargmax(values))
    place = steps[best], values[best]
    axes.plot(*place, 'o', ms=9, mfc='none', mec=color, mew=1.4)
    offset = (0, 9) if values[best] < 0.92 else (0, -17)
    axes.annotate(
        f'{values[best]:.3f}',
        place,
        xytext=offset,
        textcoords='offset points',
        ha='center',
        fontsize=9,
        fontweight='bold',
        color=color,
    )


def _plot_learning_rate(axes: Axes, lines: Sequence[Line]) -> None:
    style(axes, 'Learning rate', xlabel='step')
    steps, values = _curve(lines, 'train', 'learning_rate')
    if not np.isfinite(values).any():
        return _say(axes, 'not recorded')
    axes.plot(steps, values, color=_COLORS[5], linewidth=1.5)
    axes.set_ylim(0, 1.12 * np.nanmax(values) or 1)
    axes.ticklabel_format(axis='y', style='sci', scilimits=(-2, 3))
    axes.yaxis.get_offset_text().set(fontsize=8, color=_SOFT)


def rendered(figure: Figure) -> np.ndarray:
    """The pixels of a figure, uint8 `h w 3`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


# What others call


def progress_picture(lines: Sequence[Line], best: str, *, title: str = '') -> np.ndarray:
    """Loss, learning-rate and metric curves over the steps of a run; uint8 `h w 3`.

    What has not been measured yet is said in its place.

    Args:
      lines: as `read_metrics` gives them.
      best: the metric that decides which checkpoint is the best.
      title: above all.
    """
    from matplotlib.figure import Figure

    names = {line['split'] for line in lines}
    splits = sorted(names, key=lambda split: (split != 'train', split != 'val', split))
    figure = Figure(figsize=(11, 5.2), dpi=110, facecolor='white')
    figure.suptitle(title, x=0.065, ha='left', fontsize=13, color=_INK)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1), hspace=0.38, wspace=0.14)
    grid.update(left=0.065, right=0.985, top=0.87 if title else 0.94, bottom=0.09)
    loss = figure.add_subplot(grid[0, 0])
    rate = figure.add_subplot(grid[1, 0], sharex=loss)
    metrics = figure.add_subplot(grid[:, 1], sharex=loss)
    loss.tick_params(labelbottom=False)
    loss.set_xlim(0, 1.04 * max((line['step'] for line in lines), default=0) or 1)
    _plot_loss(loss, lines, splits)
    _plot_learning_rate(rate, lines)
    _plot_metrics(metrics, lines, splits, best)
    return rendered(figure)


def progress_png(metrics_path: Path, out_path: Path, best: str, *, title: str = '') -> None:
    """Draw the curves of a metrics.jsonl into a PNG, whole or not at all.

    Works from the first line on; a half-written last line does not disturb it. Raises OSError
    where the one cannot be read or the other not be written.
    """
    write_png(out_path, progress_picture(read_metrics(metrics_path), best, title=title))


def confusion_picture(confusion: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """A confusion matrix (`k k` counts, rows the ground truth) as shares of its rows; `h w 3`.

    Rows of classes that do not occur stay empty. Up to 25 classes carry their numbers in percent.
    """
    from matplotlib.figure import Figure

    counts, size = np.asarray(confusion, float), len(confusion)
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    side = 2.2 + min(max(0.42 * size, 2.4), 14)
    figure = Figure(figsize=(side, side), dpi=110, facecolor='white', layout='constrained')
    axes = figure.add_subplot()
    axes.imshow(share, cmap='Blues', vmin=0, vmax=1)
    fontsize = 9 if size <= 25 else max(3, 220 / size)
    slanted = {'rotation': 60, 'ha': 'right', 'rotation_mode': 'anchor'}
    axes.set_xticks(range(size), class_names, fontsize=fontsize, **slanted)
    axes.set_yticks(range(size), class_names, fontsize=fontsize)
    axes.tick_params(length=0, colors=_INK)
    for spine in axes.spines.values():
        spine.set_color('#cdcdd2')
    axes.set_xlabel('predicted', color=_SOFT)
    axes.set_ylabel('ground truth', color=_SOFT)
    axes.set_title('Pixels of each class, percent', loc='left', fontsize=11, fontweight='bold')
    for i, j in np.argwhere(share >= 0.005) if size <= 25 else ():
        color, percent = 'white' if share[i, j] > 0.55 else _INK, f'{100 * share[i, j]:.0f}'
        axes.text(j, i, percent, ha='center', va='center', fontsize=8, color=color)
    return rendered(figure)


def precision_recall_picture(scores: Mapping[str, CocoScores]) -> np.ndarray:
    """Precision over recall at three overlaps, the mean of the classes; a plot a kind; `h w 3`."""
    from matplotlib.figure import Figure

    size = 4.6 * len(scores), 4
    figure = Figure(figsize=size, dpi=110, facecolor='white', layout='constrained')
    plots = figure.subplots(1, len(scores), squeeze=False)[0]
    for axes, (kind, table) in zip(plots, scores.items(), strict=True):
        style(axes, f'Precision by {kind}', xlabel='recall', ylabel='precision')
        for color, threshold in zip(_COLORS, (0.5, 0.75, 0.9), strict=False):
            curve = table.curve(threshold=threshold)
            if np.isfinite(curve).any():
                label = f'IoU {threshold}: AP {table.ap(threshold=threshold):.3f}'
                axes.plot(RECALLS, curve, color=color, lw=1.8, label=label)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        if axes.lines:
            _legend(axes)
        else:
            _say(axes, 'nothing to find')
    return rendered(figure)
