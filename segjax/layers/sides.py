"""Sides of images that a network can halve, and double again to the same."""

from __future__ import annotations

from segjax.types import UserError


def round_up(size: tuple[int, int], unit: int) -> tuple[int, int]:
    """The smallest multiples of `unit` that cover `size`."""
    h, w = (-(-side // unit) * unit for side in size)
    return h, w


def check_sides(name: str, size: tuple[int, ...], unit: int) -> None:
    """Refuse an image whose sides are not multiples of `unit`.

    Args:
      name: of the network, for the message.

    Raises:
      UserError: names the nearest sides that fit.
    """
    for side in size:
        if side % unit or side == 0:
            below = side // unit * unit
            nearest = f'{below} and {below + unit}' if below else f'{unit}'
            raise UserError(
                f'{name} cannot take a side of {side} pixels; the nearest that fit: {nearest}'
            )
