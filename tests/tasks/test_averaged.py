"""Several networks, one prediction."""

import jax
import jax.numpy as jnp
import numpy as np

from segjax.models import UNet
from segjax.tasks import Averaged, Semantic


def test_the_prediction_is_the_mean_of_probabilities():
    model = UNet(num_classes=3, widths=(2, 4), padding='same')
    image = jax.random.normal(jax.random.key(9), (1, 8, 8, 3))
    make = lambda seed: model.init(jax.random.key(seed), image, train=False)
    networks = [make(seed) for seed in range(3)]
    alone = [Semantic().predict(model, own, image) for own in networks]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)
    found = Averaged().predict(model, stacked, image)
    np.testing.assert_allclose(found, np.mean(alone, axis=0), atol=1e-6)
    assert np.abs(found - alone[0]).max() > 1e-3
