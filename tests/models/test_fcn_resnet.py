"""FCN over ResNet and LR-ASPP: torchvision's parameters and multiply-adds."""

import pytest

from segjax.layers.cost import layer_costs
from segjax.models import LRASPP, FCNResNet


@pytest.mark.parametrize(
    'model, count, gmac',
    [
        (FCNResNet(21, 50, aux=False), 32_957_013, 142.726),
        (FCNResNet(21, 50), 35_322_218, 152.717),
        (FCNResNet(21, 101), 54_314_346, 232.738),
        (LRASPP(21), 3_221_538, 2.086),
    ],
    ids=str,
)
def test_published_parameters_and_costs(model, count, gmac):
    rows = layer_costs(model, (1, 520, 520, 3))
    assert sum(row.params for row in rows) == count
    assert gmac is None or round(sum(row.macs for row in rows) / 1e9, 3) == gmac
