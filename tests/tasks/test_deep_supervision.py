"""Deep supervision of U-Net++: which heads learn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from segjax.losses import CrossEntropyDice
from segjax.models import UNetPlusPlus
from segjax.tasks import Semantic
from segjax.types import Batch

RNG = np.random.default_rng(0)
BATCH = Batch(
    jnp.asarray(RNG.normal(size=(2, 8, 8, 1)), jnp.float32),
    label=jnp.asarray(RNG.integers(0, 3, (2, 8, 8)), jnp.int32),
)
MODEL = UNetPlusPlus(num_classes=3, depth=2, widths=(2, 3, 4), dropout=0.0)
RAMP = Semantic(CrossEntropyDice(), supervision='ramp', supervision_steps=10)


def test_every_head_receives_a_gradient_until_the_ramp_has_ended():
    variables = jax.jit(partial(MODEL.init, train=False))(jax.random.key(0), BATCH.image)

    @jax.jit
    @jax.grad
    def gradient(variables, step):
        terms, _ = RAMP.loss(MODEL, variables, BATCH, jax.random.key(1), step=step)
        return sum(total / count for total, count in terms.values())

    def greatest(step):
        found = gradient(variables, jnp.asarray(step))['params']
        return [
            max(float(jnp.abs(x).max()) for x in jax.tree.leaves(found[f'score_{head}']))
            for head in (1, 2)
        ]

    assert min(greatest(0)) > 1e-4
    assert min(greatest(9)) > 1e-5
    shallow, deep = greatest(10)
    assert shallow == 0 and deep > 1e-4
