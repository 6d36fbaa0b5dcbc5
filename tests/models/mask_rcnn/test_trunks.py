"""C4 and C5: one map at stride 16 or 32, with all anchors; their detections lie in the pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segjax.models import MaskRCNN

SMALL = {'backbone': 'resnet18', 'backbone_width': 4, 'width': 8, 'fc_features': 8}
FIRST = [[-23, -11, 23, 11], [-45, -23, 45, 23], [-91, -45, 91, 45], [-181, -91, 181, 91]]


@pytest.mark.parametrize(
    'trunk, roi_op, stride, channels', [('c4', 'warp', 16, 16), ('c5', 'pool', 32, 32)]
)
def test_a_trunk_of_one_map(trunk, roi_op, stride, channels, drawn, detect):
    """Two pictures on a canvas of 64 x 50 pixels, which is filled up to 64 x 64."""
    model = MaskRCNN(
        3,
        trunk=trunk,
        roi_op=roi_op,
        score_threshold=0.0,
        pre_nms=12,
        post_nms=8,
        max_detections=5,
        **SMALL,
    )
    image = jax.random.normal(jax.random.key(1), (2, 64, 50, 3))
    sizes = jnp.asarray([[64, 50], [30, 20]], jnp.int32)
    variables = drawn(model, image, sizes=sizes, train=False)
    proposals, found = jax.tree.map(np.asarray, detect(model, variables, image, sizes))
    cells = 64 // stride
    assert [x.shape for x in proposals.features] == [(2, cells, cells, channels)]
    anchors = proposals.rpn.anchors.reshape(2, cells, cells, 15, 4)
    assert anchors[0, 0, 0, :4].tolist() == FIRST
    for row, column in np.ndindex(cells, cells):
        step = stride * np.array([column, row, column, row])
        np.testing.assert_array_equal(anchors[1, row, column], anchors[0, 0, 0] + step)
    inside = proposals.rpn.inside.reshape(2, cells, cells, 15)
    own = cells // 2  # of 30 x 20 pixels, which end at 32 x 32
    assert inside[0].all() and inside[1, :own, :own].all() and inside[1].sum() == own**2 * 15
    for boxes, valid in ((proposals.boxes, proposals.valid), (found.boxes, found.valid)):
        assert valid.any(axis=1).all()
        for box, good, (h, w) in zip(boxes, valid, sizes.tolist(), strict=True):
            assert (box[good] >= 0).all() and (box[good] <= np.array([w, h, w, h])).all()
            assert (box[good, 2:] > box[good, :2]).all()
    assert found.masks.shape[2:] == ((14, 14) if trunk == 'c4' else (28, 28))
    assert all(np.isfinite(part).all() for part in jax.tree.leaves(found))


def test_the_last_stage_of_c4_is_recomputed_as_the_others_are(drawn):
    """It sees 512 regions: of all stages it keeps most for the backward pass."""
    model = MaskRCNN(3, trunk='c4', remat=True, **SMALL)
    variables = drawn(model, jnp.zeros((1, 32, 32, 3)), train=False)
    run = lambda regions: model.apply(
        variables, regions, method=lambda module, regions: module.layer4(regions, True)
    )
    equations = jax.make_jaxpr(run)(jnp.zeros((2, 14, 14, 16))).eqns
    assert sum(eqn.primitive.name == 'remat2' for eqn in equations) == 2  # a ResNet-18's blocks
