"""Picture and mask files to arrays, by one set of rules; nothing else in segjax opens a picture.

The pages of a TIFF that are slices of a volume have paths as if they lay in it, `stack.tif/07`.

Pillow reads (it raises on a damaged file where OpenCV returns None, keeps the indices of a palette,
and does not divide 16 bits by 256); OpenCV only works on arrays that are already decoded.
"""

from __future__ import annotations

import functools
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from segjax.types import IGNORE_LABEL, UserError

MAX_PIXELS = 178_956_970  # half a gigabyte of RGB: more is taken for a decompression bomb
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

_PAGED_FORMATS = ('TIFF', 'GIF')  # several pages are several pictures; an MPO's second is a preview
_UINT16_MODES = ('I;16', 'I;16L', 'I;16B', 'I;16N')
_RGB_MODES = ('RGB', 'RGBA', 'RGBX')
_DESCRIPTION = 270  # the tag of a TIFF in which ImageJ says what its pages are
_CHANNELS = re.compile(r'^channels=(?!1$)', re.MULTILINE)
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)

File = str | os.PathLike | bytes  # where a picture comes from: a file, or the bytes of one


def _describe(source: File, name: str) -> str:
    return name or ('picture in memory' if isinstance(source, bytes) else os.fspath(source))


def read_bytes(source: File, name: str = '') -> bytes:
    """What is in a file, or the slice `stack.tif/07` as a file of its own.

    Raises:
      UserError: it cannot be opened, or is empty.
    """
    name = _describe(source, name)
    if isinstance(source, bytes):
        data = source
    elif (stack := stack_of(Path(source))) != Path(source):
        data = read_page(stack, int(Path(source).name))
    else:
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise UserError(f'{name}: cannot be opened: {error.strerror or error}.') from None
    if not data:
        raise UserError(f'{name}: the file is empty (0 bytes); replace it or remove it.')
    return data


def _check_extent(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UserError(
            f'{name}: {width}x{height} is {width * height / 1e6:.0f} million pixels, over the '
            f'limit of {MAX_PIXELS / 1e6:.0f} million; cut it into tiles first.'
        )
    pages = getattr(image, 'n_frames', 1) if image.format in _PAGED_FORMATS else 1
    if pages > 1:
        raise UserError(
            f'{name}: holds {pages} pictures, and the networks here are two-dimensional. The pages '
            f'of a TIFF are read one by one in a --folder and by --mode=predict if they are slices '
            f'of one size and type, no channels; save others as files of their own.'
        )


def _load(source: File, name: str) -> tuple[Image.Image, str]:
    """The decoded, upright picture and its format; any failure is one UserError naming the file."""
    data = read_bytes(source, name)
    try:
        image = Image.open(io.BytesIO(data))
        file_format = image.format or ''
        _check_extent(image, name)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return image, file_format
    except UserError:
        raise
    except UnidentifiedImageError:
        reason = 'in no format that Pillow knows'
    except _BOMBS as error:
        reason = f'refused, {error}'
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, zlib.error, ...
        reason = f'{error}' or repr(error)
    raise UserError(f'{name}: cannot be read as a picture ({reason}); replace it or remove it.')


def count_pages(path: Path) -> int:
    """The number of pictures in a stack (a TIFF of several pages); 1 for a plain picture.

    Raises:
      UserError: it is no picture.
    """
    try:
        with Image.open(path) as image:
            return getattr(image, 'n_frames', 1)
    except Exception as error:
        raise UserError(f'{path}: cannot be read as a picture ({error}); replace it.') from None


def read_page(path: Path, page: int) -> bytes:
    """One picture of a stack as the bytes of a TIFF of its own, values unchanged.

    Raises:
      UserError: the stack cannot be read, or ends before.
    """
    file = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.seek(page)
            image.copy().save(file, 'TIFF', compression='tiff_adobe_deflate')
    except Exception as error:  # decoders raise OSError, EOFError, ValueError, ...
        raise UserError(
            f'{path}, picture {page}: cannot be read ({error}); replace the file.'
        ) from None
    return file.getvalue()


@functools.lru_cache(maxsize=2**16)  # a data set is listed several times
def _count_slices(path: Path, modified: int) -> int:
    """The pages of a TIFF, if they may be slices of one volume; 1 for anything else."""
    del modified
    try:
        with Image.open(path, formats=['TIFF']) as image:
            pages = getattr(image, 'n_frames', 1)
            told = str(getattr(image, 'tag_v2', {}).get(_DESCRIPTION, ''))
            kinds = set()
            for page in range(pages if pages > 1 else 0):
                image.seek(page)
                kinds.add((image.size, image.mode))  # a pyramid or a preview has several
    except Exception:  # whoever reads the file says what is wrong with it
        return 1
    return 1 if len(kinds) > 1 or _CHANNELS.search(told) else pages


def list_slices(path: Path) -> list[Path]:
    """The slices of a TIFF of several pages, `stack.tif/00`, `stack.tif/01`, ...; else the path.

    Pages of several sizes or types, and the channels of an ImageJ hyperstack, are no slices: such a
    file is refused when it is read.
    """
    if path.suffix.lower() not in ('.tif', '.tiff') or not path.is_file():
        return [path]
    pages = _count_slices(path, path.stat().st_mtime_ns)
    return [path / f'{i:0{len(str(pages - 1))}}' for i in range(pages)] if pages > 1 else [path]


def stack_of(path: Path) -> Path:
    """The file that a slice lies in; any other path itself."""
    return path.parent if path.name.isdecimal() and path.parent.is_file() else path


def _uint16(image: Image.Image, name: str) -> np.ndarray:
    array = np.asarray(image)
    if array.min() < 0 or array.max() > 65535:
        raise UserError(
            f'{name}: 32-bit values {array.min()}..{array.max()} do not fit 16 bits; save it as a '
            f'16-bit PNG or a float32 TIFF.'
        )
    return array.astype(np.uint16)  # also from the other byte order


def _float32(image: Image.Image, name: str) -> np.ndarray:
    array = np.asarray(image, np.float32)
    if not np.isfinite(array).all():
        raise UserError(f'{name}: holds {np.sum(~np.isfinite(array))} values of NaN or infinity.')
    return array


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    """`h w` or `h w 3`, by mode; alpha is dropped, not blended."""
    mode = image.mode
    if mode == '1':
        return np.asarray(image).astype(np.uint8) * np.uint8(255)
    if mode == 'L':
        return np.asarray(image)
    if mode in ('LA', 'La'):
        return np.asarray(image.getchannel(0))
    if mode in _UINT16_MODES or mode == 'I':
        return _uint16(image, name)
    if mode == 'F':
        return _float32(image, name)
    image.info.pop('transparency', None)
    if mode in ('P', 'PA', 'CMYK', 'YCbCr', 'LAB', 'HSV', *_RGB_MODES):
        return np.asarray(image if mode == 'RGB' else image.convert('RGB'))
    raise UserError(f'{name}: Pillow mode {mode} is not supported; save it as RGB or gray PNG.')


def _luma(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).convert('L'))
    gray = pixels.astype(np.float32) @ np.array((0.299, 0.587, 0.114), np.float32)
    return (np.rint(gray) if pixels.dtype.kind in 'iu' else gray).astype(pixels.dtype)


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """A picture `h w` or `h w c` as `h w channels`, 1 or 3, of its own type.

    Gray is repeated; colour becomes luma (ITU-R 601), of 8 bits where it is of 8 bits. Of two or
    four channels the last is alpha: dropped, not blended.
    """
    if pixels.ndim == 3:
        pixels = pixels[:, :, : 1 if pixels.shape[2] < 3 else 3]
    if pixels.ndim == 3 and pixels.shape[2] == 3 and channels == 1:
        pixels = _luma(pixels)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] != channels:
        pixels = np.repeat(pixels, channels, axis=2)
    return np.ascontiguousarray(pixels)


def read_image(source: File, *, channels: int = 3, name: str = '') -> np.ndarray:
    """Reads a picture as `h w channels`, upright.

    The type of the file decides the type of the array, and no value is rescaled:

        8-bit gray, gray + alpha, 1-bit (0 and 255)   uint8, 1 channel
        16-bit gray                                   uint16, 1 channel
        32-bit float TIFF                             float32, 1 channel
        RGB, RGBA, palette, CMYK, YCbCr, LAB          uint8, 3 channels (16-bit RGB is cut to 8)

    Args:
      source: a path, also of a slice (list_slices), or the bytes of a file.
      channels: 1 or 3; gray is repeated, colour becomes luma (ITU-R 601).
      name: what messages call it; the path by default.

    Raises:
      UserError: absent, empty, truncated, not a picture, over MAX_PIXELS, several pages, NaN.
    """
    if channels not in (1, 3):
        raise ValueError(f'channels must be 1 or 3, not {channels}')
    name = _describe(source, name)
    image, _ = _load(source, name)
    return with_channels(_pixels(image, name), channels)


def _pack_rgb(colours: np.ndarray) -> np.ndarray:
    """`... 3` of 0..255 to one integer each."""
    r, g, b = np.moveaxis(np.asarray(colours, np.int32), -1, 0)
    return r << 16 | g << 8 | b


def _list_colours(packed: np.ndarray, limit: int = 8) -> str:
    values, counts = np.unique(packed, return_counts=True)
    order = np.argsort(-counts)[:limit]
    text = ', '.join(
        f'({v >> 16} {v >> 8 & 255} {v & 255}) in {c} pixels'
        for v, c in zip(values[order].tolist(), counts[order].tolist(), strict=True)
    )
    return text + (f', and {len(values) - limit} more' if len(values) > limit else '')


def _map_colours(
    pixels: np.ndarray, palette: Sequence[tuple[int, int, int]], void: Sequence, name: str
) -> np.ndarray:
    packed = _pack_rgb(pixels)
    colours = _pack_rgb(np.array([*palette, *void]))
    ids = np.array([*range(len(palette)), *[IGNORE_LABEL] * len(void)], np.uint8)
    order = np.argsort(colours, kind='stable')
    position = np.searchsorted(colours[order], packed).clip(max=len(order) - 1)
    found = order[position]
    unknown = colours[found] != packed
    if unknown.any():
        raise UserError(
            f'{name}: colours that no class has: {_list_colours(packed[unknown])}. Give each class '
            f'its colour in classes.txt (`name r g b`), and what to ignore as `void r g b`.'
        )
    return ids[found]


def read_mask(
    source: File,
    *,
    palette: Sequence[tuple[int, int, int]] = (),
    void: Sequence[tuple[int, int, int]] = (),
    name: str = '',
) -> np.ndarray:
    """Reads a mask of class ids as `h w`, upright: uint8, or uint16 from a 16-bit file.

    Gray, 1-bit and 16-bit values and the indices of a palette picture are the ids. An RGB mask is
    mapped by `palette`: colour i becomes id i, the colours in `void` become IGNORE_LABEL.

    Raises:
      UserError: as read_image; a JPEG (its compression invents values); RGB without a palette or
        with a colour that is not in it, listing the colours; any other mode.
    """
    name = _describe(source, name)
    image, file_format = _load(source, name)
    if file_format in ('JPEG', 'MPO'):
        raise UserError(f'{name}: a mask cannot be a JPEG, whose compression invents ids; use PNG.')
    if image.mode == '1':
        return np.asarray(image).astype(np.uint8)
    if image.mode in ('L', 'P'):
        return np.asarray(image)
    if image.mode in _UINT16_MODES or image.mode == 'I':
        return _uint16(image, name)
    if image.mode not in _RGB_MODES:
        raise UserError(
            f'{name}: a mask must be an 8-bit, 16-bit, 1-bit or palette picture of class ids, or '
            f'RGB with a palette; this one is of Pillow mode {image.mode}.'
        )
    pixels = np.asarray(image.convert('RGB'))
    if not palette:
        raise UserError(
            f'{name}: is in colour: {_list_colours(_pack_rgb(pixels))}. Save class ids instead, or '
            f'give each class its colour in classes.txt (`name r g b`).'
        )
    return _map_colours(pixels, palette, void, name)
