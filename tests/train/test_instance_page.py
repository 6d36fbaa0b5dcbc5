"""What a report and a comparison say of a detector, without a network: FindsWhite finds the
rectangle of every picture, and with a score of 0.3 the whole of it."""

import json
import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from segjax.data.dataset import Info
from segjax.data.detection import DetectionEval
from segjax.evaluate.instance import InstanceEvaluator
from segjax.train import instance_page, report
from segjax.train.job import Job
from segjax.train.rundir import write_json
from segjax.train.screen import Screen
from segjax.train.writers import plain
from tests.data.test_detection import Pictures
from tests.evaluate.test_instance import FINDS_WHITE, FindsWhite, evaluation

pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')
INFO = Info(('background', 'white', 'never'), ((0, 0, 0), (255, 255, 255), (255, 0, 0)))
STATE = SimpleNamespace(variables={})


class Mixed(Pictures):
    """The object of the second picture is two pixels wider than what is white, that of the third of
    another class; in the last there is none."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        known = sample.instances
        if index == 1:
            wide = np.ones((8, 12), np.uint8)
            boxes = known.boxes + np.array([0, 0, 2, 0], np.float32)
            known = known._replace(boxes=boxes, masks=(wide,))
        if index == 2:
            known = known._replace(classes=known.classes + 1)
        if index == 3:
            known = known._replace(
                boxes=known.boxes[:0],
                classes=known.classes[:0],
                masks=(),
                crowd=known.crowd[:0],
                valid=known.valid[:0],
            )
        return sample._replace(instances=known)


class FindsNothing(FindsWhite):
    def predict(self, model, variables, image, *, sizes=None):
        found = super().predict(model, variables, image, sizes=sizes)
        return found._replace(valid=found.valid & False)


def make_job(source, *, info=INFO, with_mask=True, task=FINDS_WHITE):
    how = DetectionEval(instances=2, mask_size=4)
    options = {'num_classes': len(info.class_names), 'devices': jax.local_devices()[:1]}
    return Job(
        experiment=SimpleNamespace(eval=how, folds=0),
        info=info,
        train_source=source,
        eval_source=source,
        mean=(0.0,) * 3,
        std=(255.0,) * 3,
        parallel=None,
        evaluation=evaluation(source, with_mask=with_mask, task=task, **options),
        num_threads=1,
    )


@pytest.fixture(scope='module')
def job():
    return make_job(Mixed([(32, 32)] * 4))


@pytest.fixture(scope='module')
def evaluated(job):
    return instance_page.evaluate(job, STATE)


def cells(content):
    """Rows of all tables of some HTML as texts."""
    rows = re.findall('<tr>(.*?)</tr>', content)
    return [
        [re.sub('<.*?>', '', c) for c in re.findall('<t[hd].*?>(.*?)</t[hd]>', r)] for r in rows
    ]


def test_pictures_are_ranked_by_their_quality(evaluated):
    """Of masks, which are pasted a little larger than their box; an empty picture with a detection
    is as bad as one of another class."""
    found, ranking = evaluated
    scores = [instance_page.quality(found.evaluator, i) for i in range(4)]
    assert 0.7 < scores[1] < scores[0] < 1 and scores[2:] == [0, 0]
    assert ranking.worst == [2, 3] and ranking.best == [0, 1]


def test_without_masks_boxes_are_ranked():
    found, ranking = instance_page.evaluate(make_job(Mixed([(32, 32)] * 4), with_mask=False), STATE)
    np.testing.assert_allclose(sorted(ranking.scores), [0, 0, 10 / 12, 1], atol=1e-6)
    assert found.evaluator.kinds == ('box',)


def test_polygons_are_ranked_like_the_masks_they_enclose():
    evaluator = InstanceEvaluator(2, ('mask',), (10,))
    polygon = [[2, 2, 12, 2, 12, 10, 2, 10]]
    own = {'category_id': 1, 'iscrowd': 0, 'area': 80, 'bbox': [2, 2, 10, 8]}
    runs = {'size': [16, 16], 'counts': [34, *([8, 8] * 9), 8, 70]}
    found = instance_page.compressed(runs, (16, 16))
    guess = {'category_id': 1, 'score': 0.9, 'segmentation': found, 'bbox': [2, 2, 10, 8]}
    evaluator.update(0, (16, 16), [own | {'segmentation': polygon}], [guess | {'score': 0.4}])
    evaluator.update(1, (16, 16), [own | {'segmentation': polygon}], [guess])
    assert instance_page.quality(evaluator, 0) == 0  # not sure
    assert instance_page.quality(evaluator, 1) == 1


def test_the_page_tells_metrics_classes_and_pictures(job, evaluated):
    found, ranking = evaluated
    parts = instance_page.sections(job, found, ranking)
    assert [*parts] == ['Metrics', 'Classes', 'Precision and recall', 'Worst pictures',
                        'Best pictures']  # fmt: skip
    rows = {row[0]: row[1:] for row in cells(parts['Metrics'])}
    assert cells(parts['Metrics'])[0] == ['metric', 'mask', '', 'box', '']
    assert rows['AP at IoU .5'][0] == f'{found.metrics["mask_ap50"]:.3f}'
    assert rows['AP'][2] == f'{found.metrics["box_ap"]:.3f}'
    assert rows['AR of large objects'] == ['n/a', '', 'n/a', '']
    assert rows['loss'] == [f'{found.metrics["loss"]:.4f}']
    assert rows['quality of a picture: median'] == [f'{np.median(ranking.scores):.4f}']
    classes = {row[0]: row[1:] for row in cells(parts['Classes'])}
    assert classes['white'][0] == '2' and classes['never'][:2] == ['1', '0.000']
    for name in ('Precision and recall', 'Worst pictures', 'Best pictures'):
        assert 'data:image/png;base64' in parts[name]


def test_what_had_no_room_is_told_in_a_line():
    model, source = SimpleNamespace(detection_candidates=7), Pictures([(32, 32)], objects=5)
    full = make_job(source)
    full.experiment.model = model
    found = full.evaluate(STATE)
    said = report.no_room(full, found)
    assert said.startswith('2 boxes, the worst') and '--detection_candidates=7; ' in said
    assert 'leaves out 3 objects' in said and said.endswith('--eval.instances=2')
    found.evaluator.dropped = found.evaluator.cut = 0
    assert report.no_room(full, found) == ''


def test_detectors_are_compared_by_the_precision_of_what_they_find(job, evaluated):
    boxes_alone = make_job(job.eval_source, with_mask=False)
    masks, boxes = (j.evaluate(STATE, samples=2) for j in (job, boxes_alone))
    assert report.same_truth(job, masks, boxes)
    assert [*report.table_row(job, masks)] == [
        f'{kind} {name}' for kind in ('mask', 'box') for name in ('AP', 'AP50', 'AP75')
    ]
    assert [*report.table_row(boxes_alone, boxes)] == ['box AP', 'box AP50', 'box AP75']
    assert report.table_row(job, masks)['box AP'] == f'{masks.metrics["box_ap"]:.3f}'
    picture = report.comparison(job, ['a', 'b'], [masks, boxes])
    alone = report.comparison(job, ['a'], [masks])
    assert picture.dtype == np.uint8 and picture.shape[1] > alone.shape[1] > 3 * 160
    assert not report.same_truth(job, masks, make_job(Pictures([(32, 32)] * 4)).evaluate(STATE))


EMPTY = {
    'nothing found': (1, FindsNothing, 0.0),
    'nothing to find': (0, FindsWhite, np.nan),
    'neither': (0, FindsNothing, np.nan),
}


@pytest.mark.parametrize('case', EMPTY)
@pytest.mark.parametrize('with_mask', [True, False])
def test_where_nothing_is_there_or_found_all_is_said_and_drawn(case, with_mask, tmp_path, capsys):
    """0 where there is something to find, else no number: null in files, n/a on screen."""
    objects, task, ap = EMPTY[case]
    source = Pictures([(32, 32)] * 2, objects=objects)
    job = make_job(source, with_mask=with_mask, task=task())
    found = job.evaluate(STATE, samples=2)
    kinds = ('mask', 'box') if with_mask else ('box',)
    for kind in kinds:
        np.testing.assert_equal(found.metrics[f'{kind}_ap'], ap)
        np.testing.assert_equal(found.metrics[f'{kind}/ar100'], ap)
        np.testing.assert_equal(report.per_class(job, found)[f'{kind}_ap/white'], ap)
        assert np.isnan(report.per_class(job, found)[f'{kind}_ap/never'])
    shown = 'n/a' if np.isnan(ap) else '0.000'
    assert set(report.headline(job, found).values()) == {shown}
    report.class_table(Screen(), job, found, step=1)
    mean = next(line for line in capsys.readouterr().out.splitlines() if 'mean' in line)
    assert mean.split()[1:] == [shown] * 2 * len(kinds)
    found, ranking = instance_page.evaluate(job, STATE)
    parts = instance_page.sections(job, found, ranking)
    assert ('Worst pictures' in parts) == (case != 'neither')
    assert cells(parts['Metrics'])[1] == ['AP', *[shown, ''] * len(kinds)]
    found = job.evaluate(STATE, samples=2)
    assert all(p.ndim == 3 for p in report.pictures(job, found).values())
    assert report.comparison(job, ['a'], [found]).ndim == 3
    write_json(tmp_path / 'eval.json', plain({'metrics': found.metrics}))
    read = json.loads((tmp_path / 'eval.json').read_text())['metrics']
    assert read['box_ap'] == (None if np.isnan(ap) else 0)
