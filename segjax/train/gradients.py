"""Losses and gradients of a batch, at once or one microbatch after another.

Every term of a loss is a sum S_t over rows and a count C_t, both taken over all rows of all
devices, and the loss is `sum_t S_t / C_t`. The counts depend on no trained parameter, so its
gradient is `sum_t dS_t / C_t`: once the counts are known, rows may be added up in any portions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from segjax.types import Array, Batch

Tree = Any
Scalars = dict[str, Array]
Terms = dict[str, tuple[Array, Array]]  # {name: (sum, count)}
# (trainable, extra, rows, key) -> the terms of these rows, and extra after them
TermsFn = Callable[[Tree, Tree, Batch, Array], tuple[Terms, Tree]]
Found = tuple[Scalars, Tree, Tree]  # losses by name, their gradient, extra after the rows


def _counts(terms: Terms) -> Scalars:
    return {name: lax.stop_gradient(count) for name, (_, count) in terms.items()}


def _differentiate(
    terms: TermsFn,
    trainable: Tree,
    extra: Tree,
    rows: Batch,
    key: Array,
    total: Callable[[Scalars], Scalars],
) -> Found:
    """What these rows add to each loss and to the gradient.

    Args:
      total: from the counts of these rows to those of the whole batch.
    """

    def objective(trainable: Tree) -> tuple[Array, tuple[Scalars, Tree]]:
        found, after = terms(trainable, extra, rows, key)
        counts = total(_counts(found))
        shares = {name: part / jnp.maximum(counts[name], 1) for name, (part, _) in found.items()}
        return sum(shares.values()), (shares, after)

    (_, (shares, after)), gradient = jax.value_and_grad(objective, has_aux=True)(trainable)
    return shares, gradient, after


def batch_gradient(
    terms: TermsFn,
    trainable: Tree,
    extra: Tree,
    batch: Batch,
    key: Array,
    *,
    across: Callable[[Tree], Tree],
) -> Found:
    """The losses of a batch by name, the gradient of their sum, and `extra` after it.

    Args:
      terms: sums and counts of some rows.
      extra: the collections of variables that are not trained.
      across: adds up a tree over the devices of a mapped axis.
    """
    shares, gradient, after = _differentiate(terms, trainable, extra, batch, key, across)
    return *across((shares, gradient)), after


def accumulated_gradient(
    terms: TermsFn,
    trainable: Tree,
    extra: Tree,
    batch: Batch,
    key: Array,
    *,
    across: Callable[[Tree], Tree],
    microbatches: int,
) -> Found:
    """`batch_gradient` in the memory of one of n microbatches.

    Microbatch i holds the rows i, i + n, i + 2n, ...: a device that has a block of rows then has
    its part of every microbatch, and no row has to travel. Each draws with a random key of its own,
    is normalised by its own statistics, and goes on from the `extra` that the one before left.

    The first pass is for the counts: where they depend on labels alone nothing else of it is used,
    and the compiler leaves the network out.
    """
    cut = lambda x: jnp.moveaxis(x.reshape(-1, microbatches, *x.shape[1:]), 1, 0)
    parts = jax.tree.map(cut, batch), jax.random.split(key, microbatches)
    add_up = lambda tree: jax.tree.map(lambda x: jnp.sum(x, axis=0), tree)
    counts = lax.map(lambda part: _counts(terms(trainable, extra, *part)[0]), parts)
    counts = across(add_up(counts))

    def add(carry: tuple[Tree, Tree], part: tuple[Batch, Array]) -> tuple[Any, Scalars]:
        gradient, extra = carry
        shares, more, extra = _differentiate(terms, trainable, extra, *part, lambda _: counts)
        return (jax.tree.map(jnp.add, gradient, more), extra), shares

    nothing = jax.tree.map(jnp.zeros_like, trainable)
    # On a CPU, XLA computes convolutions inside a loop without its fast kernels: written out.
    unroll = jax.default_backend() == 'cpu'
    (gradient, after), shares = lax.scan(add, (nothing, extra), parts, unroll=unroll)
    return *across((add_up(shares), gradient)), after
