"""What every model promises, one table for all of them."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from segjax.models import (
    FCN,
    LRASPP,
    DeepLab,
    DeepLabV3,
    DeepLabV3Plus,
    FCNResNet,
    SegNet,
    UNet,
    UNetPlusPlus,
    UNetTransfer,
)
from segjax.types import SegmentationOutput


@dataclasses.dataclass
class Case:
    """A narrow model, and sizes of input it takes."""

    model: Any
    size: tuple[int, int]
    other_size: tuple[int, int]


CASES = {
    f'fcn{stride}s-{norm}-{upsampling}': Case(
        FCN(3, stride, widths=(4,) * 5, fc_features=4, norm=norm, upsampling=upsampling),
        size=(64, 64),
        other_size=(33, 71),
    )
    for stride, norm, upsampling in itertools.product(
        (32, 16, 8), ('none', 'batch'), ('bilinear', 'skips', 'learned')
    )
} | {
    f'unet-{padding}-{norm}': Case(
        UNet(3, widths=(4, 4, 4), padding=padding, norm=norm),
        size=(44, 44) if padding == 'valid' else (16, 16),
        other_size=(52, 60) if padding == 'valid' else (24, 36),
    )
    for padding, norm in itertools.product(('valid', 'same'), ('none', 'batch'))
}
CASES |= {
    name: Case(model, size=(side, side), other_size=(side, 2 * side))
    for name, side, model in (
        ('unetpp', 16, UNetPlusPlus(3, depth=2, widths=(4, 4, 4))),
        ('unetpp-batch', 16, UNetPlusPlus(3, False, 2, (4, 4, 4), 'batch', False, up='bilinear')),
        (
            'unetpp-resnet18',
            4,
            UNetPlusPlus(3, depth=1, widths=(4,), norm='batch', use_bias=False, up='nearest',
                         backbone='resnet18', backbone_width=4, full_width=4),
        ),
        ('vgg11', 32, UNetTransfer(3, 'vgg11', width=2, backbone_width=2)),
        ('unet-resnet18', 32, UNetTransfer(3, 'resnet18', width=4, backbone_width=4)),
        ('segnet', 35, SegNet(3, widths=(4,) * 5)),
        ('segnet-basic', 18, SegNet(3, 'basic', widths=(4,) * 4)),
    )
}  # fmt: skip


SLOW = {'segnet', 'unetpp-resnet18', 'vgg11', 'unet-resnet18'}  # to compile


# Too deep to compute with here: tests/pretrained compares their outputs with other projects'.
DEEP = {
    name: Case(model, size=(33, 49), other_size=(40, 32))
    for name, model in (
        ('deeplab', DeepLab(3, features=4, width=2)),
        ('deeplabv3', DeepLabV3(3, 'resnet50', width=0.0625, features=4)),
        ('deeplabv3-torchvision', DeepLabV3(3, 'resnet18', 'torchvision', 8, width=0.0625)),
        ('deeplabv3plus', DeepLabV3Plus(3, 'xception41', width=0.0625, features=4)),
        ('deeplabv3plus-smp', DeepLabV3Plus(3, 'mobilenet_v2', 'smp', width=0.25, features=4)),
        ('fcn_resnet', FCNResNet(3, aux=False, width=4)),
        ('lraspp', LRASPP(3)),
    )
}


@pytest.fixture(params=CASES | DEEP)
def case(request):
    return (CASES | DEEP)[request.param]


@pytest.fixture(params=[pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in CASES])
def computed(request):
    return CASES[request.param]


def _image(size, batch=2):
    image = np.random.default_rng(1).normal(size=(batch, *size, 3))
    return jnp.asarray(image, jnp.float32)


def test_shapes_and_types(case, shapes):
    model = case.model.clone(dtype='bfloat16')
    flat = shapes(model, (1, *case.size, 3))
    assert {leaf.dtype for leaf in flat.values()} == {jnp.dtype('float32')}
    variables = unflatten_dict(flat, sep='/')
    for size, train in ((case.size, True), (case.other_size, False)):
        output, updates = jax.eval_shape(
            lambda v, x, key, m=model, t=train: m.apply(
                v, x, train=t, rngs={'dropout': key}, mutable=['batch_stats']
            ),
            variables,
            jax.ShapeDtypeStruct((2, *size, 3), jnp.float32),
            jax.random.key(0),
        )
        assert isinstance(output, SegmentationOutput)
        h, w = (side - 2 * model.margin for side in size)
        assert output.logits.shape == (2, h, w, 3)
        assert output.logits.dtype == jnp.float32
        heads = model.depth if getattr(model, 'deep_supervision', False) else 1
        assert len(output.aux) == heads - 1
        for aux in output.aux:
            assert (aux.shape, aux.dtype) == (output.logits.shape, jnp.float32)
        # What training returns can be fed to the same program again.
        same = jax.tree.map(
            lambda new, old: new.shape == old.shape and new.dtype == old.dtype,
            *[updates, {k: v for k, v in variables.items() if k != 'params'}],
        )
        assert all(jax.tree.leaves(same))


def test_every_parameter_has_a_finite_gradient(computed, draw):
    model, image = computed.model, _image(computed.size)
    variables = draw(model, image.shape)

    def objective(params):
        output, _ = model.apply(
            {**variables, 'params': params},
            image,
            train=True,
            rngs={'dropout': jax.random.key(0)},
            mutable=['batch_stats'],
        )
        heads = (output.logits, *output.aux)
        return sum(jnp.sum(jnp.square(logits - 1)) for logits in heads)

    gradients = flatten_dict(jax.grad(objective)(variables['params']), sep='/')
    for path, gradient in gradients.items():
        assert np.isfinite(gradient).all(), path
        assert np.any(gradient), f'{path} has no gradient'


def test_images_of_a_batch_do_not_meet(computed, draw):
    model, images = computed.model, _image(computed.size)
    variables = draw(model, images.shape)
    together = model.apply(variables, images, train=False).logits
    assert together.dtype == jnp.float32
    assert np.ptp(together) > 0.1  # the output does depend on something
    for i in range(2):
        alone = model.apply(variables, images[i : i + 1], train=False).logits
        np.testing.assert_allclose(alone[0], together[i], atol=1e-4)


@pytest.mark.parametrize('name', ['fcn8s-batch-learned', 'unet-valid-batch'])
def test_one_program_serves_every_batch_of_a_shape(name, draw):
    model, images = CASES[name].model, _image(CASES[name].size)
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False).logits)
    variables = draw(model, images.shape)
    together = apply(variables, images)
    np.testing.assert_array_equal(apply(variables, images[::-1])[::-1], together)
    assert apply._cache_size() == 1
    np.testing.assert_allclose(
        together, model.apply(variables, images, train=False).logits, atol=1e-4
    )


def test_bfloat16_computes_the_same_but_for_rounding(draw):
    model, image = CASES['unet-same-batch'].model, _image(CASES['unet-same-batch'].size)
    variables = draw(model, image.shape)
    exact = model.apply(variables, image, train=False).logits
    rough = model.clone(dtype='bfloat16').apply(variables, image, train=False).logits
    error = np.abs(rough - exact).max()
    assert 0 < error < 0.05 * np.abs(exact).max()


def test_rematerialisation_changes_no_variable(case, shapes):
    plain, recomputing = case.model, case.model.clone(remat=True)
    image_shape = (1, *case.size, 3)
    assert shapes(recomputing, image_shape) == shapes(plain, image_shape)


def test_rematerialisation_changes_no_gradient(draw):
    model, image = CASES['unet-same-none'].model, _image(CASES['unet-same-none'].size)
    variables = draw(model, image.shape)
    recomputing = model.clone(remat=True)

    def gradient(model):
        rngs = {'dropout': jax.random.key(0)}
        total = lambda v: jnp.sum(jnp.sin(model.apply(v, image, train=True, rngs=rngs).logits))
        return jax.grad(total)(variables)

    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, gradient(recomputing), gradient(model))
