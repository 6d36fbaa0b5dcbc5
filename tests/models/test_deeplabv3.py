"""DeepLabV3: published parameters and multiply-adds, and what its fields change."""

import jax
import jax.numpy as jnp
import pytest

from segjax.layers.cost import layer_costs
from segjax.models import DeepLabV3
from segjax.types import UserError

TORCHVISION = {'flavor': 'torchvision', 'output_stride': 8}
MOBILE = {'backbone': 'mobilenet_v3_large', 'flavor': 'torchvision'}


@pytest.mark.parametrize(
    'fields, side, count, gmac',
    [
        ({}, 513, 58_164_437, 76.052),
        ({'eval_output_stride': 8}, 513, 58_164_437, 252.252),
        ({'backbone': 'xception65'}, 513, 53_407_813, 64.920),
        (TORCHVISION | {'backbone': 'resnet50'}, 520, 39_638_869, 168.731),
        (TORCHVISION | {'backbone': 'resnet50', 'aux': True}, 520, 42_004_074, 178.722),
        (TORCHVISION | {'aux': True}, 520, 60_996_202, 258.743),
        (MOBILE, 520, 11_025_477, None),
        (MOBILE | {'aux': True}, 520, 11_029_328, 10.452),
    ],
)
def test_published_parameters_and_costs(fields, side, count, gmac):
    rows = layer_costs(DeepLabV3(21, **fields), (1, side, side, 3))
    assert sum(row.params for row in rows) == count
    assert gmac is None or round(sum(row.macs for row in rows) / 1e9, 3) == gmac


def test_the_pooled_branch_can_be_left_out():
    rows = layer_costs(DeepLabV3(3, 'resnet50', image_pool=False, rates=(2, 4)), (1, 33, 33, 3))
    branches = {row.path.split('/')[1] for row in rows if row.path.startswith('aspp/')}
    assert branches == {'aspp0', 'aspp1', 'aspp2', 'concat_projection'}


@pytest.mark.parametrize(
    'fields, match',
    [
        ({'backbone': 'mobilenet_v3_large'}, 'does not go with --flavor=tf, which has resnet50'),
        ({'backbone': 'xception65', 'flavor': 'torchvision'}, 'does not go with'),
        (MOBILE | {'width': 0.5}, '--width=0.5: mobilenet_v3_large has one width'),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields, match):
    with pytest.raises(UserError, match=match):
        DeepLabV3(3, **fields).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
