"""--weights=NAME, RUN or FILE: what fits is taken, what may differ is said, all else refused."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.models import FCN
from segjax.pretrained import export_arrays, table
from segjax.pretrained.initial import load_weights
from segjax.pretrained.safetensors_io import save_variables
from segjax.types import UserError
from tests.pretrained import torch_writer as writer

NARROW = {'widths': (1, 2, 2, 2, 2), 'fc_features': 3}


def fresh(model, seed):
    """Variables that are all different from zero and from those of other seeds."""
    shapes = jax.eval_shape(
        lambda key: model.init(key, jnp.zeros((1, 64, 64, 3)), train=False), jax.random.key(0)
    )
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda x: random.normal(size=x.shape).astype(x.dtype), shapes)


def silent(line):
    raise AssertionError(f'said {line!r}')


def assert_trees(new, old):
    jax.tree.map(np.testing.assert_array_equal, new, old)


@pytest.fixture
def run(tmp_path):
    """The directory of a finished run of FCN-32s with four classes, and its variables."""
    variables = fresh(FCN(4, 32, **NARROW), seed=1)
    (tmp_path / 'run/model').mkdir(parents=True)
    save_variables(tmp_path / 'run/model/model.safetensors', variables)
    return tmp_path / 'run', variables


@pytest.fixture
def known(tmp_path, monkeypatch):
    """`vgg16` of the table as a narrow file that lies in the cache already."""
    model = FCN(4, 32, **NARROW)
    arrays = export_arrays(model, fresh(model, seed=1), layout='torchvision')
    tensors = {n: writer.tensor(str(i), a) for i, (n, a) in enumerate(arrays.items())}
    writer.save_legacy(tmp_path / 'vgg16.pth', tensors)
    digest = hashlib.sha256((tmp_path / 'vgg16.pth').read_bytes()).hexdigest()
    changed = {'url': 'https://nowhere.invalid/vgg16.pth', 'sha256': digest[:8]}
    for name in ('vgg16', 'vgg16_caffe'):
        entry = table.KnownWeights(**(vars(table.KNOWN[name]) | changed))
        monkeypatch.setitem(table.KNOWN, name, entry)
    monkeypatch.setenv('SEGJAX_WEIGHTS_DIR', str(tmp_path))
    return fresh(model, seed=1)


def test_a_run_its_model_folder_and_its_file(run):
    folder, variables = run
    for source in (folder, folder / 'model', folder / 'model/model.safetensors'):
        assert_trees(load_weights(str(source), variables, say=silent), variables)


def test_a_finer_net_starts_from_a_coarser_one(run):
    """Staged training: 16s from 32s keeps all but the new skip, which is named."""
    folder, coarse = run
    expected = fresh(FCN(4, 16, **NARROW), seed=2)
    said = []
    new = load_weights(str(folder), expected, initial=lambda: expected, say=said.append)
    assert said == ['These layers start from their initial values: score_pool4.']
    assert_trees(new['params'].pop('score_pool4'), expected['params']['score_pool4'])
    assert_trees(new, coarse)


def staged(tmp_path, coarse, fine, **fields):
    """Parameters at stride `fine` from a run at `coarse`; the run's; fresh ones; what is said."""
    old = fresh(FCN(4, coarse, **NARROW, **fields), seed=1)
    (tmp_path / 'run/model').mkdir(parents=True)
    save_variables(tmp_path / 'run/model/model.safetensors', old)
    expected = fresh(FCN(4, fine, **NARROW, **fields), seed=2)
    said = []
    new = load_weights(str(tmp_path / 'run'), expected, initial=lambda: expected, say=said.append)
    return new['params'], old['params'], expected['params'], said


@pytest.mark.parametrize(
    ('coarse', 'fine', 'layer'), [(32, 16, 'score_pool4'), (16, 8, 'score_pool3')]
)
def test_stages_of_the_released_training(tmp_path, coarse, fine, layer):
    """16s from 32s, 8s from 16s, with padding='caffe' and frozen up-sampling."""
    new, old, fresh_one, said = staged(tmp_path, coarse, fine, padding='caffe')
    assert said == [f'These layers start from their initial values: {layer}.']
    assert_trees(new.pop(layer), fresh_one[layer])
    assert_trees(new, old)


def test_stages_with_learned_upsampling(tmp_path):
    """The last up-sampling is another: it begins as interpolation; upscore2 is kept."""
    new, old, fresh_one, said = staged(tmp_path, 16, 8, padding='caffe', upsampling='learned')
    for layer in ('upscore_pool4', 'upscore8', 'score_pool3'):
        assert layer in said[0]
        assert_trees(new[layer], fresh_one[layer])
    assert_trees(new['upscore2'], old['upscore2'])


def test_a_stage_does_not_start_from_another_backbone(tmp_path):
    """FCN-16s is over VGG16; FCN-AlexNet's weights are refused by name."""
    alexnet = fresh(FCN(4, 32, backbone='caffenet', padding='caffe', fc_features=3), seed=1)
    save_variables(tmp_path / 'model.safetensors', alexnet)
    expected = fresh(FCN(4, 16, padding='caffe', **NARROW), seed=2)
    with pytest.raises(UserError) as error:
        load_weights(str(tmp_path), expected, initial=lambda: expected)
    message = str(error.value)
    assert 'missing: params/vgg16/stage1/conv1_1/kernel' in message
    assert 'unexpected: params/caffenet/conv1/kernel' in message
    assert 'misshapen: params/fc6/conv/kernel' in message


def test_other_classes_take_a_new_head(run):
    folder, old = run
    expected = fresh(FCN(7, 32, **NARROW), seed=2)
    said = []
    new = load_weights(str(folder), expected, initial=lambda: expected, say=said.append)
    assert 'score_fr' in said[0]
    assert_trees(new['params'].pop('score_fr'), expected['params']['score_fr'])
    assert_trees(new['params'], {k: v for k, v in old['params'].items() if k != 'score_fr'})


def test_evaluation_takes_nothing_but_the_whole(run):
    folder, _ = run
    with pytest.raises(UserError, match=r'missing: params/score_pool4/kernel'):
        load_weights(str(folder), fresh(FCN(4, 16, **NARROW), seed=2))


def test_another_architecture_is_refused_with_names(run):
    folder, _ = run
    wider = fresh(FCN(4, 32, widths=(1, 2, 2, 2, 9), fc_features=3), seed=2)
    with pytest.raises(UserError, match=r'misshapen: params/vgg16/stage5/conv5_1/kernel'):
        load_weights(str(folder), wider, initial=lambda: wider)


def test_known_weights_by_name(known):
    """Nothing of the file is left out: four classes on both sides."""
    assert_trees(load_weights('vgg16', known, initial=silent, say=silent), known)


def test_known_weights_under_a_new_head(known):
    expected = fresh(FCN(21, 8, **NARROW), seed=2)
    said = []
    new = load_weights('vgg16', expected, initial=lambda: expected, say=said.append)['params']
    heads = ('score_fr', 'score_pool4', 'score_pool3')
    assert all(head in said[0] for head in heads)
    for name, tree in new.items():
        assert_trees(tree, (expected if name in heads else known)['params'][name])
    with pytest.raises(UserError, match='score_fr'):
        load_weights('vgg16', expected)


def test_an_encoder_leaves_the_fully_connected_layers_new(known):
    expected = fresh(FCN(4, 32, **NARROW), seed=2)
    new = load_weights('vgg16_caffe', expected, initial=lambda: expected, say=lambda _: None)
    for name, tree in new['params'].items():
        assert_trees(tree, (known if name == 'vgg16' else expected)['params'][name])


def test_a_file_in_the_layout_of_torchvision(known, tmp_path):
    assert_trees(load_weights(str(tmp_path / 'vgg16.pth'), known, say=silent), known)


def test_what_is_not_there_is_said_with_what_could_be_meant(tmp_path):
    with pytest.raises(UserError, match=r'--weights=vg16: neither known weights.*mean vgg16'):
        load_weights('vg16', {})


def test_offline_is_one_clear_message(known, tmp_path, monkeypatch):
    monkeypatch.setenv('SEGJAX_WEIGHTS_DIR', str(tmp_path / 'empty'))
    monkeypatch.setattr('segjax.pretrained.fetch.OPEN_SECONDS', 0.3)
    with pytest.raises(UserError, match=r'nowhere\.invalid/vgg16\.pth could not be downloaded'):
        load_weights('vgg16', known)
