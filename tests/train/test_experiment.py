"""What an experiment takes from its data."""

import dataclasses

import pytest

from experiments.unet_shapes import experiment
from segjax import config
from segjax.data.dataset import Info
from segjax.tasks import Instance
from segjax.train.experiment import bind
from segjax.types import UserError


def test_one_class_is_the_sigmoid_of_semantic_models_alone():
    info = Info(('background', 'cell'), ((0, 0, 0), (255, 0, 0)))
    semantic = config.replace(experiment(), {'model.num_classes': 1})
    assert bind(semantic, info).model.num_classes == 1
    with pytest.raises(UserError, match=r'give --model\.num_classes=2'):
        bind(dataclasses.replace(semantic, task=Instance()), info)
