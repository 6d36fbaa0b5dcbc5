"""Networks of torchvision and smp: their outputs from their weights, and these to the bit.

The numbers are the projects' own (`segjax/tools/torchvision_golden.py`, `smp_golden.py`), for
weights that follow from names and shapes.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.models import LRASPP, DeepLabV3, DeepLabV3Plus, FCNResNet
from segjax.pretrained import convert, export_arrays
from segjax.pretrained.convert import fit as fit_arrays
from segjax.pretrained.layouts import layout_of
from segjax.pretrained.safetensors_io import named_leaves
from segjax.tools import smp_golden
from segjax.tools import torchvision_golden as golden

FILE = Path(__file__).with_name('torchvision_golden.npz')
SMP_FILE = Path(__file__).with_name('smp_golden.npz')
MODELS = {
    'fcn_resnet50': FCNResNet(21),
    'deeplabv3_resnet50': DeepLabV3(21, 'resnet50', 'torchvision', 8, aux=True),
    'deeplabv3_mobilenet_v3_large': DeepLabV3(21, 'mobilenet_v3_large', 'torchvision', aux=True),
    'lraspp_mobilenet_v3_large': LRASPP(21),
}
KEYS = {
    'fcn_resnet50': 334,
    'deeplabv3_resnet50': 370,
    'deeplabv3_mobilenet_v3_large': 360,
    'lraspp_mobilenet_v3_large': 319,
}


def shapes(network, path=FILE):
    """Names and shapes of the project's state dict."""
    with np.load(path) as file:
        return {n: tuple(shape) for n, shape in json.loads(str(file[f'{network}/shapes'])).items()}


def ones(network):
    return {name: np.ones(shape, np.float32) for name, shape in shapes(network).items()}


def silent(line):
    raise AssertionError(f'said {line!r}')


@pytest.mark.parametrize(
    'network', [pytest.param(n, marks=[pytest.mark.slow] * ('lraspp' not in n)) for n in MODELS]
)
def test_outputs_equal_theirs(network):
    model = MODELS[network]
    variables = convert(model, golden.weights(shapes(network)), layout='torchvision', say=silent)
    image = jnp.asarray(golden.picture())[None]
    found = jax.jit(lambda v: model.apply(v, image, train=False))(variables)
    outputs = dict(zip(golden.SEGMENTATION[network], (found.logits, *found.aux), strict=True))
    with np.load(FILE) as file:
        for name, logits in outputs.items():
            check(logits, file[f'{network}/{name}'])


def check(logits, golden_values):
    *expected, scale = golden_values
    *values, root = golden.sample(np.asarray(logits[0]))
    np.testing.assert_allclose(root, scale, rtol=1e-4)
    np.testing.assert_allclose(values, expected, atol=1e-4 * scale)


@pytest.mark.slow
@pytest.mark.parametrize('encoder', smp_golden.ENCODERS)
def test_outputs_equal_those_of_segmentation_models(encoder):
    model = DeepLabV3Plus(smp_golden.CLASSES, encoder, 'smp')
    variables = convert(model, golden.weights(shapes(encoder, SMP_FILE)), layout='smp', say=silent)
    image = jnp.asarray(golden.picture())[None]
    found = jax.jit(lambda v: model.apply(v, image, train=False))(variables)
    with np.load(SMP_FILE) as file:
        check(found.logits, file[f'{encoder}/out'])


@pytest.mark.parametrize('encoder', smp_golden.ENCODERS)
def test_every_array_of_segmentation_models_has_its_place_and_comes_back(encoder):
    model = DeepLabV3Plus(smp_golden.CLASSES, encoder, 'smp')
    arrays = {n: np.ones(s, np.float32) for n, s in shapes(encoder, SMP_FILE).items()}
    assert layout_of(arrays) == 'smp'
    back = export_arrays(model, convert(model, arrays, layout='smp', say=silent), layout='smp')
    assert back.keys() == {n for n in arrays if not n.endswith('num_batches_tracked')}
    assert all(back[name].shape == arrays[name].shape for name in back)


@pytest.mark.parametrize('network', MODELS)
def test_every_array_has_its_place_and_comes_back(network):
    arrays = ones(network)
    assert len(arrays) == KEYS[network]
    variables = convert(MODELS[network], arrays, layout='torchvision', say=silent)
    back = export_arrays(MODELS[network], variables, layout='torchvision')
    assert back.keys() == {n for n in arrays if not n.endswith('num_batches_tracked')}
    assert all(back[name].shape == arrays[name].shape for name in back)


def fit(model, arrays):
    """Variables of `model`, new ones zero, and what was said."""
    image = jnp.zeros((1, 32, 32, 3))
    expected = jax.eval_shape(lambda key: model.init(key, image, train=False), jax.random.key(0))
    leaves, said = dict(named_leaves(expected)), []
    initial = lambda names: {name: np.zeros(leaves[name].shape) for name in names}
    layout = {'layout': 'torchvision', 'initial': initial}
    return fit_arrays(expected, arrays, say=said.append, **layout), said


def test_a_second_head_is_left_out_where_there_is_none_and_new_where_the_file_has_none():
    without = DeepLabV3(21, 'mobilenet_v3_large', 'torchvision')
    arrays = ones('deeplabv3_mobilenet_v3_large')
    variables, said = fit(without, arrays)
    assert 'aux' not in variables['params'] and not said
    fewer = {n: x for n, x in arrays.items() if not n.startswith('aux_classifier')}
    variables, said = fit(without.clone(aux=True), fewer)
    assert said == ['These layers start from their initial values: aux/bn, aux/conv, score_aux.']
    assert not variables['params']['aux']['conv']['kernel'].any()


def test_other_classes_get_new_scores():
    variables, said = fit(LRASPP(5), ones('lraspp_mobilenet_v3_large'))
    assert 'score_high (the file has another shape, (21, 128, 1, 1))' in said[0]
    assert not variables['params']['score_low']['kernel'].any()
    assert np.unique(variables['params']['cbr']['conv']['kernel']) == 1


@pytest.mark.parametrize(
    'model, classifier',
    [
        (LRASPP(3), 'mobilenet_v3_large'),
        (DeepLabV3(3, 'mobilenet_v2', 'torchvision'), 'mobilenet_v2'),
        (FCNResNet(3), 'resnet50'),
        (DeepLabV3(3, 'resnet18', 'torchvision'), 'resnet18'),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_a_file_of_the_classifier_starts_the_encoder_alone(model, classifier):
    arrays = {n: x for n, x in ones(classifier).items() if not n.startswith(('classifier', 'fc.'))}
    variables, said = fit(model, arrays)
    assert len(said) == 1 and 'score' in said[0] and classifier not in said[0]
    params = variables['params']
    assert all(np.all(leaf == 1) for leaf in jax.tree.leaves(params.pop(classifier)))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(params))
