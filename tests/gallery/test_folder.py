"""What is written of pictures in which a detector found nothing."""

import json

import numpy as np
import pytest

from segjax.data.dataset import Info
from segjax.evaluate.instance import Found
from segjax.gallery import Gallery
from segjax.metrics.coco import evaluate_detections
from segjax.prediction import ObjectPrediction

INFO = Info(('background', 'cell'), ((0, 0, 0), (69, 170, 75)))


@pytest.mark.parametrize('masks', [None, ()])
def test_pictures_without_detections_are_in_all_files(tmp_path, masks):
    empty = Found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int), masks)
    image, label = np.full((20, 30, 3), 90, np.uint8), np.zeros((20, 30), np.uint8)
    prediction = ObjectPrediction(image, label, None, INFO, empty)
    gallery = Gallery(tmp_path, INFO, sheet=frozenset({'a'}))
    gallery.close([gallery.add('a', 'a.png', prediction)], {}, {})
    read = lambda name: json.loads((tmp_path / name).read_text())
    assert read('coco_results.json') == []
    pictures = read('coco_images.json')['images']
    assert pictures == [{'id': 1, 'file_name': 'a.png', 'height': 20, 'width': 30}]
    for kind in ('bbox', 'segm'):
        scores = evaluate_detections(
            pictures, [], [], kind=kind, class_ids=[1], max_dets=(100,), backend='faster'
        )
        assert np.isnan(scores.ap())
    assert 'a.png' in (tmp_path / 'index.html').read_text('utf-8')
    assert (tmp_path / 'sheet.png').is_file() and (tmp_path / 'overlays/a.png').is_file()
