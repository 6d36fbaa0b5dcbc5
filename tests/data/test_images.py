"""Reading picture and mask files: the table of modes, and one clear message for every bad file."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from segjax.data import images
from segjax.data.images import read_image, read_mask
from segjax.types import UserError

RGB = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[9, 8, 7], [1, 2, 3], [50, 60, 70]]], 'u1'
)
GRAY = np.array([[0, 7, 255], [100, 128, 3]], np.uint8)


def encode(image: Image.Image, file_format='PNG', **options) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def png(array, mode=None) -> bytes:
    return encode(Image.fromarray(array) if mode is None else Image.fromarray(array).convert(mode))


def palette_picture(ids: np.ndarray) -> bytes:
    image = Image.frombytes('P', ids.shape[::-1], ids.tobytes())
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [9, 9, 9] * 253)
    return encode(image)


def test_rgb_is_read_as_it_is():
    np.testing.assert_array_equal(read_image(png(RGB)), RGB)


def test_alpha_is_dropped_not_blended():
    rgba = np.dstack([RGB, np.full((2, 3), 0, np.uint8)])
    np.testing.assert_array_equal(read_image(png(rgba)), RGB)
    la = Image.merge('LA', [Image.fromarray(GRAY), Image.fromarray(GRAY * 0)])
    np.testing.assert_array_equal(read_image(encode(la), channels=1)[:, :, 0], GRAY)


def test_gray_is_repeated_and_colour_becomes_luma():
    np.testing.assert_array_equal(read_image(png(GRAY)), np.repeat(GRAY[:, :, None], 3, 2))
    luma = read_image(png(RGB), channels=1)
    assert luma.shape == (2, 3, 1)
    # ITU-R 601: .299 R + .587 G + .114 B
    np.testing.assert_array_equal(luma[0, :, 0], [76, 150, 29])


def test_16_bit_gray_travels_undiminished():
    values = np.array([[0, 46000], [65535, 256]], np.uint16)
    image = read_image(png(values), channels=1)
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image[:, :, 0], values)
    assert read_image(png(values)).shape == (2, 2, 3)


def test_float_tiff_travels_undiminished():
    values = np.array([[-1.5, 1e6], [0.25, 3]], np.float32)
    image = read_image(encode(Image.fromarray(values), 'TIFF'), channels=1)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[:, :, 0], values)


def test_nan_is_refused():
    values = np.array([[np.nan, 1]], np.float32)
    with pytest.raises(UserError, match='NaN'):
        read_image(encode(Image.fromarray(values), 'TIFF'))


def test_palette_picture_becomes_rgb_but_palette_mask_keeps_ids():
    ids = np.array([[0, 1], [2, 255]], np.uint8)
    image = read_image(palette_picture(ids))
    np.testing.assert_array_equal(image[0, 1], [128, 0, 0])
    np.testing.assert_array_equal(read_mask(palette_picture(ids)), ids)


def test_1_bit_picture_is_white_and_1_bit_mask_is_one():
    bits = Image.fromarray(GRAY > 99)
    np.testing.assert_array_equal(read_image(encode(bits), channels=1)[:, :, 0], (GRAY > 99) * 255)
    np.testing.assert_array_equal(read_mask(encode(bits)), GRAY > 99)


def test_cmyk_becomes_rgb():
    image = read_image(encode(Image.new('CMYK', (4, 2), (0, 255, 255, 0)), 'JPEG'))
    assert image.shape == (2, 4, 3)
    np.testing.assert_allclose(image[0, 0], [254, 0, 0], atol=3)


@pytest.mark.parametrize('reader', [read_image, read_mask])
def test_exif_orientation_turns_picture_and_mask_alike(reader):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 270 degrees
    upright = reader(encode(Image.fromarray(GRAY), exif=exif))
    np.testing.assert_array_equal(upright.reshape(3, 2, -1)[:, :, 0], np.rot90(GRAY, 3))


def test_masks_of_8_and_16_bits_keep_their_values():
    np.testing.assert_array_equal(read_mask(png(GRAY)), GRAY)
    values = np.array([[0, 300], [65535, 1]], np.uint16)
    np.testing.assert_array_equal(read_mask(png(values)), values)


def test_rgb_mask_is_mapped_through_the_palette():
    pixels = np.array([[[0, 0, 0], [128, 0, 0]], [[0, 128, 0], [224, 224, 192]]], np.uint8)
    palette = [(0, 0, 0), (0, 128, 0), (128, 0, 0)]
    label = read_mask(png(pixels), palette=palette, void=[(224, 224, 192)])
    np.testing.assert_array_equal(label, [[0, 2], [1, 255]])


def test_rgb_mask_without_palette_lists_its_colours():
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 0] = 1, 2, 3
    with pytest.raises(UserError, match=r'm\.png.*\(0 0 0\) in 3 pixels, \(1 2 3\) in 1 pixels'):
        read_mask(png(pixels), name='m.png')


def test_unknown_colour_in_a_mask_is_listed():
    pixels = np.array([[[0, 0, 0], [1, 2, 3]]], np.uint8)
    with pytest.raises(UserError, match=r'\(1 2 3\) in 1 pixels'):
        read_mask(png(pixels), palette=[(0, 0, 0), (9, 9, 9)])


@pytest.mark.parametrize('mode', ['LA', 'CMYK', 'F'])
def test_masks_of_other_modes_are_refused(mode):
    with pytest.raises(UserError, match=f'mode {mode}'):
        read_mask(encode(Image.new(mode, (2, 2)), 'PNG' if mode == 'LA' else 'TIFF'))


def test_a_jpeg_mask_is_refused():
    with pytest.raises(UserError, match='JPEG'):
        read_mask(encode(Image.fromarray(GRAY), 'JPEG'))


def damaged_files():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    whole_png, whole_jpeg = png(noise), encode(Image.fromarray(noise), 'JPEG')
    bad_crc = bytearray(whole_png)
    bad_crc[29] ^= 1  # in the checksum of the header
    return {
        'empty': b'',
        'text': b'<!DOCTYPE html><html>Not found</html>',
        'truncated png': whole_png[: len(whole_png) // 2],
        'truncated jpeg': whole_jpeg[: len(whole_jpeg) // 2],
        'wrong checksum': bytes(bad_crc),
    }


@pytest.mark.parametrize('reader', [read_image, read_mask])
@pytest.mark.parametrize('kind', damaged_files())
def test_a_damaged_file_is_named(tmp_path, kind, reader):
    path = tmp_path / 'frame 7.png'
    path.write_bytes(damaged_files()[kind])
    with pytest.raises(UserError) as error:
        reader(path)
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r'nowhere\.png: cannot be opened: No such file'):
        read_image(tmp_path / 'nowhere.png')


def test_a_decompression_bomb_is_refused_with_its_size():
    small = png(GRAY)  # its header comes first: signature, then length, name, width and height
    header = b'IHDR' + struct.pack('>II', 20_000, 20_000) + small[24:29]
    bomb = small[:12] + header + struct.pack('>I', zlib.crc32(header)) + small[33:]
    with pytest.raises(UserError, match=r'refused.*400000000 pixels'):
        read_image(bomb)


def test_a_picture_just_over_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(images, 'MAX_PIXELS', 5)
    with pytest.raises(UserError, match='3x2 is'):
        read_image(png(GRAY))


def test_a_stack_of_slices_is_refused():
    slices = [Image.fromarray(GRAY)] * 3
    stack = encode(slices[0], 'TIFF', save_all=True, append_images=slices[1:])
    with pytest.raises(UserError, match='holds 3 pictures'):
        read_image(stack)


def test_reading_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        read_image(png(RGB))
        read_mask(palette_picture(GRAY))
        image = Image.open(io.BytesIO(palette_picture(GRAY)))
        clear = encode(image, transparency=b'\x00\x80\xff')
        np.testing.assert_array_equal(read_image(clear), read_image(palette_picture(GRAY)))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_a_page_of_a_stack_keeps_its_values(tmp_path, dtype):
    stack = (np.arange(3 * 4 * 5).reshape(3, 4, 5) * 4).astype(dtype)
    first, *others = (Image.fromarray(page) for page in stack)
    first.save(tmp_path / 'stack.tif', save_all=True, append_images=others)
    assert images.count_pages(tmp_path / 'stack.tif') == 3
    page = images.read_image(images.read_page(tmp_path / 'stack.tif', 2), channels=1)
    np.testing.assert_array_equal(page[..., 0], stack[2])
    assert page.dtype == dtype
    with pytest.raises(UserError, match=r'stack\.tif, picture 3: cannot be read'):
        images.read_page(tmp_path / 'stack.tif', 3)
    with pytest.raises(UserError, match='two-dimensional'):
        images.read_image(tmp_path / 'stack.tif')


def save_stack(path, pages, **options):
    first, *others = (Image.fromarray(page) for page in pages)
    first.save(path, save_all=True, append_images=others, **options)
    return path


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_slices_are_read_as_files_in_their_stack(tmp_path, dtype):
    pages = (np.arange(11 * 4 * 5).reshape(11, 4, 5)).astype(dtype)
    stack = save_stack(tmp_path / 'stack.tif', pages)
    slices = images.list_slices(stack)
    assert [path.name for path in slices] == [f'{i:02}' for i in range(11)]
    for path, page in zip(slices, pages, strict=True):
        np.testing.assert_array_equal(read_image(path, channels=1)[..., 0], page)
        assert images.stack_of(path) == stack
    with pytest.raises(UserError, match=r'stack\.tif, picture 11: cannot be read'):
        read_image(stack / '11')
    save_stack(stack, pages[:2])
    assert [path.name for path in images.list_slices(stack)] == ['0', '1']


def test_pages_that_are_no_slices_make_no_stack(tmp_path):
    page = np.zeros((4, 6), np.uint8)
    told = {270: 'ImageJ=1.53t\nimages=2\nchannels=2\n'}
    refused = [
        save_stack(tmp_path / 'pyramid.tif', [page, page[::2, ::2]]),
        save_stack(tmp_path / 'types.tif', [page, page.astype(np.uint16)]),
        save_stack(tmp_path / 'channels.tif', [page, page], tiffinfo=told),
        save_stack(tmp_path / 'film.gif', [page, page + 9]),
    ]
    for path in refused:
        assert images.list_slices(path) == [path]
        with pytest.raises(UserError, match=f'{path.name}: holds 2 pictures.* no channels'):
            read_image(path)
    plain = save_stack(tmp_path / 'plain.tif', [page])
    broken = tmp_path / 'broken.tif'
    broken.write_bytes(b'II*')
    assert images.list_slices(plain) == [plain] == [images.stack_of(plain)]
    assert images.list_slices(broken) == [broken]
    with_slices = {270: 'ImageJ=1.53t\nimages=2\nchannels=1\nslices=2\n'}
    assert len(images.list_slices(save_stack(plain, [page, page], tiffinfo=with_slices))) == 2
