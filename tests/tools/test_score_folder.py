"""Scoring folders of masks: the numbers that ADE20K prints, a loop over pixels, messages."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.tools.score_folder import main, score_folder
from segjax.types import UserError

SAMPLES = Path(__file__).parents[2] / '../shared/data/ade20k_samples/sampleData'


def write(folder, *masks):
    folder.mkdir()
    for i, mask in enumerate(masks):
        Image.fromarray(np.array(mask, np.uint8)).save(folder / f'{i}.png')
    return folder


def test_ids_from_one_with_void_at_zero(tmp_path):
    labels = write(tmp_path / 'labels', [[1, 1, 2, 0]], [[2, 4], [0, 1]])
    predictions = write(tmp_path / 'predictions', [[1, 2, 2, 4]], [[2, 1], [0, 1]])
    found = score_folder(predictions, labels, num_classes=4, first_id=1)
    assert found.counts.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert found.compute()['mean_iou'] == pytest.approx((2 / 4 + 2 / 3 + 0) / 3)  # 3 occurs nowhere
    assert found.mean_iou_over_all == pytest.approx((2 / 4 + 2 / 3 + 0 + 0) / 4)


def test_counts_equal_a_loop_over_pixels(tmp_path):
    rng = np.random.default_rng(0)
    sizes = [(7, 9), (700, 800), (5, 1)]
    labels = [rng.choice([*range(5), 255], size) for size in sizes]
    predictions = [rng.integers(0, 5, size) for size in sizes]
    found = score_folder(
        write(tmp_path / 'p', *predictions), write(tmp_path / 'l', *labels), num_classes=5
    )
    expected = np.zeros((5, 5), int)
    for label, prediction in zip(labels, predictions, strict=True):
        for i, j in zip(label.ravel().tolist(), prediction.ravel().tolist(), strict=True):
            if i < 5:
                expected[i, j] += 1
    np.testing.assert_array_equal(found.counts, expected)


def test_what_cannot_be_scored_is_named(tmp_path):
    labels = write(tmp_path / 'labels', [[0, 1]], [[1, 1]])
    with pytest.raises(UserError, match=r'1\.png: its prediction .* is missing'):
        score_folder(write(tmp_path / 'few', [[0, 1]]), labels, num_classes=2)
    with pytest.raises(UserError, match=r'0\.png is 1x1 but .* is 2x1'):
        score_folder(write(tmp_path / 'small', [[0]]), labels, num_classes=2)
    with pytest.raises(UserError, match=r'predicts 7 where .* has a class; ids go from 0 to 1'):
        score_folder(write(tmp_path / 'void', [[0, 7]]), labels, num_classes=2)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=r'empty: holds no \*\.png'):
        score_folder(labels, tmp_path / 'empty', num_classes=2)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason='no ADE20K samples in ../shared/data')
def test_the_samples_of_ade20k_give_what_its_own_evaluation_prints(capsys):
    """sceneparsing's README: mean IoU over 150 classes .1000, pixel accuracy 100.00%."""
    folders = [str(SAMPLES / 'predictions'), str(SAMPLES / 'annotations')]
    main([*folders, '--num_classes=150', '--first_id=1'])
    printed = capsys.readouterr().out
    assert 'mean IoU over all 150 classes          0.1000' in printed
    assert 'mean IoU of the  15 classes that occur  1.0000' in printed
    assert 'pixel accuracy                         1.0000' in printed
