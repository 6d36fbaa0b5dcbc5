"""torchvision's VGG16 to an encoder and to FCN, and back to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from segjax import ops
from segjax.backbones import VGG
from segjax.models import FCN, UNet
from segjax.pretrained import convert, export_arrays, load_arrays
from segjax.types import UserError

WIDTHS = (2, 3, 4, 5, 6)
NUMBERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of torchvision's convolutions
OUT = [w for w, n in zip(WIDTHS, (2, 2, 3, 3, 3), strict=True) for _ in range(n)]
FC, CLASSES = 8, 10


def vgg16_arrays(classifier=True):
    """A state dict of a narrow torchvision VGG16."""
    random = np.random.default_rng(0)
    arrays, inputs = {}, 3
    for number, outputs in zip(NUMBERS, OUT, strict=True):
        arrays[f'features.{number}.weight'] = random.normal(size=(outputs, inputs, 3, 3))
        arrays[f'features.{number}.bias'] = random.normal(size=outputs)
        inputs = outputs
    if classifier:
        for number, (o, i) in {0: (FC, inputs * 49), 3: (FC, FC), 6: (CLASSES, FC)}.items():
            arrays[f'classifier.{number}.weight'] = random.normal(size=(o, i)) * 0.1
            arrays[f'classifier.{number}.bias'] = random.normal(size=o)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def fcn(num_classes=CLASSES, **fields):
    return FCN(num_classes, **{'widths': WIDTHS, 'fc_features': FC, 'dropout': 0.0} | fields)


def random_variables(model):
    """Variables of a model's shapes, without compiling anything."""
    image = jnp.zeros((1, 64, 64, 3))
    shapes = jax.eval_shape(lambda key: model.init(key, image, train=False), jax.random.key(0))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda x: random.normal(size=x.shape).astype(x.dtype), shapes)


def silent(line):
    raise AssertionError(f'said {line!r}')


def assert_equal_bits(new, old):
    assert new.keys() == old.keys()
    for name, array in old.items():
        assert new[name].dtype == array.dtype and new[name].shape == array.shape, name
        assert np.asarray(new[name]).tobytes() == np.asarray(array).tobytes(), name


def numpy_vgg16(image, arrays):
    """c5 by loops over torchvision's arrays; `image` is `c h w`."""
    x = image
    for number in range(31):
        if number in NUMBERS:
            kernel, bias = (arrays[f'features.{number}.{leaf}'] for leaf in ('weight', 'bias'))
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
            y = np.einsum('chwij,ocij->ohw', windows, kernel, optimize=True)
            x = np.maximum(y + bias[:, None, None], 0)
        elif number in (4, 9, 16, 23, 30):
            c, h, w = x.shape
            x = x.reshape(c, h // 2, 2, w // 2, 2).max((2, 4))
    return x


def numpy_classifier(c5, arrays):
    """The fully connected layers of torchvision, on a 7x7 map flattened as c h w."""
    x = c5.reshape(-1)
    for number in (0, 3, 6):
        x = arrays[f'classifier.{number}.weight'] @ x + arrays[f'classifier.{number}.bias']
        x = np.maximum(x, 0) if number != 6 else x
    return x


def test_the_encoder_computes_what_torchvision_defines(key):
    arrays = vgg16_arrays()
    model = VGG(16, WIDTHS)
    variables = convert(model, arrays, layout='torchvision', say=silent)
    image = np.asarray(jax.random.normal(key, (1, 64, 64, 3)))
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False))
    c5 = apply(variables, jnp.asarray(image))['c5'][0]
    expected = numpy_vgg16(image[0].transpose(2, 0, 1), arrays).transpose(1, 2, 0)
    np.testing.assert_allclose(c5, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_the_convolutionalised_classifier_gives_the_classifiers_answer(key):
    """On the 7x7 map of a 224x224 crop, in the one cell where fc6 sees all of it.

    A wrong order of fc6's inputs (h w c instead of c h w) would pass every test of shapes.
    """
    arrays = vgg16_arrays()
    variables = convert(fcn(stride=32), arrays, layout='torchvision', say=silent)['params']
    c5 = np.maximum(np.asarray(jax.random.normal(key, (7, 7, WIDTHS[-1]))), 0)
    x = jnp.asarray(c5[None])
    for name in ('fc6', 'fc7'):
        conv = variables[name]['conv']
        x = jax.nn.relu(
            ops.conv(x, conv['kernel'], padding='valid') + conv['bias'].reshape(1, 1, 1, -1)
        )
    score = variables['score_fr']
    x = ops.conv(x, score['kernel']) + score['bias'].reshape(1, 1, 1, -1)
    expected = numpy_classifier(c5.transpose(2, 0, 1), arrays)
    np.testing.assert_allclose(x[0, 0, 0], expected, rtol=1e-4, atol=1e-5)


def classified(model, params, image):
    """The coarse scores of FCN for pictures `b h w c`."""
    _, found = jax.jit(
        lambda x: model.apply(
            {'params': params},
            x,
            train=False,
            capture_intermediates=lambda module, _: module.name == 'score_fr',
            mutable=['intermediates'],
        )
    )(image)
    return np.asarray(found['intermediates']['score_fr']['__call__'][0])


def test_a_224x224_crop_has_the_classifiers_answer_in_the_middle(key):
    """From pixels to scores: of the 7x7 cells the middle one sees the whole 7x7 map."""
    arrays, model = vgg16_arrays(), fcn(stride=32)
    params = convert(model, arrays, layout='torchvision', say=silent)['params']
    image = jax.random.normal(key, (1, 224, 224, 3))
    scores = classified(model, params, image)
    assert scores.shape == (1, 7, 7, CLASSES)
    c5 = numpy_vgg16(np.asarray(image[0]).transpose(2, 0, 1), arrays)
    expected = numpy_classifier(c5, arrays)
    np.testing.assert_allclose(scores[0, 3, 3], expected, rtol=1e-3, atol=1e-4 * np.ptp(expected))


def test_a_larger_picture_has_a_heat_map_of_its_crops_answers(key):
    """Each inner cell is the answer for the 224x224 pixels around it.

    Up to the padding of the convolutions, which a crop has at its own border. The outer taps are
    zero here, so that none of it is read and the answers agree.
    """
    arrays = vgg16_arrays()
    for name, array in arrays.items():
        if array.ndim == 4:
            arrays[name] = 3 * array * (np.arange(9) == 4).reshape(3, 3).astype(np.float32)
    model = fcn(stride=32)
    params = convert(model, arrays, layout='torchvision', say=silent)['params']
    image = jax.random.normal(key, (1, 224 + 32, 224 + 64, 3))
    heat = classified(model, params, image)[0]
    assert heat.shape == (8, 9, CLASSES)
    cells = [(0, 0), (1, 2)]
    crops = [image[0, 32 * i : 32 * i + 224, 32 * j : 32 * j + 224] for i, j in cells]
    answers = classified(model, params, jnp.stack(crops))[:, 3, 3]
    assert np.ptp(answers, axis=0).max() > 0.01 * np.ptp(answers)  # they are not all the same
    expected = np.stack([heat[3 + i, 3 + j] for i, j in cells])
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-5 * np.ptp(expected))


def test_there_and_back_to_the_bit():
    arrays = vgg16_arrays()
    model = fcn(stride=32)
    variables = convert(model, arrays, layout='torchvision', say=silent)
    assert_equal_bits(export_arrays(model, variables, layout='torchvision'), arrays)


@pytest.mark.parametrize(
    'fields',
    [
        {'stride': 8},
        {'stride': 8, 'upsampling': 'learned'},
        {'stride': 16, 'norm': 'batch'},
        {'stride': 32, 'padding': 'caffe', 'num_classes': 1},
    ],
    ids=str,
)
def test_back_and_there_to_the_bit(fields):
    """Layers that torchvision has not travel under our own names."""
    model = fcn(**fields)
    variables = random_variables(model)
    arrays = export_arrays(model, variables, layout='torchvision')
    assert not any('/' in name for name in arrays)
    new = convert(model, arrays, layout='torchvision', say=silent)
    jax.tree.map(np.testing.assert_array_equal, new, variables)


def test_batch_normalisation_is_numbered_as_torchvision_numbers_it():
    model = VGG(16, WIDTHS, norm='batch')
    variables = random_variables(model)
    names = set(export_arrays(model, variables, layout='torchvision'))
    convs = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)  # of vgg16_bn
    leaves = ('weight', 'bias', 'running_mean', 'running_var')
    expected = {f'features.{n}.weight' for n in convs}
    assert names == expected | {f'features.{n + 1}.{leaf}' for n in convs for leaf in leaves}


def test_num_batches_tracked_is_harmless_and_all_else_is_not():
    harmless = {'features.1.num_batches_tracked': np.array(3)}
    convert(VGG(16, WIDTHS), vgg16_arrays() | harmless, layout='torchvision', say=silent)
    arrays = vgg16_arrays() | {'features.99.weight': np.zeros((1, 2), np.float32)}
    arrays['features.0.weight'] = arrays['features.0.weight'][:, :2]
    arrays['features.2.bias'] = arrays['features.2.bias'] * np.nan
    del arrays['features.28.bias']
    with pytest.raises(UserError) as error:
        convert(VGG(16, WIDTHS), arrays, layout='torchvision')
    lines = str(error.value).splitlines()
    assert lines[1:-1] == [
        '  misshapen: features.0.weight: params/stage1/conv1_1/kernel needs (2, 3, 3, 3), '
        'the file has (2, 2, 3, 3)',
        '  not finite: features.2.bias',
        '  missing: features.28.bias (6,), for params/stage5/conv5_3/bias',
        '  unexpected: features.99.weight (1, 2)',
    ]


def test_a_head_of_another_number_of_classes_is_new_and_said_so():
    said = []
    variables = convert(fcn(21, stride=16), vgg16_arrays(), layout='torchvision', say=said.append)[
        'params'
    ]
    assert variables['score_fr']['kernel'].shape == (1, 1, FC, 21)
    assert not np.any(variables['score_fr']['kernel'])  # FCN's scores start at zero
    assert len(said) == 1 and 'score_fr (the file has another shape' in said[0]
    assert 'score_pool4' in said[0] and 'fc6' not in said[0]


def test_the_encoder_alone():
    """fc6 and fc7 are as in a fresh model: not zero, not the file's."""
    said = []
    variables = convert(
        fcn(stride=32),
        vgg16_arrays(),
        layout='torchvision',
        drop=('classifier.*',),
        say=said.append,
    )['params']
    kernel = variables['fc6']['conv']['kernel']
    np.testing.assert_allclose(kernel.std(), (2 / (49 * WIDTHS[-1])) ** 0.5, rtol=0.1)  # He's
    assert not np.any(kernel == vgg16_arrays()['classifier.0.weight'].reshape(kernel.shape))
    assert all(layer in said[0] for layer in ('fc6', 'fc7', 'score_fr'))


def test_weights_without_a_classifier_do_not_fit_the_whole():
    with pytest.raises(UserError, match=r'missing: classifier\.0\.weight \(8, 294\)'):
        convert(fcn(), vgg16_arrays(classifier=False), layout='torchvision')


def conv1_1(variables, image):
    """What the first layer makes of a picture."""
    return ops.conv(image, variables['params']['stage1']['conv1_1']['kernel'])


def test_a_grey_picture_gives_what_its_rgb_copy_gives(key):
    grey, rgb = (
        convert(
            VGG(16, WIDTHS), vgg16_arrays(), layout='torchvision', channels=channels, say=silent
        )
        for channels in (1, 3)
    )
    image = jax.random.normal(key, (1, 8, 8, 1))
    expected = conv1_1(rgb, jnp.repeat(image, 3, axis=-1))
    np.testing.assert_allclose(conv1_1(grey, image), expected, rtol=1e-4, atol=1e-5)


def test_weights_trained_on_bgr_see_rgb_pictures(key):
    arrays = vgg16_arrays()
    model = VGG(16, WIDTHS)
    bgr = convert(model, arrays, layout='torchvision', channel_order='bgr', say=silent)
    plain = convert(model, arrays, layout='torchvision', say=silent)
    image = jax.random.normal(key, (1, 8, 8, 3))
    expected = conv1_1(plain, image[..., ::-1])
    np.testing.assert_allclose(conv1_1(bgr, image), expected, rtol=1e-4, atol=1e-5)
    back = export_arrays(model, bgr, layout='torchvision', channel_order='bgr')
    assert_equal_bits(back, vgg16_arrays(classifier=False))


def test_half_precision_files_give_float32_parameters():
    half = {name: array.astype(np.float16) for name, array in vgg16_arrays().items()}
    variables = convert(VGG(16, WIDTHS), half, layout='torchvision', say=silent)
    kernel = variables['params']['stage1']['conv1_1']['kernel']
    assert kernel.dtype == jnp.float32
    expected = half['features.0.weight'].astype(np.float32).transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)


def test_unknown_layouts_and_models_are_named():
    with pytest.raises(UserError, match="no layout 'keras'"):
        convert(VGG(16, WIDTHS), {}, layout='keras')
    with pytest.raises(UserError, match=r'knows no model with the arrays params/down1'):
        convert(UNet(2, widths=(2, 3)), {}, layout='torchvision')


def test_files_are_told_by_their_ending(tmp_path):
    arrays = vgg16_arrays()
    save_file(arrays, tmp_path / 'a.safetensors')
    assert_equal_bits(load_arrays(tmp_path / 'a.safetensors'), arrays)
    (tmp_path / 'a.npz').write_bytes(b'')
    with pytest.raises(UserError, match=r'a\.npz: weights are read from'):
        load_arrays(tmp_path / 'a.npz')
