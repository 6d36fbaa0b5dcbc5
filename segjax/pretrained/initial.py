"""Initial values for a model: --weights=RUN or FILE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp

from segjax.pretrained.safetensors_io import check_match, load_variables
from segjax.types import UserError


def load_weights(source: str, expected: dict[str, Any]) -> dict[str, Any]:
    """The variables of a finished run or of a safetensors file written by segjax.

    Args:
      source: a run directory (with `model/`), a `model/` folder, or a .safetensors file.
      expected: variables with the shapes that the model needs.

    Raises:
      UserError: there is no such thing, or its names and shapes differ from the model's.
    """
    path = Path(source).expanduser()
    candidates = [path / 'model' / 'model.safetensors', path / 'model.safetensors', path]
    found = next((file for file in candidates if file.is_file()), None)
    if found is None:
        raise UserError(
            f'--weights={source}: neither a .safetensors file nor a finished run (a directory with '
            'model/model.safetensors)'
        )
    given = load_variables(found)
    check_match(expected, given, source=f'file {found}')
    return _as_arrays(given)


def _as_arrays(tree: dict[str, Any]) -> dict[str, Any]:
    return {k: _as_arrays(v) if isinstance(v, dict) else jnp.asarray(v) for k, v in tree.items()}
