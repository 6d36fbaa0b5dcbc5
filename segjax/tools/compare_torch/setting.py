"""Where both sides compute, and in which type."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax

from segjax.types import UserError

Device = Literal['cpu', 'gpu']
Dtype = Literal['float32', 'bfloat16']


class Setting(NamedTuple):
    """The same for both sides.

    Attributes:
      batch: images of a batch; 0 is one on a CPU, and on a GPU what each network says.
    """

    device: Device = 'cpu'
    dtype: Dtype = 'float32'
    batch: int = 0

    def images(self, usual: int) -> int:
        """Of a batch; `usual` on a GPU."""
        return self.batch or (usual if self.device == 'gpu' else 1)

    @property
    def tolerance(self) -> float:
        """How far outputs of the two sides may be apart by rounding, relatively."""
        return self._by_rounding(float32=1e-3, tf32=1e-2, bfloat16=1e-1)

    @property
    def gradient_tolerance(self) -> float:
        """The same of gradients: rounding that turns a ReLU on or off adds up on the way back."""
        return self._by_rounding(float32=3e-2, tf32=2e-1, bfloat16=5e-1)

    def _by_rounding(self, *, float32: float, tf32: float, bfloat16: float) -> float:
        if self.dtype == 'bfloat16':
            return bfloat16
        return tf32 if self.device == 'gpu' else float32


def choose_device(asked: Device | None, *, torch_sees_gpu: bool) -> Device:
    """What is asked for, else a GPU that both sides see; JAX is kept on the CPU if it is that.

    Raises:
      UserError: one of them does not see the GPU that is asked for.
    """
    blind = None if torch_sees_gpu else 'Torch'
    if asked != 'cpu' and not blind and jax.default_backend() == 'cpu':
        blind = 'JAX'
    if asked == 'gpu' and blind:
        raise UserError(
            f'--device=gpu: {blind} sees no GPU; install its build for this one, or leave it out'
        )
    if asked == 'cpu' or blind:
        jax.config.update('jax_platforms', 'cpu')
        return 'cpu'
    return 'gpu'
