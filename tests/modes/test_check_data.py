"""--mode=check_data on generated scenes, on good and bad folders, and on real frames."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segjax.config import RunOptions
from segjax.data.datasets.camvid import CamVid
from segjax.data.datasets.folder import Folder
from segjax.data.datasets.isbi2012 import Isbi2012
from segjax.data.datasets.shapes import Shapes
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import Flip, ScaleJitter
from segjax.models import FCN
from segjax.modes import check_data
from segjax.optim import AdamW
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment
from segjax.train.rundir import open_run
from segjax.types import UserError

CAMVID = Path(__file__).parents[2] / '..' / 'shared' / 'data' / 'camvid'


def experiment(dataset, **train):
    pipeline = TrainPipeline(batch_size=3, crop=(32, 48), transforms=(Flip(), ScaleJitter()))
    return Experiment(
        model=FCN(num_classes=0),
        task=Semantic(),
        optimizer=AdamW(learning_rate=1e-3),
        dataset=dataset,
        train=dataclasses.replace(pipeline, **train),
        eval=EvalPipeline(),
        num_steps=1,
    )


def options(tmp_path, **changed):
    roots = {'raw_dir': tmp_path / 'raw', 'data_dir': tmp_path / 'records'}
    return RunOptions(**{'mode': 'check_data', 'workdir': tmp_path / 'run', **roots, **changed})


def shapes():
    return Shapes(size=64, radius=(8.0, 16.0), num_train=12, num_val=4)


def write_folder(root, *, pictures=6):
    """Pictures of 60x40 whose masks hold background, a cell in the upper half, a void line."""
    for name in ('images', 'masks'):
        (root / name).mkdir(parents=True)
    (root / 'classes.txt').write_text('background\ncell\nnucleus\n')
    mask = np.zeros((40, 60), np.uint8)
    mask[:20] = 1
    mask[20] = 255
    for i in range(pictures):
        Image.new('RGB', (60, 40), (i, 80, 160)).save(root / 'images' / f'{i}.png')
        Image.fromarray(mask).save(root / 'masks' / f'{i}.png')
    return root


def test_good_data_is_tabulated_and_drawn(tmp_path, capsys):
    assert check_data.run(experiment(shapes()), options(tmp_path)) == 0
    said = capsys.readouterr().out
    for part in ('train 12, val 4', '64x64', 'triangle', 'problems  none', 'batch.png'):
        assert part in said
    assert Image.open(tmp_path / 'run' / 'batch.png').width > 4 * 240
    found = json.loads((tmp_path / 'run' / 'check_data.json').read_text())
    assert sum(found['pixels']) == 12 * 64 * 64
    assert found['sizes'] == {'64x64': 12 + 4 + 4}
    assert found['problems'] == []


def test_it_leaves_the_run_directory_free(tmp_path):
    wanted, given = experiment(shapes()), options(tmp_path)
    check_data.run(wanted, given)
    with open_run(dataclasses.replace(given, mode='train'), wanted) as run:
        assert run.is_new


def test_output_names_another_folder(tmp_path):
    check_data.run(experiment(shapes()), options(tmp_path, output=str(tmp_path / 'looked')))
    assert (tmp_path / 'looked' / 'batch.png').exists()
    assert not (tmp_path / 'run').exists()


def test_the_samples_are_those_of_the_training(tmp_path, monkeypatch):
    shown = {}

    def keep(images, labels, **rest):
        shown.update(images=images, labels=labels, **rest)
        return np.zeros((2, 2, 3), np.uint8)

    monkeypatch.setattr(check_data, 'contact_sheet', keep)
    wanted, given = experiment(shapes()), options(tmp_path)
    check_data.run(wanted, given)
    source = wanted.dataset.source('train', None)
    batches = wanted.train.batches(source, seed=wanted.seed)
    first = [next(batches) for _ in range(3)]
    for name, part in (('images', 'image'), ('labels', 'label')):
        expected = np.concatenate([getattr(batch, part) for batch in first])[:8]
        np.testing.assert_array_equal(np.stack(shown[name]), expected)
    ids = np.concatenate([batch.image_id for batch in first])[:8]
    assert shown['captions'] == [source.name(int(i)) for i in ids]


def test_bad_files_are_named_all_at_once(tmp_path, capsys):
    folder = write_folder(tmp_path / 'cells')
    picture = folder / 'images' / '1.png'
    picture.write_bytes(picture.read_bytes()[:60])
    Image.new('L', (50, 40)).save(folder / 'masks' / '2.png')
    Image.new('L', (60, 40), 7).save(folder / 'masks' / '4.png')
    with pytest.raises(UserError) as error:
        check_data.run(experiment(Folder(folder=str(folder))), options(tmp_path))
    text = str(error.value)
    assert text.startswith('3 files are not fit for training:')
    for name in ('images/1.png', 'masks/2.png', 'masks/4.png'):
        assert name in text
    assert 'images/0.png' not in text
    assert 'background' in capsys.readouterr().out  # the table of what could be read
    found = json.loads((tmp_path / 'run' / 'check_data.json').read_text())
    assert len(found['problems']) == 3
    assert not (tmp_path / 'run' / 'batch.png').exists()


def test_a_class_without_a_pixel_is_said(tmp_path, capsys):
    folder = write_folder(tmp_path / 'cells')
    check_data.run(experiment(Folder(folder=str(folder))), options(tmp_path))
    nucleus = next(line for line in capsys.readouterr().out.splitlines() if 'nucleus' in line)
    assert nucleus.split()[1:] == ['0', '0.00%', 'does', 'not', 'occur']


def test_long_lists_are_shortened(tmp_path):
    folder = write_folder(tmp_path / 'cells', pictures=30)
    for mask in (folder / 'masks').iterdir():
        mask.write_bytes(b'')
    with pytest.raises(UserError) as error:
        check_data.run(experiment(Folder(folder=str(folder))), options(tmp_path))
    assert str(error.value).count('\n') == check_data.MAX_LISTED + 1
    assert 'and 10 more' in str(error.value)
    found = json.loads((tmp_path / 'run' / 'check_data.json').read_text())
    assert len(found['problems']) == 30


def test_absent_data_and_unwritable_places_are_said(tmp_path):
    with pytest.raises(UserError, match='camvid'):
        check_data.run(experiment(CamVid()), options(tmp_path))
    (tmp_path / 'run').write_text('a file')
    with pytest.raises(UserError, match='cannot be written'):
        check_data.run(experiment(shapes()), options(tmp_path))


@pytest.mark.parametrize(
    ('sizes', 'text'),
    [
        ({}, 'no readable picture'),
        ({(360, 480): 5}, '480x360 (width x height)'),
        (
            {(375, 500): 5, (500, 300): 1},
            '2 sizes (width x height) between 300x375 and 500x500, most often 500x375',
        ),
    ],
)
def test_sizes_in_words(sizes, text):
    assert check_data._sizes(sizes) == text


def test_weights_of_pixels_are_drawn(tmp_path):
    folder = tmp_path / 'raw' / 'isbi2012' / 'train'
    mask = np.full((64, 64), 255, np.uint8)
    mask[:, 31:33] = 0
    for name, array in (('image', mask // 2), ('label', mask)):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(array).save(folder / name / f'{i}.png')
    dataset = Isbi2012(val_slices=(2, 3), separation=10.0)
    assert check_data.run(experiment(dataset), options(tmp_path)) == 0
    drawn = np.asarray(Image.open(tmp_path / 'run' / 'weights.png'))
    assert drawn.shape == np.asarray(Image.open(tmp_path / 'run' / 'batch.png')).shape
    assert (drawn == 255).all(-1).any()
    assert check_data.run(experiment(shapes()), options(tmp_path, workdir=tmp_path / 'plain')) == 0
    assert not (tmp_path / 'plain' / 'weights.png').exists()


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f'no CamVid in {CAMVID}')
def test_camvid_is_good_and_its_frequencies_are_those_of_its_masks(tmp_path):
    for part in ('train', 'trainannot', 'val', 'valannot'):  # some of the frames
        (tmp_path / 'raw' / 'camvid' / part).mkdir(parents=True)
        for file in sorted((CAMVID / part).glob('*.png'))[::20]:
            (tmp_path / 'raw' / 'camvid' / part / file.name).symlink_to(file.resolve())
    assert check_data.run(experiment(CamVid(), crop=(192, 256)), options(tmp_path)) == 0
    found = json.loads((tmp_path / 'run' / 'check_data.json').read_text())
    assert found['problems'] == []
    masks = (tmp_path / 'raw' / 'camvid' / 'trainannot').iterdir()
    counts = sum(np.bincount(np.asarray(Image.open(m)).ravel(), minlength=12) for m in masks)
    assert found['pixels'] == counts[:11].tolist()
    assert found['ignored'] == counts[11]
