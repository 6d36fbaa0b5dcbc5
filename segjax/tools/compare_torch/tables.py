"""The ratios as tables in Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PARTS = ('inference', 'train')
NETWORK_HEADER = (
    '| network | inference vs eager | vs compile | images/s | MFU '
    '| train vs eager | vs compile | images/s | MFU |'
)
OPERATION_HEADER = '| operation | forward | with gradients |'


def network_row(name: str, found: dict[str, dict[str, float]]) -> str:
    """Ratios, and what JAX makes of the device; '-' for what is not known or was not run."""
    cells = []
    for ratios in (found.get(part, {}) for part in PARTS):
        for key, form in (
            ('vs_eager', '{:.2f}'),
            ('vs_compile', '{:.2f}'),
            ('jax_images_per_s', '{:,.1f}'),
            ('jax_mfu', '{:.0%}'),
        ):
            cells.append(form.format(ratios[key]) if key in ratios else '-')
    return f'| `{name}` | {" | ".join(cells)} |'


def operation_row(name: str, found: dict[str, dict[str, float]]) -> str:
    """Ratios to Torch or C++; '-' for what has no gradient."""
    cells = []
    for part in ('forward', 'gradient'):
        ratios = [ratio for key, ratio in found.get(part, {}).items() if key.startswith('vs_')]
        cells.append(f'{ratios[0]:.2f}' if ratios else '-')
    return f'| `{name}` | {" | ".join(cells)} |'


def print_tables(found: dict[str, dict[str, Any]], *, say: Callable[[str], None]) -> None:
    """What there are ratios of."""
    kinds = (('nets', NETWORK_HEADER, network_row), ('ops', OPERATION_HEADER, operation_row))
    for kind, header, row in kinds:
        if found[kind]:
            say(f'\n{header}\n{"|---" * (header.count("|") - 1)}|')
            for name, ratios in found[kind].items():
                say(row(name, ratios))
