"""Experiments as plain values: there and back, and what changed."""

import dataclasses
import json
from typing import Literal

import flax.linen as nn
import pytest

from segjax import config
from segjax.types import UserError


class Block(nn.Module):
    width: int = 3


class Net(nn.Module):
    widths: tuple[int, ...] = (4, 8)
    norm: Literal['none', 'batch'] = 'batch'
    block: Block = Block()


@dataclasses.dataclass(frozen=True)
class Transform:
    pass


@dataclasses.dataclass(frozen=True)
class Scale(Transform):
    low: float = 0.5


@dataclasses.dataclass(frozen=True)
class Flip(Transform):
    axis: Literal['h', 'w'] = 'w'


@dataclasses.dataclass(frozen=True)
class Pipeline:
    crop: tuple[int, int] = (96, 64)
    transforms: tuple[Transform, ...] = (Scale(), Flip())


@dataclasses.dataclass(frozen=True)
class Logging:
    every: int = 5


@dataclasses.dataclass(frozen=True)
class Experiment:
    model: nn.Module = dataclasses.field(default_factory=Net)
    train: Pipeline = Pipeline()
    num_steps: int = 10
    eval_every: int = dataclasses.field(default=5, metadata={'compared': False})
    logging: Logging = dataclasses.field(default=Logging(), metadata={'compared': False})


HERE = __name__


def test_flatten_names_every_field_and_class():
    assert config.flatten(Experiment()) == {
        'class': f'{HERE}.Experiment',
        'model.class': f'{HERE}.Net',
        'model.widths': [4, 8],
        'model.norm': 'batch',
        'model.block.class': f'{HERE}.Block',
        'model.block.width': 3,
        'train.class': f'{HERE}.Pipeline',
        'train.crop': [96, 64],
        'train.transforms.0.class': f'{HERE}.Scale',
        'train.transforms.0.low': 0.5,
        'train.transforms.1.class': f'{HERE}.Flip',
        'train.transforms.1.axis': 'w',
        'num_steps': 10,
        'eval_every': 5,
        'logging.class': f'{HERE}.Logging',
        'logging.every': 5,
    }


def test_flatten_refuses_what_is_not_plain_data():
    @dataclasses.dataclass(frozen=True)
    class Bad:
        loss: object = len

    with pytest.raises(TypeError, match='loss holds a builtin_function_or_method'):
        config.flatten(Bad())


def test_restore_inverts_flatten_through_json():
    changed = Experiment(
        model=Net(widths=(1, 2, 3), norm='none', block=Block(width=7)),
        train=Pipeline(crop=(8, 8), transforms=(Scale(0.1), Flip('h'))),
        num_steps=3,
    )
    flat = json.loads(json.dumps(config.flatten(changed)))
    assert config.restore(Experiment(), flat) == changed


def test_restore_keeps_a_field_that_the_run_did_not_know():
    flat = config.flatten(Experiment(num_steps=3))
    del flat['train.crop']
    restored = config.restore(Experiment(train=Pipeline(crop=(2, 2))), flat)
    assert restored.num_steps == 3
    assert restored.train.crop == (2, 2)


@pytest.mark.parametrize(
    ('now', 'named'),
    [
        (Experiment(model=Block()), 'model.class: .*Net -> .*Block'),
        (Experiment(train=Pipeline(transforms=(Scale(),))), 'train.transforms.1.axis: w ->'),
        (Experiment(train=Pipeline(transforms=())), 'train.transforms.0.class'),
    ],
)
def test_restore_refuses_other_classes(now, named):
    with pytest.raises(UserError, match=named):
        config.restore(now, config.flatten(Experiment()))


def test_build_inverts_flatten_with_nothing_to_start_from():
    changed = Experiment(
        model=Block(width=7), train=Pipeline(crop=(8, 8), transforms=(Flip('h'),)), num_steps=3
    )
    flat = json.loads(json.dumps(config.flatten(changed)))
    assert config.build(flat) == changed
    del flat['train.crop'], flat['train.transforms.0.axis']
    assert config.build(flat).train == Pipeline(transforms=(Flip(),))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'train.class': 'segjax.data.gone.Pipeline'}, 'segjax.data.gone.Pipeline: there is no'),
        ({'train.class': 'subprocess.Popen'}, 'Popen: there is no such class'),
        ({'train.class': 'os.system'}, 'os.system: there is no such class'),
        ({'train.lost': 3}, 'Pipeline cannot be made as it was: .*lost'),
    ],
)
def test_build_makes_nothing_but_dataclasses_that_are_there(changes, message):
    with pytest.raises(UserError, match=message):
        config.build(config.flatten(Experiment()) | changes)


def test_replace_changes_only_what_is_named():
    new = config.replace(Experiment(), {'model.block.width': 9, 'train.transforms.0.low': 0.2})
    assert new.model.block.width == 9
    assert new.model.widths == (4, 8)
    assert new.train.transforms == (Scale(0.2), Flip())


def test_a_replaced_module_is_a_module_that_initialises(key):
    import jax.numpy as jnp

    class Dense(nn.Module):
        features: int = 2

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.features)(x)

    module = config.replace(Dense(), {'features': 5})
    assert module.init(key, jnp.zeros((1, 3)))['params']['Dense_0']['kernel'].shape == (3, 5)


def test_uncompared_reaches_into_nested_fields():
    assert config.uncompared(Experiment()) == {'eval_every', 'logging.every'}


def test_diff_shows_changes_both_ways_and_ignores():
    old = {'a': 1, 'b': [4, 8], 'gone': True, 'c': 5}
    new = {'a': 1, 'b': [4], 'c': 6, 'fresh': ''}
    assert config.diff(old, new, ignore={'c'}) == [
        'b: 4,8 -> 4',
        "fresh: (absent) -> ''",
        'gone: true -> (absent)',
    ]


def test_an_unchanged_experiment_has_no_diff_after_json():
    flat = config.flatten(Experiment())
    assert config.diff(json.loads(json.dumps(flat)), flat) == []


def test_run_options_take_directories_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv('SEGJAX_RAW_DIR', str(tmp_path))
    monkeypatch.setenv('HOME', '/home/someone')
    monkeypatch.delenv('SEGJAX_DATA_DIR', raising=False)
    options = config.RunOptions()
    assert options.raw_dir == tmp_path
    assert str(options.data_dir) == '/home/someone/.cache/segjax/datasets'


@pytest.mark.parametrize(
    'wrong', [{'log_every': 0}, {'keep': -1}, {'checkpoint': 'newest'}, {'input': '360'}]
)
def test_run_options_refuse_values_of_no_use(wrong):
    (name,) = wrong
    with pytest.raises(UserError, match=f'--{name}='):
        config.RunOptions(**wrong)


def test_input_size_is_height_and_width():
    assert config.RunOptions(input='360x480').input_size == (360, 480)
    assert config.RunOptions().input_size is None
