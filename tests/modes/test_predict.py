"""--mode=predict: whatever is in the folder, the good pictures are predicted, the others listed."""

import dataclasses
import io
import json
import shutil
import struct
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import launch
import segjax
from experiments import fcn8s_shapes
from segjax import config
from segjax.config import RunOptions
from segjax.data.dataset import Roots
from segjax.data.detection import DetectionEval
from segjax.evaluate.instance import Found, encode_masks
from segjax.gallery import Gallery
from segjax.known_networks import NETWORKS
from segjax.modes import predict
from segjax.prediction import ObjectPrediction, paint
from segjax.pretrained import export_arrays
from segjax.pretrained.safetensors_io import save_variables
from segjax.tasks import Instance
from segjax.train.checkpoint import Checkpointer
from segjax.train.state import init_state
from segjax.types import UserError
from tests.model_folders import INFO, SAME, draw, write_run
from tests.test_predictor import Square


@pytest.fixture(scope='module')
def experiment():
    """The one that the run is of."""
    parts = config.replace(fcn8s_shapes.experiment(), {'train.crop': (16, 16)})
    return dataclasses.replace(parts, model=dataclasses.replace(SAME, num_classes=6))


@pytest.fixture(scope='module')
def trained(experiment, tmp_path_factory):
    """The directory of a run of it, as far as prediction is concerned."""
    e = experiment
    info = e.dataset.info(Roots(Path(), Path()))
    workdir = tmp_path_factory.mktemp('runs') / 'tiny'
    return write_run(workdir, e.model, info=info, normalize=e.dataset.normalize)


def scene(seed, size=(24, 36)):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize(size[::-1])


def bomb() -> bytes:
    """A PNG that says it has 400 million pixels and holds nothing."""

    def chunk(kind, content):
        crc = struct.pack('>I', zlib.crc32(kind + content))
        return struct.pack('>I', len(content)) + kind + content + crc

    header = struct.pack('>IIBBBBB', 20000, 20000, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IEND', b'')


@pytest.fixture(scope='module')
def zoo(tmp_path_factory):
    """A folder as people have them: seven pictures that can be read, four files that cannot."""
    folder = tmp_path_factory.mktemp('zoo')
    (folder / 'deeper').mkdir()
    scene(0).save(folder / 'plain.jpg', quality=95)
    scene(1).save(folder / 'plain.png')
    scene(2).save(folder / 'deeper' / 'plain.png')
    scene(3).convert('CMYK').save(folder / 'cmyk.jpg', quality=95)
    deep = np.asarray(scene(4).convert('L')).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / 'deep.png')
    Image.fromarray(deep.astype(np.float32) / 65535).save(folder / 'floats.tif')
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    scene(5).save(folder / 'turned.jpg', exif=exif, quality=95)
    file = io.BytesIO()
    scene(6, (200, 300)).save(file, 'JPEG')
    (folder / 'truncated.jpg').write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    (folder / 'bomb.png').write_bytes(bomb())
    (folder / 'empty.png').write_bytes(b'')
    (folder / 'notes.txt').write_text('of the picnic')
    return folder


def options(trained, pictures, output, **changes):
    given = {'workdir': trained, 'input': str(pictures), 'output': str(output)} | changes
    return RunOptions(mode='predict', exp='tiny', **given)


@pytest.fixture(scope='module')
def found(experiment, trained, zoo, tmp_path_factory):
    """The folder of predictions of all that."""
    output = tmp_path_factory.mktemp('found')
    assert predict.run(experiment, options(trained, zoo, output, probabilities='npz')) == 3
    return output


GOOD = {
    'plain.jpg': (24, 36), 'plain.png': (24, 36), 'deeper/plain': (24, 36), 'cmyk': (24, 36),
    'deep': (24, 36), 'floats': (24, 36), 'turned': (36, 24),
}  # fmt: skip


def read(path):
    with Image.open(path) as image:
        return image.copy()


@pytest.mark.parametrize('name', GOOD)
def test_every_picture_has_its_files_at_its_own_size(found, experiment, trained, name):
    label = read(found / f'labels/{name}.png')
    assert label.mode == 'P' and label.size[::-1] == GOOD[name]
    info = segjax.load(trained).info
    colors = np.array(label.getpalette()[: 3 * len(info.palette)]).reshape(-1, 3)
    np.testing.assert_array_equal(colors, info.palette)
    assert read(found / f'overlays/{name}.png').size[::-1] == GOOD[name]
    kept = np.load(found / f'probabilities/{name}.npz')['probabilities']
    assert kept.shape == (*GOOD[name], 6)
    np.testing.assert_allclose(kept.sum(-1, dtype=np.float32), 1, atol=5e-3)
    assert np.mean(kept.argmax(-1) == np.asarray(label)) > 0.98  # 16 bits may tie
    for kind in ('pictures', 'overlays'):
        assert read(found / f'gallery/{kind}/{name}.jpg').size[::-1] == GOOD[name]


def test_the_others_are_listed_with_the_reason(found, zoo, experiment, trained, tmp_path, capsys):
    said = json.loads((found / 'predictions.json').read_text())
    reasons = {path.removeprefix(f'{zoo}/'): why for path, why in said['unreadable'].items()}
    assert reasons.keys() == {'truncated.jpg', 'bomb.png', 'empty.png', 'notes.txt'}
    assert 'truncated' in reasons['truncated.jpg']
    assert '400000000 pixels' in reasons['bomb.png']
    assert 'empty' in reasons['empty.png']
    assert 'no format' in reasons['notes.txt']
    assert len(said['pictures']) == len(GOOD) == len(list((found / 'labels').rglob('*.png')))
    (tmp_path / 'in').mkdir()
    shutil.copy(zoo / 'notes.txt', tmp_path / 'in')
    assert predict.run(experiment, options(trained, tmp_path / 'in', tmp_path / 'out')) == 3
    told = capsys.readouterr()
    assert '1 of 1 files were not read' in told.err and 'notes.txt' in told.out
    assert 'sheet.png' not in told.out


def test_a_stack_is_predicted_slice_by_slice(experiment, trained, tmp_path):
    folder, output = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    slices = [scene(i) for i in range(3)]
    slices[0].save(folder / 'em.tif', save_all=True, append_images=slices[1:])
    scene(0).save(folder / 'two.tif', save_all=True, append_images=[scene(0, (8, 8))])
    assert predict.run(experiment, options(trained, folder, output)) == 3
    said = json.loads((output / 'predictions.json').read_text())
    assert [entry['file'] for entry in said['pictures']] == [f'em.tif/{i}' for i in range(3)]
    assert 'holds 2 pictures' in said['unreadable'][str(folder / 'two.tif')]
    network = segjax.load(trained)
    for i, image in enumerate(slices):
        expected = network.predict(np.asarray(image)).label
        np.testing.assert_array_equal(np.asarray(read(output / f'labels/em/{i}.png')), expected)


def test_the_page_shows_them_all_and_needs_nothing_else(found):
    page = (found / 'index.html').read_text()
    assert page.count('<figure') == len(GOOD)
    assert 'truncated.jpg' in page and '://' not in page
    links = [part.split('"')[0] for part in page.split('src="')[1:]]
    links += [part.split('"')[0] for part in page.split('href="')[1:]]
    assert len(links) == 3 * len(GOOD)
    assert all((found / link).is_file() for link in links)
    assert read(found / 'sheet.png').size[0] > 300


def test_a_result_depends_on_its_picture_alone(found, experiment, trained, zoo, tmp_path):
    """Alone, with other threads, or by the class of Python: the same bits."""
    for name, file in (('plain.png', 'plain.png'), ('turned', 'turned.jpg')):
        alone = options(trained, zoo / file, tmp_path / name, num_threads=1)
        assert predict.run(experiment, alone) == 0
        label = np.asarray(read(found / f'labels/{name}.png'))
        stem = file.partition('.')[0]
        np.testing.assert_array_equal(
            np.asarray(read(tmp_path / name / f'labels/{stem}.png')), label
        )
        np.testing.assert_array_equal(segjax.load(trained).predict(zoo / file).label, label)


def test_only_model_is_needed(trained, zoo, found, tmp_path):
    """No experiment, no configuration, no data; two runs are averaged, one twice is itself."""
    for name in ('a,b', 'c'):
        shutil.copytree(trained / 'model', tmp_path / name / 'model')
    weights = f'{tmp_path}/a,b,{tmp_path}/c'
    arguments = ['--mode=predict', f'--weights={weights}', f'--input={zoo}/plain.png']
    assert launch.main([*arguments, f'--output={tmp_path}/out', '--probabilities=png']) == 0
    label = np.asarray(read(tmp_path / 'out/labels/plain.png'))
    np.testing.assert_array_equal(label, np.asarray(read(found / 'labels/plain.png.png')))
    deep = np.asarray(read(tmp_path / 'out/probabilities/plain.disc.png')) / 65535
    kept = np.load(found / 'probabilities/plain.png.npz')['probabilities'][..., 1]
    np.testing.assert_allclose(deep, kept, atol=1e-3)


def test_a_file_of_a_network_that_is_named(zoo, tmp_path, monkeypatch):
    name, file = 'unet_carvana', tmp_path / 'a,b.safetensors'
    model = NETWORKS[name].model.clone(widths=(2,) * 5)
    monkeypatch.setitem(NETWORKS, name, NETWORKS[name]._replace(model=model))
    save_variables(file, export_arrays(model, draw(model), layout='milesial'))
    arguments = [f'--weights={name},{file}', f'--input={zoo}/plain.png', f'--output={tmp_path}/out']
    assert launch.main(['--mode=predict', *arguments]) == 0
    label = np.asarray(read(tmp_path / 'out/labels/plain.png'))
    np.testing.assert_array_equal(label, segjax.load(name, file).predict(zoo / 'plain.png').label)


def test_objects_are_written_as_coco_has_them(tmp_path):
    from pycocotools.coco import COCO

    gallery = Gallery(tmp_path, INFO, sheet=frozenset(['b']))
    entries, image = [], np.zeros((8, 12, 3), np.uint8)
    for name, number in (('a', 0), ('b', 2)):
        boxes = np.tile(np.array([[2, 1, 6, 5]], np.float32), (number, 1))
        masks = encode_masks(np.ones((number, 4, 4), np.float32), boxes, (8, 12))
        found = Found(boxes, np.full(number, 0.75), np.full(number, 2), masks)
        label = paint(found, (8, 12))
        prediction = ObjectPrediction(image, label, None, INFO, found)
        entries.append(gallery.add(name, f'{name}.jpg', prediction))
    gallery.close(entries, {}, {})
    results = COCO(tmp_path / 'coco_images.json').loadRes(str(tmp_path / 'coco_results.json'))
    assert [results.imgs[i]['file_name'] for i in (1, 2)] == ['a.jpg', 'b.jpg']
    assert [c['name'] for c in results.loadCats([1, 2])] == ['cell', 'wall']
    assert not results.getAnnIds(1)
    both = results.loadAnns(results.getAnnIds(2))
    assert [o['category_id'] for o in both] == [2, 2] and both[0]['bbox'] == [2, 1, 4, 4]
    np.testing.assert_array_equal(2 * results.annToMask(both[0]), label)
    assert (tmp_path / 'overlays/b.png').is_file()
    page = (tmp_path / 'index.html').read_text()
    assert 'wall 2' in page and 'nothing</figcaption>' in page  # the objects of b.jpg and a.jpg
    assert page.count('<button') == 1 and 'wall 1</button>' in page
    said = json.loads((tmp_path / 'predictions.json').read_text())['pictures']
    assert [picture['objects'] for picture in said] == [{}, {'wall': 2}]


class Full(Square):
    """Its last suppression has no room for two boxes of each picture."""

    detection_candidates: int = 7

    def __call__(self, image, *, train, sizes=None):
        found = super().__call__(image, train=train, sizes=sizes)
        return found._replace(dropped=jnp.full(len(image), 2))


def test_boxes_that_detections_leave_out_are_told(zoo, tmp_path, capsys):
    run = write_run(tmp_path / 'run', Full(), task=Instance(), pipeline=DetectionEval())
    given = options(run, zoo / 'pl*', tmp_path / 'found')
    assert predict.run(None, dataclasses.replace(given, exp='', weights=str(run))) == 0
    said = capsys.readouterr().out
    assert 'left out   4 boxes' in said and '--detection_candidates=7\n' in said


def test_a_checkpoint_of_an_unfinished_run(experiment, tmp_path, zoo):
    e = experiment
    image = jax.ShapeDtypeStruct((1, 16, 16, 3), float)
    make = lambda: init_state(e.model, e.optimizer, num_steps=e.num_steps, image=image, seed=0)
    state = jax.jit(make)()._replace(params=draw(e.model)['params'])
    with Checkpointer(tmp_path / 'checkpoints') as checkpoints:
        checkpoints.save(3, state)
    found = predict.find_predictor(e, options(tmp_path, zoo, tmp_path, checkpoint='latest'))
    assert found.name.endswith('checkpoints/3')
    same = lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    jax.tree.map(same, found.variables[0]['params'], state.params)


def test_fields_of_evaluation_may_be_given(experiment, trained, zoo):
    turned = config.replace(experiment, {'eval.orientations': 8})
    (network,) = predict.find_predictor(turned, options(trained, zoo, zoo)).networks
    assert network.pipeline.orientations == 8


def test_weights_of_a_run_go_into_the_network_of_the_experiment(
    experiment, trained, zoo, found, tmp_path
):
    given = options(trained.parent / 'none', zoo / 'plain.png', tmp_path, weights=str(trained))
    assert predict.run(experiment, given) == 0
    label = np.asarray(read(tmp_path / 'labels/plain.png'))
    np.testing.assert_array_equal(label, np.asarray(read(found / 'labels/plain.png.png')))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'input': ''}, '--input=FOLDER'),
        ({'input': 'nowhere'}, 'no file'),
        ({'workdir': 'nowhere'}, 'Train first'),
        ({'weights': 'nowhere'}, 'neither known weights'),
    ],
)
def test_what_is_missing_is_said(experiment, trained, zoo, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        predict.run(experiment, config.replace(options(trained, zoo, tmp_path / 'out'), changes))


def test_a_wrong_input_is_said_before_a_network_is_loaded(tmp_path):
    with pytest.raises(UserError, match='no file'):
        predict.run(None, options(tmp_path, 'nowhere', tmp_path / 'out', weights='nowhere'))
    assert not (tmp_path / 'out').exists()


def test_a_full_disk_is_said(experiment, trained, zoo, tmp_path, monkeypatch):
    def refuse(path, content):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('segjax.gallery.folder._write', refuse)
    with pytest.raises(UserError, match='No space left'):
        predict.run(experiment, options(trained, zoo / 'plain.png', tmp_path / 'out'))


def test_without_experiment_the_weights_must_be_runs(capsys):
    assert launch.main(['--mode=predict', '--input=.']) == 2
    assert '--weights=RUN' in capsys.readouterr().err
