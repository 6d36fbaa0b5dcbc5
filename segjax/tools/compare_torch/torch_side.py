"""Torch on the device of a setting, as its users would have it there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from segjax.tools.compare_torch.setting import Setting


def prepare(setting: Setting) -> None:
    """All cores; on a GPU the fastest convolutions of cuDNN, and TF32 as JAX has it by default."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.backends.cudnn.benchmark = True
    if setting.device == 'gpu':
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True


def device(setting: Setting) -> torch.device:
    """Of tensors and modules."""
    return torch.device('cuda' if setting.device == 'gpu' else 'cpu')


def place(x: Any, setting: Setting) -> Any:
    """A module or an image `b c h w`, on the device and with its channels last."""
    return x.to(device(setting), memory_format=torch.channels_last)


def autocast(setting: Setting) -> Any:
    """A context in which the convolutions are computed in the setting's type."""
    enabled = setting.dtype == 'bfloat16'
    return torch.autocast(device(setting).type, torch.bfloat16, enabled=enabled)


def waiting(run: Callable[[], Any], setting: Setting) -> Callable[[], Any]:
    """`run`, which returns when its work is done; a GPU does it later."""
    if setting.device == 'cpu':
        return run

    def run_and_wait() -> Any:
        found = run()
        torch.cuda.synchronize()
        return found

    return run_and_wait


def to_numpy(x: torch.Tensor, axes: tuple[int, ...] | None = None) -> np.ndarray:
    """Float32, permuted."""
    x = x.detach().float().cpu()
    return (x if axes is None else x.permute(*axes)).numpy()


def release() -> None:
    """What is left of a network: its compiled programs, and memory that JAX may need."""
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Without TF32."""
    backends = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed
