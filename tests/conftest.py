"""A strict machine for every test: eight virtual devices, no silent promotion, checked shapes."""

import os
import sys
import tempfile

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['JAX_NUM_CPU_DEVICES'] = '8'
# Tiny programs take longer to compile than to run: the optimizer is not worth its time here.
os.environ['XLA_FLAGS'] = '--xla_backend_optimization_level=0'
# Programs compiled by tests stay out of the user's own cache.
os.environ['JAX_COMPILATION_CACHE_DIR'] = tempfile.mkdtemp(prefix='segjax-tests-')
sys.modules['tensorflow'] = None  # neither is a dependency: an import anywhere fails the suite
sys.modules.setdefault('torch', None)  # type: ignore[arg-type]  # a plugin may have it (parity)

import jaxtyping  # noqa: E402

jaxtyping.install_import_hook(
    ['segjax.ops', 'segjax.losses', 'segjax.metrics', 'segjax.layers'], 'beartype.beartype'
)

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture
def key():
    """A fixed random key."""
    return jax.random.key(0)
