"""In bfloat16 networks boxes stay what they are: at 1000 pixels that type is 4 pixels coarse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from segjax import ops
from segjax.models import MaskRCNN
from segjax.tasks import Instance
from segjax.tools import detection_golden as golden
from segjax.types import Batch, Instances


def _equations(jaxpr):
    """All, in loops and functions too."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from _equations(inner)


def test_convolutions_are_bfloat16_and_boxes_overlaps_and_exponentials_are_not(drawn):
    fields = {'backbone': 'resnet18', 'backbone_width': 4, 'width': 8, 'fc_features': 8}
    model = MaskRCNN(3, dtype='bfloat16', **fields)
    batch = Batch(
        image=jnp.zeros((2, 64, 64, 3)),
        instances=Instances(
            boxes=jnp.zeros((2, 3, 4)),
            classes=jnp.zeros((2, 3), jnp.int32),
            masks=jnp.zeros((2, 3, 7, 7), jnp.uint8),
            crowd=jnp.zeros((2, 3), bool),
            valid=jnp.ones((2, 3), bool),
        ),
        size=jnp.asarray([[64, 50], [40, 33]], jnp.int32),
    )
    task = Instance(anchors=16, rois=8)
    variables = drawn(model, batch.image, train=False)

    def both(variables, batch):
        found = task.predict(model, variables, batch.image, sizes=batch.size)
        return found, task.loss(model, variables, batch, jax.random.key(0))[0]

    kinds = {}
    for eqn in _equations(jax.make_jaxpr(both)(variables, batch).jaxpr):
        dtypes = (v.aval.dtype for v in eqn.invars if hasattr(v.aval, 'dtype'))
        found = {str(dtype) for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)}
        kinds.setdefault(eqn.primitive.name, set()).update(found)
    assert kinds['conv_general_dilated'] == {'bfloat16'}
    for name in ('exp', 'log', 'logistic', 'div', 'top_k', 'sqrt', 'rsqrt'):
        assert kinds[name] == {'float32'}, name


@pytest.mark.slow
def test_detections_are_near_those_of_float32(narrow, stages, detect):
    """Random weights leave scores close together, so that a suppression may go the other way."""
    model, variables = narrow('mask1')
    image, expected = jnp.asarray(golden.picture())[None], stages('mask1')
    found = detect(model.clone(dtype='bfloat16'), variables, image, None)[1]
    found = jax.tree.map(lambda x: x[0], found)
    iou = np.array(ops.pairwise_iou(jnp.asarray(expected['boxes']), found.boxes))
    iou[expected['labels'][:, None] != np.asarray(found.classes)[None]] = 0
    apart = np.abs(np.asarray(found.scores)[iou.argmax(axis=1)] - expected['scores'])
    assert np.median(apart) < 0.01
    again = (iou.max(axis=1) > 0.85) & (apart < 0.03)
    assert again.mean() > 0.75
