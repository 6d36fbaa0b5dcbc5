"""Costs of whole models against the numbers of papers."""

import pytest

from segjax.layers.cost import LayerCost, layer_costs
from segjax.models import FCN, UNet


def _total(rows):
    return sum(row.macs for row in rows), sum(row.params for row in rows)


@pytest.mark.parametrize(
    'model, side, gmac, count',
    [
        (UNet(2), 572, 150.43, 31_030_658),
        (UNet(2, padding='same'), 512, 192.38, 31_030_658),
        (UNet(2, padding='same'), 256, 48.10, 31_030_658),
        (UNet(2, up='nearest'), 572, 167.32, 31_030_658),
        (UNet(2, variant='release'), 572, 157.29, 31_100_354),
        (UNet(1, (32, 64, 128, 256, 512), 'same'), 96, 1.69, 7_759_521),
        (UNet(1, (35, 70, 140, 280, 560), 'same'), 96, 2.02, 9_282_246),
    ],
)
def test_unet_costs_what_the_paper_implies(model, side, gmac, count):
    macs, params = _total(layer_costs(model, (1, side, side, 1)))
    assert round(macs / 1e9, 2) == gmac
    assert params == count


def test_unet_has_the_23_convolutional_layers_of_the_paper():
    rows = layer_costs(UNet(2), (1, 572, 572, 1))
    assert [row.kind for row in rows].count('Conv') == 18 + 1
    assert [row.kind for row in rows].count('ConvTranspose') == 4
    assert len(rows) == 23


def test_layers_by_hand_in_the_order_in_which_they_run():
    rows = layer_costs(UNet(2, widths=(4, 8), norm='batch'), (3, 20, 24, 1))
    assert rows[0] == LayerCost('down1/conv1', 'Conv', (3, 20, 24, 1), (3, 18, 22, 4), 36, 42768)
    assert rows[1] == LayerCost('down1/bn1', 'BatchNorm', *[(3, 18, 22, 4)] * 2, 8, 0)
    upconv = (3, 4, 6, 8), (3, 8, 12, 4)
    macs = 3 * 4 * 6 * (2 * 2 * 8 * 4)  # each input pixel writes a 2 x 2 tile
    assert rows[8] == LayerCost('upconv1', 'ConvTranspose', *upconv, 2 * 2 * 8 * 4 + 4, macs)
    assert rows[-1] == LayerCost('score', 'Conv', (3, 4, 8, 4), (3, 4, 8, 2), 10, 3 * 32 * 8)


def test_cost_is_proportional_to_the_batch():
    one, four = (_total(layer_costs(UNet(2, widths=(4, 8)), (b, 20, 20, 3))) for b in (1, 4))
    assert four == (4 * one[0], one[1])


@pytest.mark.parametrize(
    'model',
    [
        FCN(3, widths=(4, 4, 6, 6, 8), fc_features=8, norm='batch', upsampling='learned'),
        UNet(3, widths=(4, 6, 8), padding='same'),
    ],
)
def test_rematerialisation_hides_no_layer(model):
    shape = (1, 32, 32, 3)
    assert layer_costs(model.clone(remat=True), shape) == layer_costs(model, shape)
