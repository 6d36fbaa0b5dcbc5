"""The curves: which numbers are read, smoothed and chosen; a picture is drawn of any of them."""

import json

import numpy as np
import pytest
from PIL import Image

from segjax.train import plots


def write_lines(path, lines, rest=''):
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines) + rest)


def training(step, **values):
    return {'step': step, 'split': 'train', 'loss': 2.0 / step, 'learning_rate': 1e-3, **values}


def test_read_metrics_passes_over_half_lines_and_keeps_the_last_of_a_step(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    lines = [training(10), training(20), training(10, loss=5.0), {'step': 10, 'split': 'val'}]
    write_lines(path, lines, '[1]\n{"step": 30, "spl')
    assert plots.read_metrics(path) == [lines[1], lines[2], lines[3]]


def test_smooth_by_hand():
    values = np.array([1.0, 2.0, np.nan, 6.0, 10.0])
    np.testing.assert_allclose(plots.smooth(values, 3), [1.5, 1.5, 4.0, 8.0, 8.0])
    np.testing.assert_allclose(plots.smooth(values, 1), values)


def test_only_shares_of_evaluated_splits_are_metrics():
    lines = [
        training(1, accuracy=0.5),
        {'step': 1, 'split': 'val', 'loss': 0.5, 'pixel_accuracy': 0.9, 'iou/disc': 0.3},
        {'step': 2, 'split': 'val', 'mean_iou': 0.4, 'warping_error': 3.0, 'evaluation_s': 0.5},
        {'step': 3, 'split': 'val', 'mean_iou': None},
    ]
    assert plots._metric_names(lines, 'mean_iou') == ['mean_iou', 'pixel_accuracy']
    assert plots._metric_names(lines, 'pixel_accuracy') == ['pixel_accuracy', 'mean_iou']


@pytest.mark.parametrize(
    'lines',
    [
        [],
        [training(1)],
        [training(1, loss=None, learning_rate=None)],
        [training(step) for step in range(1, 100)],
        [{'step': 0, 'split': 'val', 'loss': 0.0, 'mean_iou': None}],
        [{'step': 0, 'split': s, 'loss': 3.0, 'mean_iou': 0.99} for s in ('val', 'test', 'other')],
    ],
)
def test_progress_png_is_drawn_from_the_first_line_on(tmp_path, lines):
    write_lines(tmp_path / 'metrics.jsonl', lines, '{"st')
    plots.progress_png(
        tmp_path / 'metrics.jsonl', tmp_path / 'progress.png', 'mean_iou', title='fcn8s_shapes'
    )
    picture = np.asarray(Image.open(tmp_path / 'progress.png'))
    assert picture.shape == (572, 1210, 3)
    assert picture.min() < 80  # the title at least


def test_curves_are_seen():
    few, many = [training(1)], [training(step) for step in range(1, 200)]
    blue = np.array([0x1F, 0x5F, 0xA8])

    def ink(lines):
        return (
            np.abs(plots.progress_picture(lines, 'mean_iou').astype(int) - blue).max(axis=2) < 8
        ).sum()

    assert ink(many) > ink(few) + 300


def test_plots_leave_pyplot_alone():
    import sys

    before = 'matplotlib.pyplot' in sys.modules
    plots.progress_picture([training(1)], 'mean_iou')
    assert ('matplotlib.pyplot' in sys.modules) == before


@pytest.mark.parametrize('size', [1, 3, 40])
def test_confusion_picture_takes_absent_classes(size):
    confusion = np.eye(size, dtype=np.int64) * 5
    confusion[0] = 0
    picture = plots.confusion_picture(confusion, [f'class {i}' for i in range(size)])
    assert picture.ndim == 3 and picture.dtype == np.uint8
    assert picture.min() < 100 or size == 1
