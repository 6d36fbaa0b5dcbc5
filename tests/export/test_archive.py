"""A network as a file for JAX alone: the same labels as segjax's own prediction."""

import dataclasses
import io
import json
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

import segjax
from segjax import export
from segjax.config import RunOptions
from segjax.export.archive import make_programs
from segjax.export.labels import feed
from segjax.models import FCN, SegNet, UNet, UNetPlusPlus
from segjax.modes import export as export_mode
from segjax.pretrained.convert import convert, load_arrays
from segjax.tasks import Instance
from segjax.types import UserError
from tests.model_folders import SAME, VALID, write_run

ROOT = Path(__file__).parents[2]

BLOCKED = """
import sys
for name in ('segjax', 'flax', 'optax', 'orbax', 'grain', 'cv2', 'PIL'):
    sys.modules[name] = None
import numpy as np
for number in (0, 1):
    picture = np.load(f'picture{number}.npy')
"""


def picture(size, channels=3, seed=0):
    """Coarse noise, so that a network finds something."""
    coarse = np.random.default_rng(seed).integers(0, 256, (-(-size[0] // 8), -(-size[1] // 8)))
    fine = np.kron(coarse, np.ones((8, 8), int))[: size[0], : size[1]]
    return np.stack([fine * (c + 1) // channels for c in range(channels)], -1).astype(np.uint8)


def call(content, name, image):
    """What README.md tells to do."""
    with zipfile.ZipFile(content) as file:
        weights = dict(np.load(io.BytesIO(file.read('weights.npz'))))
        made = jax_export.deserialize(bytearray(file.read(name)))
    assert made.platforms == ('cpu', 'cuda', 'tpu')
    return np.asarray(jax.jit(made.call)(weights, image))


def test_the_recipe_of_a_published_folder_needs_jax_alone(tmp_path):
    """Any size; in a process that cannot import segjax."""
    run = write_run(tmp_path / 'run', round_to=4, normalize='imagenet')
    command = [sys.executable, 'launch.py', '--mode=export', str(run), '--distributed=off']
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    folder = run / 'export'
    card = (folder / 'README.md').read_text()
    text = card.partition('nothing but jax, flatbuffers and numpy:\n\n')[2]
    recipe = text.partition('\n\n`picture`')[0]
    pictures = [picture((65, 90)), picture((72, 64), seed=1)]
    for number, image in enumerate(pictures):
        np.save(folder / f'picture{number}.npy', image)
    save = "\n    np.save(f'label{number}.npy', label)\n"
    script = BLOCKED + recipe + save
    subprocess.run([sys.executable, '-c', script], cwd=folder, check=True, capture_output=True)
    published, original = segjax.load(folder), segjax.load(run)
    for number, image in enumerate(pictures):
        label = np.load(folder / f'label{number}.npy')
        assert len(np.unique(label)) > 1
        np.testing.assert_array_equal(label, original.predict(image).label)
        np.testing.assert_array_equal(label, published.predict(image).label)


NETWORKS = {
    'each picture by itself, mirrored to a multiple': {'normalize': 'zscore', 'round_to': 8},
    'gray, turned': {'channels': 1, 'orientations': 2, 'normalize': 'caffe'},
    'in tiles, unpadded': {'model': VALID, 'tile': (24, 24)},
    'forms that depend on the platform': {
        'model': FCN(3, widths=(4, 4, 4, 4, 4), fc_features=8),
        'seed': 0,
    },
    'maxima that find back to their places': {'model': SegNet(3, widths=(4, 4, 4, 4, 4))},
}


@pytest.mark.parametrize('fields', NETWORKS.values(), ids=NETWORKS.keys())
def test_a_program_for_one_size_predicts_the_same(tmp_path, fields):
    predictor = segjax.load(write_run(tmp_path / 'run', **fields))
    image = picture((41, 52), predictor.channels)
    export.write_archive(tmp_path / 'file.zip', predictor, sizes=[(41, 52)])
    label = call(tmp_path / 'file.zip', '41x52', image)
    assert len(np.unique(label)) > 1
    np.testing.assert_array_equal(label, predictor.predict(image).label)


def test_several_runs_and_several_sizes_share_a_file(tmp_path):
    runs = [write_run(tmp_path / str(seed), seed=seed) for seed in (3, 4)]
    options = RunOptions(mode='export', runs=tuple(map(str, runs)), sizes=('24x32', '16x16'))
    assert export_mode.run(None, options) == 0
    folder, predictor = runs[0] / 'export', segjax.load(*runs)
    assert sorted(file.name for file in folder.iterdir()) == ['README.md', 'network.zip']
    for size in ((24, 32), (16, 16)):
        label = call(folder / 'network.zip', f'{size[0]}x{size[1]}', picture(size))
        np.testing.assert_array_equal(label, predictor.predict(picture(size)).label)
    with zipfile.ZipFile(folder / 'network.zip') as file:
        about = json.loads(file.read('about.json'))
    assert about['programs'] == ['24x32', '16x16']
    assert about['class_names'] == ['background', 'cell', 'wall']
    assert about['palette'][1] == [69, 170, 75]


@pytest.mark.parametrize(
    'changes',
    [{'scale': 0.5}, {'scale': 0.7, 'round_to': 32}, {'scale': 1.5}, {'stretch': (32, 18)}],
)
@pytest.mark.parametrize('normalize', ['caffe', 'zscore'])
def test_pictures_are_resized_inside_within_a_grey_level(tmp_path, changes, normalize):
    run = write_run(tmp_path / 'run', normalize=normalize, **changes)
    (network,) = segjax.load(run).networks
    image = picture((41, 50))
    fed = feed(network, jnp.asarray(image), network.pipeline.canvas((41, 50)))
    expected = network.feed(image)
    assert fed.dtype == expected.dtype
    level = 1 if normalize == 'caffe' else 1 / image.std(axis=(0, 1)).min()
    np.testing.assert_allclose(np.asarray(fed, float), expected.astype(float), atol=level)


def test_a_pruned_network_is_smaller_and_predicts_what_its_head_did(tmp_path):
    whole = UNetPlusPlus(3, widths=(4, 6, 8, 8, 8), norm='none')
    run = write_run(tmp_path / 'run', model=whole)
    sizes = {}
    for prune in (0, 2):
        options = RunOptions(mode='export', workdir=run, prune=prune, sizes=('32x48',))
        assert export_mode.run(None, options) == 0
        folder = run / ('export_L2' if prune else 'export')
        sizes[prune] = [(folder / n).stat().st_size for n in ('network.zip', 'model.safetensors')]
    assert all(small < 0.6 * large for small, large in zip(sizes[2], sizes[0], strict=True))
    said = json.loads((run / 'model/model.json').read_text())
    said['task']['head'] = '2'
    (run / 'model/model.json').write_text(json.dumps(said))
    expected = segjax.load(run).predict(picture((32, 48))).label
    label = call(run / 'export_L2/network.zip', '32x48', picture((32, 48)))
    np.testing.assert_array_equal(label, expected)
    np.testing.assert_array_equal(segjax.load(folder).predict(picture((32, 48))).label, expected)


def test_values_go_out_under_the_names_of_another_project(tmp_path):
    plain = UNet(3, widths=(4, 6), padding='same', up='bilinear', up_kernel=1)
    run = write_run(tmp_path / 'run', model=plain)
    options = RunOptions(mode='export', workdir=run, sizes=('16x16',), layout='torch_em')
    assert export_mode.run(None, options) == 0
    arrays = load_arrays(run / 'export/torch.safetensors')
    assert arrays['encoder.blocks.0.block.0.weight'].shape == (4, 3, 3, 3)
    back = convert(plain, arrays, layout='torch_em')
    jax.tree.map(np.testing.assert_array_equal, back, segjax.load(run).variables[0])


def test_what_cannot_be_exported_is_refused(tmp_path):
    run = write_run(tmp_path / 'run', tile=(16, 16))
    with pytest.raises(UserError, match='name sizes with --sizes=512x512'):
        export_mode.run(None, RunOptions(mode='export', workdir=run))
    predictor = segjax.load(run)
    (network,) = predictor.networks
    detector = dataclasses.replace(network, task=Instance())
    predictor.networks = (detector,)
    with pytest.raises(UserError, match='a detector has no program for any size, as its anchors'):
        make_programs(predictor, [])
    unpooling = write_run(tmp_path / 'unpooling', SegNet(3, widths=(4, 4, 4, 4, 4)))
    with pytest.raises(UserError, match='no program for any size, as its layers compare sizes'):
        make_programs(segjax.load(unpooling), [])
    with pytest.raises(UserError, match='--prune=2: only a U-Net'):
        export_mode.run(None, RunOptions(mode='export', workdir=run, prune=2))
    with pytest.raises(UserError, match='takes HEIGHTxWIDTH'):
        RunOptions(mode='export', sizes=('512',))
    with pytest.raises(UserError, match='finished run'):
        export_mode.run(None, RunOptions(mode='export', workdir=tmp_path))


@pytest.mark.parametrize(
    ('normalize', 'mean', 'std', 'expected'),
    [
        ('unit', [0, 0, 0], [255, 255, 255], 'uint8'),
        ('unit', [0, 0, 0], [65535, 65535, 65535], 'uint16'),
        ('centered', [0.5, 0.5, 0.5], [0.5, 0.5, 0.5], 'float32'),
        ('zscore', [0, 0, 0], [1, 1, 1], 'uint8'),
    ],
)
def test_the_type_of_pictures_is_that_of_training(normalize, mean, std, expected):
    said = {'normalize': normalize, 'channels': 3, 'mean': mean, 'std': std}
    assert export_mode.picture_type(said) == expected


def test_the_card_says_how_good_it_is(tmp_path):
    run = write_run(tmp_path / 'run', model=SAME)
    result = {
        'metrics': {'val': {'mean_iou': 0.71234, 'cell/iou': 0.5}},
        'step': 7,
        'protocol': {'split': 'val', 'images': 24},
    }
    (run / 'result.json').write_text(json.dumps(result))
    said = json.loads((run / 'model/model.json').read_text())
    predictor = segjax.load(run)
    card = export_mode.model_card(predictor, run, [(8, 8)], said)
    for line in ('| mean iou (val) | 0.7123 |', '| images | 24 |', '| 1 | cell | #45aa4b |'):
        assert line in card.splitlines()
    assert (
        textwrap.indent(export.recipe('network.zip', predictor, [(8, 8)]), '    ').rstrip() in card
    )
