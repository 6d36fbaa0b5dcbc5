"""The pyramid in NumPy, on maps whose sides are no multiples of one another."""

import jax
import jax.numpy as jnp
import numpy as np

from segjax.models.mask_rcnn.fpn import FPN

SIZES = {'c2': (18, 10), 'c3': (9, 5), 'c4': (5, 3), 'c5': (3, 2)}  # of 70 x 38 pixels


def _conv(x, layer):
    """As large as `h w c`, zeros around it."""
    kernel, (h, w, _) = layer['kernel'], x.shape
    around = len(kernel) // 2
    x = np.pad(x, ((around, around), (around, around), (0, 0)))
    parts = (x[i : i + h, j : j + w] @ kernel[i, j] for i, j in np.ndindex(kernel.shape[:2]))
    return sum(parts) + layer['bias']


def test_finer_maps_are_joined_by_the_nearest_cells_of_coarser_ones(drawn):
    """And p6 is p5 pooled by windows of one cell at stride 2."""
    rng = np.random.default_rng(1)
    maps = {
        name: rng.normal(size=(*size, channels)).astype(np.float32)
        for channels, (name, size) in enumerate(SIZES.items(), start=2)
    }
    fpn, given = FPN(3), jax.tree.map(lambda x: jnp.asarray(x)[None], maps)
    variables = drawn(fpn, given, train=False)
    apply = jax.jit(lambda variables, maps: fpn.apply(variables, maps, train=False))
    *found, p6 = (np.asarray(x[0]) for x in apply(variables, given))
    layers, merged = jax.tree.map(np.asarray, variables['params']), None
    for k in (5, 4, 3, 2):
        lateral = _conv(maps[f'c{k}'], layers[f'lateral{k}'])
        if merged is not None:
            rows, columns = (np.arange(side) // 2 for side in lateral.shape[:2])
            lateral += merged[rows][:, columns]
        merged = lateral
        np.testing.assert_allclose(found[k - 2], _conv(merged, layers[f'p{k}']), atol=1e-5)
    np.testing.assert_array_equal(p6, found[3][[0, 2], :1])
