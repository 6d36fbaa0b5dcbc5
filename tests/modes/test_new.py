"""--mode=new: from a folder of pictures and masks to an experiment that fits it."""

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import launch
from experiments.fcn32s_voc import experiment as fcn32s_voc
from experiments.unet_folder import experiment as unet_folder
from segjax.data.check import Report
from segjax.data.datasets.binary_folder import BinaryFolder
from segjax.data.datasets.folder import Folder
from segjax.data.survey import Appearance, Survey
from segjax.modes.new import plan, semantic
from segjax.train.source_code import experiment_source

ROOT = Path(__file__).parents[2]


@pytest.fixture
def experiments(tmp_path, monkeypatch):
    """A folder of experiments with two to begin with, and an empty place to work in."""
    folder = tmp_path / 'experiments'
    folder.mkdir()
    for name in ('unet_folder', 'fcn32s_voc'):
        shutil.copy(ROOT / 'experiments' / f'{name}.py', folder)
    monkeypatch.chdir(tmp_path)
    return folder


def write_folder(root, *, foreground=1, dtype=np.uint8, classes='background\ncell\n', pictures=8):
    """Gray pictures of 120 x 100, in each two discs of 20 pixels."""
    y, x = np.mgrid[:100, :120]
    mask = np.zeros((100, 120), np.uint8)
    for centre in (30, 80):
        mask[np.hypot(y - 50, x - centre) < 10] = foreground
    for part in ('images', 'masks'):
        (root / part).mkdir(parents=True)
    if classes:
        (root / 'classes.txt').write_text(classes)
    for i in range(pictures):
        picture = (mask > 0) * 100 + i
        Image.fromarray(picture.astype(dtype)).save(root / 'images' / f'{i}.png')
        Image.fromarray(mask).save(root / 'masks' / f'{i}.png')
    return root


def test_what_it_writes_is_an_experiment_fitted_to_the_data(experiments, capsys):
    folder = write_folder(experiments.parent / 'My cells')
    argv = ['--mode=new', f'--folder={folder}']
    assert launch.main(argv, experiments=experiments) == 0
    file = experiments / 'my_cells.py'
    said = capsys.readouterr().out
    assert f'written to  {file}' in said
    assert 'python launch.py --exp=my_cells --mode=check_data' in said
    lines = [line for line in file.read_text().splitlines() if str(folder) not in line]
    assert max(map(len, lines)) <= 100  # a path has no place to break
    made, like = launch.load_experiment(experiments, 'my_cells'), unet_folder()
    assert made.dataset == dataclasses.replace(like.dataset, folder=str(folder))
    assert made.model == like.model
    assert made.train.crop == (96, 96)  # three discs of 20 pixels are less than the least window
    assert math.prod(made.train.crop) * made.train.batch_size <= 8 * 192 * 192
    assert made.train.scale == made.eval.scale == 1
    assert made.num_steps == semantic.STEPS[0]
    assert '# objects measure 20 to 20 pixels' in file.read_text()
    assert 'gray, dark, uint8' in file.read_text()


def test_it_overwrites_nothing_and_chooses_all_but_the_data(experiments, capsys):
    folder = write_folder(experiments.parent / 'cells')
    argv = ['--mode=new', f'--folder={folder}', '--name=unet_folder']
    before = (experiments / 'unet_folder.py').read_bytes()
    assert launch.main(argv, experiments=experiments) == 2
    assert 'is there already; give another --name=NAME' in capsys.readouterr().err
    assert (experiments / 'unet_folder.py').read_bytes() == before
    for extra, message in (
        ('--name=Two Words', 'small letters, digits and _'),
        ('--batch_size=3', '--batch_size: --mode=new takes fields of the data set alone'),
        ('--folder=nowhere', 'is not a folder'),
        ('--folder=', 'Which folder?'),
    ):
        assert launch.main([*argv[:2], extra], experiments=experiments) == 2
        assert message in capsys.readouterr().err
    assert launch.main(['--mode=new', '--like=fcn32s_voc'], experiments=experiments) == 2
    assert 'reads Voc, not a folder of your own' in capsys.readouterr().err


def test_masks_of_0_and_255_are_foreground_with_two_classes_or_without_a_list(experiments):
    listed = write_folder(experiments.parent / 'listed', foreground=255)
    bare = write_folder(experiments.parent / 'bare', foreground=255, classes='')
    for folder in (listed, bare):
        argv = ['--mode=new', f'--folder={folder}']
        assert launch.main(argv, experiments=experiments) == 0
    dataset = launch.load_experiment(experiments, 'listed').dataset
    assert (type(dataset), dataset.mask_values) == (Folder, (0, 255))
    assert type(launch.load_experiment(experiments, 'bare').dataset) is BinaryFolder


def test_masks_of_ids_want_a_list_of_classes(experiments, capsys):
    folder = write_folder(experiments.parent / 'cells', classes='')
    assert launch.main(['--mode=new', f'--folder={folder}'], experiments=experiments) == 2
    assert 'classes.txt is missing' in capsys.readouterr().err


def test_bad_files_are_named(experiments, capsys):
    folder = write_folder(experiments.parent / 'cells')
    (folder / 'images' / '3.png').write_bytes(b'')
    assert launch.main(['--mode=new', f'--folder={folder}'], experiments=experiments) == 2
    assert 'images/3.png: the file is empty' in capsys.readouterr().err


def test_sixteen_bits_are_normalised_one_by_one(experiments):
    folder = write_folder(experiments.parent / 'deep', dtype=np.uint16)
    assert launch.main(['--mode=new', f'--folder={folder}'], experiments=experiments) == 0
    assert launch.load_experiment(experiments, 'deep').dataset.normalize == 'zscore'


def data(*, diameters=(10.0, 20.0, 30.0), pixels=(90, 10), sizes=None, pictures=100):
    report = Report(
        problems=[],
        counts={'train': pictures, 'val': 5},
        class_names=('background', 'cell', 'nucleus')[: len(pixels)],
        pixels=np.array(pixels),
        ignored=0,
        weights=np.array([0.5, 40.0, 0.0])[: len(pixels)],
        sizes=sizes or {(500, 700): pictures},
    )
    look = Survey(Appearance(('uint8',), 1.0, 0.5, 1.5), diameters, 3.0)
    return semantic._Data(report, look)


@pytest.mark.parametrize(
    ('diameters', 'scale'),
    [
        ((10, 20, 30), 1),
        ((30, 150, 400), 0.5),
        ((60, 300, 500), 0.25),
        ((10, 300, 500), 1),  # the small ones would vanish
        ((math.nan,) * 3, 1),
    ],
)
def test_pictures_of_large_objects_are_shrunk(diameters, scale):
    assert semantic.choose_scale(data(diameters=diameters))[0] == scale


@pytest.mark.parametrize(
    ('diameters', 'sizes', 'crop'),
    [
        ((10, 20, 30), None, (96, 96)),
        ((10, 20, 50), None, (160, 160)),
        ((10, 200, 300), None, (256, 256)),
        ((10, 20, 50), {(80, 200): 3}, (96, 160)),
        ((math.nan,) * 3, None, (192, 192)),
    ],
)
def test_a_window_holds_objects_with_their_surroundings(diameters, sizes, crop):
    found, _ = semantic.choose_crop(data(diameters=diameters, sizes=sizes), unet_folder(), 1.0)
    assert found == crop


def test_batches_have_as_many_pixels_and_steps_pass_over_all_pictures():
    budget = 8 * 192 * 192
    assert plan.choose_batch(100, (192, 192), budget)[0] == 8
    assert plan.choose_batch(100, (96, 96), budget)[0] == 16
    assert plan.choose_batch(5, (96, 96), budget)[0] == 4
    assert plan.choose_batch(100, (512, 512), budget)[0] == 2
    steps, why = semantic.choose_steps(data(), (256, 256), 8, 1.0)
    assert steps == 2700  # 40 passes of 100 * 500 * 700 / (8 * 256 * 256) = 66.8 steps
    assert 'about 40 passes over 100 pictures' in why


def test_rare_classes_weigh_more():
    assert semantic.choose_class_weights(data(pixels=(90, 10)))[0] == ()
    weights, why = semantic.choose_class_weights(data(pixels=(990, 10, 0)))
    assert weights == (0.5, 10.0, 1.0)  # 40 is too much, and of nucleus there is nothing to learn
    assert 'cell has 1% of the pixels; not one pixel in train: nucleus' in why


def test_many_sizes_become_few_shapes():
    sizes = {(100 + 7 * i, 100 + 5 * i): 1 for i in range(40)}
    multiple, why = semantic.choose_rounding(data(sizes=sizes))
    assert multiple == 64
    assert why == '40 sizes of pictures become 7 to be compiled'
    assert semantic.choose_rounding(data())[0] == 32


@pytest.mark.parametrize('experiment', [unet_folder, fcn32s_voc])
def test_source_makes_the_experiment_again(experiment):
    notes = {'train.crop': 'a remark that is much longer than a line can hold ' * 3}
    source = experiment_source(experiment(), text='Text.', summary='S.', notes=notes)
    namespace = {}
    exec(source, namespace)
    assert namespace['experiment']() == experiment()
    assert max(map(len, source.splitlines())) <= 100
    assert source.count('# ') >= 2
