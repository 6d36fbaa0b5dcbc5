"""--mode=new: from a folder with annotations in COCO's form to a detector that fits it."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import launch
from experiments.maskrcnn_folder import experiment as maskrcnn_folder
from segjax import config
from segjax.data.check import Report
from segjax.data.dataset import Roots
from segjax.data.survey import Appearance, Objects
from segjax.modes.new import detection, view
from segjax.modes.new.view import FROM_SCRATCH, FROM_WEIGHTS, Data
from segjax.optim import AdamW
from segjax.train.experiment import Experiment

ROOT = Path(__file__).parents[2]
WEIGHTS = '--weights=maskrcnn_resnet50_fpn'


@pytest.fixture
def experiments(tmp_path, monkeypatch):
    """A folder of experiments with one to begin with, and an empty place to work in."""
    folder = tmp_path / 'experiments'
    folder.mkdir()
    shutil.copy(ROOT / 'experiments' / 'maskrcnn_folder.py', folder)
    monkeypatch.chdir(tmp_path)
    return folder


def square(number, picture, *, side=24, left=10, **more):
    """The annotation of a square object."""
    box = [left, 20, side, side]
    return {'id': number, 'image_id': picture, 'category_id': 7, 'bbox': box} | more


def write_folder(root, *, pictures=4, dtype=np.uint8, objects=lambda i: [square(i, i)]):
    """Gray pictures of 120 x 100 in images/, half of them in train.json, half in val.json."""
    (root / 'images').mkdir(parents=True)
    for split, start in (('train', 0), ('val', pictures)):
        numbers = range(start, start + pictures)
        for i in numbers:
            picture = np.full((100, 120), 50 + i, dtype)
            picture[20:44, 10:34] = 200
            Image.fromarray(picture).save(root / 'images' / f'{i}.png')
        content = {
            'images': [
                {'id': i, 'file_name': f'{i}.png', 'height': 100, 'width': 120} for i in numbers
            ],
            'annotations': [o for i in numbers for o in objects(i)],
            'categories': [{'id': 7, 'name': 'stone'}, {'id': 9, 'name': 'stick'}],
        }
        (root / f'{split}.json').write_text(json.dumps(content))
    return root


def make(experiments, folder, *words, name='') -> Experiment:
    """The experiment that is written for a folder."""
    argv = ['--mode=new', '--like=maskrcnn_folder', f'--folder={folder}', *words]
    assert launch.main([*argv, f'--name={name}'] if name else argv, experiments=experiments) == 0
    return launch.load_experiment(experiments, name or folder.name)


def test_without_weights_a_small_network_begins_anew(experiments, capsys):
    folder = write_folder(experiments.parent / 'stones')
    made = make(experiments, folder)
    assert made.dataset == dataclasses.replace(maskrcnn_folder().dataset, folder=str(folder))
    assert (made.model.backbone, made.model.backbone_width) == ('resnet18', 16)
    assert (made.model.norm, made.model.norm_epsilon) == ('batch', 1e-5)
    assert isinstance(made.optimizer, AdamW)
    assert made.optimizer.frozen == ()
    assert (made.train.crop, made.train.short, made.train.canvases) == ((128, 128), (), ())
    assert made.eval.canvases == ((128, 128),)
    assert made.train.batch_size == 4  # not more than there are pictures
    said, text = capsys.readouterr().out, (experiments / 'stones.py').read_text()
    assert 'python launch.py --exp=stones                     train' in said
    assert '    python launch.py --exp=stones\n' in text
    assert f'--like=maskrcnn_folder --name=stones_coco {WEIGHTS}\n' in text
    assert 'stone 4, stick 0 (objects of train); 2 classes have fewer than 10' in text
    assert max(len(x) for x in text.splitlines() if str(folder) not in x) <= 100


def test_with_weights_the_network_is_theirs_and_its_first_stages_stay(experiments, capsys):
    folder = write_folder(experiments.parent / 'stones')
    made, like = make(experiments, folder, WEIGHTS), maskrcnn_folder()
    fitted = ('anchor_sizes', 'max_detections', 'detection_candidates')
    assert made.model == like.model.clone(**{name: getattr(made.model, name) for name in fitted})
    assert made.optimizer == like.optimizer
    assert made.dataset.normalize == 'imagenet'
    assert (made.train.short, made.train.crop) == ((192,), (192, 256))  # twice as large
    assert f'python launch.py --exp=stones {WEIGHTS}' in capsys.readouterr().out
    text = (experiments / 'stones.py').read_text()
    assert f'    python launch.py --exp=stones {WEIGHTS}\n' in text
    assert '--like=maskrcnn_folder --name=stones_small\n' in text


def test_the_second_version_of_the_weights_makes_a_network_of_that_version(experiments):
    made = make(experiments, write_folder(experiments.parent / 'stones'), WEIGHTS + '_v2')
    assert (made.model.version, made.model.norm_epsilon) == (2, 1e-5)


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        ('nope', '--weights=nope: neither known weights'),
        ('deeplabv3_resnet50', 'finds no objects; known detectors are maskrcnn_resnet50_fpn, '),
    ],
)
def test_weights_that_training_would_refuse_are_refused(experiments, capsys, weights, message):
    folder = write_folder(experiments.parent / 'stones')
    argv = ['--mode=new', '--like=maskrcnn_folder', f'--folder={folder}', f'--weights={weights}']
    assert launch.main(argv, experiments=experiments) == 2
    assert message in capsys.readouterr().err
    assert not (experiments / 'stones.py').exists()


def test_a_file_written_elsewhere_is_to_be_moved_first(experiments, capsys):
    folder = write_folder(experiments.parent / 'stones')
    argv = ['--mode=new', '--like=maskrcnn_folder', f'--folder={folder}', '--output=there']
    assert launch.main(argv, experiments=experiments) == 0
    said = capsys.readouterr().out
    command = f'mv there/stones.py {experiments}/'
    assert 0 < said.index(command) < said.index('python launch.py --exp=stones')
    shutil.move('there/stones.py', experiments)
    assert launch.load_experiment(experiments, 'stones').dataset.folder == str(folder)


def test_its_losses_take_what_the_folder_gives(experiments, tmp_path):
    made = make(experiments, write_folder(experiments.parent / 'stones'))
    made = config.replace(made, {'model.num_classes': 3, 'train.transforms.0.high': 1.0})
    source = made.dataset.source('train', Roots(tmp_path, tmp_path / 'data'))
    batch = jax.tree.map(lambda part: part[None], made.train.sample(source, seed=0, number=0))
    assert batch.image.shape == (1, 128, 128, 3)
    assert batch.instances.valid.sum() == 1
    assert batch.instances.classes[0, 0] == 1
    batch, key = batch._replace(image=np.float32(batch.image)), jax.random.key(0)
    variables = jax.eval_shape(lambda: made.model.init(key, batch.image, train=False))
    terms, _ = jax.eval_shape(lambda v: made.task.loss(made.model, v, batch, key), variables)
    assert set(terms) == {'rpn_class', 'rpn_box', 'class', 'box', 'mask'}


def test_sixteen_bits_are_normalised_one_by_one(experiments, tmp_path):
    made = make(experiments, write_folder(experiments.parent / 'deep', dtype=np.uint16))
    assert made.dataset.normalize == 'zscore'
    source = made.dataset.source('train', Roots(tmp_path, tmp_path / 'data'))
    assert made.train.sample(source, seed=0, number=0).image.dtype == np.float32


def test_crowds_flaws_and_empty_pictures_are_told(experiments):
    def objects(i):
        crowd, flat = square(90, 2, iscrowd=1), square(91, 3, side=0)
        return {0: [square(0, 0)], 1: [], 2: [crowd], 3: [flat]}.get(i, [])

    folder = write_folder(experiments.parent / 'mixed', objects=objects)
    make(experiments, folder)
    text = (experiments / 'mixed.py').read_text()
    assert 'stone 1, stick 0' in text
    assert 'empty     2 pictures of train have no object' in text
    assert 'crowds    1; they are not learned' in text
    assert 'left out  1 objects; --mode=check_data names them' in text


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (
            lambda folder: (folder / 'images' / '1.png').write_bytes(b''),
            'images/1.png: the file is',
        ),
        (lambda folder: (folder / 'images' / '1.png').unlink(), '1 of 4 pictures are missing'),
        (lambda folder: shutil.rmtree(folder), 'holds no annotation files'),
        (
            lambda folder: (folder / 'train.json').write_text(
                json.dumps(json.loads((folder / 'train.json').read_text()) | {'annotations': []})
            ),
            'not one object in train that could be learned',
        ),
    ],
)
def test_what_cannot_be_used_is_named(experiments, capsys, damage, message):
    folder = write_folder(experiments.parent / 'stones')
    damage(folder)
    argv = ['--mode=new', '--like=maskrcnn_folder', f'--folder={folder}']
    assert launch.main(argv, experiments=experiments) == 2
    assert message in capsys.readouterr().err
    assert not (experiments / 'stones.py').exists()


# --- The rules -----------------------------------------------------------------------------------


def data(sides, *, size=(480, 640), sizes=None, counts=(3, 8), classes=2):
    """Two pictures and more, the objects of which are squares; the first has all of them."""
    sizes = sizes or {size: len(counts)}
    shapes = np.repeat(list(sizes), list(sizes.values()), axis=0)
    boxes = np.repeat(np.array(sides, float)[:, None], 2, axis=1)
    zeros = np.zeros(len(boxes), int)
    of_split = Objects(shapes, np.array(counts), 0, zeros, boxes, boxes.prod(axis=1), zeros + 1)
    names = ('background', *(f'thing {i}' for i in range(1, classes)))
    report = Report([], {'train': len(shapes), 'val': 2}, names, np.ones(classes), 0, None, sizes)
    return Data(report, Appearance(('uint8',), 1.0, 0.5, 1.5), of_split, of_split)


@pytest.mark.parametrize(
    ('sides', 'begin', 'short'),
    [
        ([100] * 5, FROM_SCRATCH, 192),  # 640 pixels become 256
        ([100] * 5, FROM_WEIGHTS, 384),  # 512
        ([8] * 5, FROM_SCRATCH, 0),  # two cells of p2 as they are
        ([8] * 5, FROM_WEIGHTS, 960),  # four cells: twice as large
        ([8, 8, 8, 300, 300], FROM_SCRATCH, 416),  # the large ones fit into a window
    ],
)
def test_small_objects_ask_for_resolution(sides, begin, short):
    assert view.choose_view(data(sides), begin).short == short


def test_pictures_too_large_for_their_objects_are_called_so():
    found = view.choose_view(data([10] * 5, size=(4000, 6000)), FROM_SCRATCH)
    assert found.sizes.max() <= view.LONGEST
    assert 'small ones have but 3 pixels here and will be missed; cut the pictures' in found.why


def test_sides_are_those_at_the_scale_of_each_picture():
    found = view.choose_view(data([100, 50], sizes={(480, 640): 2, (240, 320): 1}), FROM_SCRATCH)
    np.testing.assert_array_equal(found.sizes, [[192, 256]] * 3)
    np.testing.assert_allclose(found.sides, [40, 20])  # objects of the first picture


def test_canvases_are_joined_where_that_costs_fewest_pixels():
    sizes = {(480, 640): 50, (470, 640): 5, (640, 480): 30, (100, 100): 1}
    assert view.group_canvases(sizes, 4) == [(480, 640), (640, 480), (128, 128)]
    assert view.group_canvases(sizes, 2) == [(480, 640), (640, 480)]
    assert view.group_canvases(sizes, 1) == [(640, 640)]
    many = {(100 + 7 * i, 2000 - 11 * i): 1 for i in range(100)}
    canvases = view.group_canvases(many, 3)
    assert len(canvases) == 3
    assert all(any(h <= c[0] and w <= c[1] for c in canvases) for h, w in many)


def test_a_second_canvas_in_training_has_to_pay():
    wide_and_tall = data([100] * 5, sizes={(320, 640): 10, (640, 320): 10})
    seen = view.choose_view(wide_and_tall, FROM_WEIGHTS)
    assert sorted(view.choose_canvases(seen, FROM_WEIGHTS)[0]) == [(256, 512), (512, 256)]
    assert view.choose_canvases(seen, FROM_SCRATCH)[0] == [(256, 256)]
    alike = view.choose_view(data([100] * 5, sizes={(600, 640): 10, (640, 600): 10}), FROM_WEIGHTS)
    assert view.choose_canvases(alike, FROM_WEIGHTS)[0] == [(512, 512)]


@pytest.mark.parametrize(
    ('sides', 'published', 'expected'),
    [
        ([20] * 9, False, (8, 16, 20, 28, 40)),  # alike, with a choice about them
        ([4] * 9, False, (8, 12, 16, 20, 24)),  # never below two cells
        ([40] * 9 + [640] * 9, False, (40, 80, 160, 320, 640)),
        ([40] * 9 + [300], True, (32, 64, 128, 256, 512)),  # those that the weights know
        ([12] * 9, True, (8, 12, 16, 20, 24)),
    ],
)
def test_anchors_span_the_sides_of_the_objects(sides, published, expected):
    seen = view.View(0, 512, np.array([[512, 512]]), np.array(sides, float), '')
    assert detection.choose_anchors(seen, published=published)[0] == expected


def test_nothing_is_cut_in_a_crowd():
    crowded = data([20] * 5, size=(256, 256), counts=(3, 250))
    choices = {c.path: c.value for c in detection._object_choices(crowded, FROM_SCRATCH)}
    assert choices['model.max_detections'] == 380
    assert choices['model.post_nms'] == choices['model.pre_nms_train'] == 760
    assert choices['model.detection_candidates'] == 760  # one class
    assert choices['eval.instances'] == 250
    assert choices['eval.max_dets'] == (1, 10, 380)
    seen = view.choose_view(crowded, FROM_SCRATCH)
    assert detection.choose_instances(crowded, seen, (256, 256), 1.0)[0] == 250
    assert detection.choose_instances(crowded, seen, (128, 128), 1.0)[0] == 70  # a quarter
    assert detection.choose_instances(crowded, seen, (128, 128), 0.5)[0] == 250
    full = data([20] * 5, size=(256, 256), counts=(3, 2000))
    room, why = detection.choose_instances(full, seen, (256, 256), 1.0)
    assert room == detection.MAX_INSTANCES
    assert 'the smallest beyond 400 are cut' in why


def test_few_objects_of_many_classes():
    choices = detection._object_choices(data([20] * 5, classes=81), FROM_WEIGHTS)
    values = {c.path: c.value for c in choices}
    assert values['model.max_detections'] == 20
    assert values['model.detection_candidates'] == 1000
    assert values['eval.max_dets'] == (1, 10, 100)
    assert 'model.post_nms' not in values  # as published


def test_small_objects_are_not_halved_by_chance():
    e = maskrcnn_folder()
    for side, low in ((10, 0.75), (100, 0.5)):
        seen = view.View(0, 512, np.array([[512, 512]]), np.array([side] * 3, float), '')
        values = {c.path: c.value for c in detection._transforms(e, seen)}
        assert values['train.transforms.0.low'] == low


def test_steps_pass_over_the_pixels_of_all_pictures():
    sizes = np.array([[256, 256]] * 90 + [[512, 512]] * 10)
    steps, why = detection.choose_steps(sizes, (256, 256), 4, FROM_SCRATCH)
    assert steps == 1950  # 60 passes of (90 + 10 * 4) / 4 = 32.5 steps
    assert 'about 60 passes over 100 pictures' in why
    assert detection.choose_steps(sizes[:4], (256, 256), 4, FROM_SCRATCH)[0] == 600
