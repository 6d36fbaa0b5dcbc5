"""Colours and panels, checked on pictures of a few pixels."""

import numpy as np
import pytest
from PIL import Image

from segjax import visualize
from segjax.data.dataset import color_map
from segjax.types import IGNORE_LABEL

PALETTE = ((0, 0, 0), (255, 0, 0), (0, 0, 255))
NAMES = ('background', 'disc', 'square')


def test_colorize_paints_classes_void_and_invalid_ids():
    label = np.array([[0, 1, 2], [IGNORE_LABEL, 3, -1]], np.int32)
    painted = visualize.colorize(label, PALETTE)
    assert painted.dtype == np.uint8
    np.testing.assert_array_equal(painted[0], PALETTE)
    assert tuple(painted[1, 0]) in visualize.VOID_STRIPES
    np.testing.assert_array_equal(painted[1, 1:], [visualize.INVALID_COLOR] * 2)


def test_void_is_hatched_unlike_any_class():
    painted = visualize.colorize(np.full((16, 16), IGNORE_LABEL), color_map(255))
    seen = {tuple(pixel) for pixel in painted.reshape(-1, 3).tolist()}
    assert seen == set(visualize.VOID_STRIPES)
    assert not seen & set(color_map(255))


@pytest.mark.parametrize(
    ('image', 'expected'),
    [
        (np.array([[7, 200]], np.uint8), [7, 200]),  # 8 bits: untouched
        (np.array([[[7], [200]]], np.uint8), [7, 200]),
        (np.array([[False, True]]), [0, 255]),
        (np.array([[1000, 3000, 2000]], np.uint16), [0, 255, 128]),  # 16 bits: stretched
        (np.array([[-1.0, 1.0, 0.0]], np.float32), [0, 255, 128]),
        (np.array([[0.0, np.nan, 1.0, np.inf]], np.float32), [0, 0, 255, 255]),
        (np.full((1, 2), 0.3, np.float32), [128, 128]),  # constant
        (np.full((1, 2), np.nan, np.float32), [128, 128]),
    ],
)
def test_to_rgb_shows_any_dtype(image, expected):
    rgb = visualize.to_rgb(image)
    assert rgb.shape == (*image.shape[:2], 3) and rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb[0, :, 0], expected)
    np.testing.assert_array_equal(rgb[:, :, 1:], rgb[:, :, :2])


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 7])
def test_to_rgb_shows_any_number_of_channels(channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 6, channels), np.uint8)
    expected = image[:, :, [0, 1, 2]] if channels >= 3 else image[:, :, [0, 0, 0]]
    np.testing.assert_array_equal(visualize.to_rgb(image), expected)


def test_overlay_leaves_background_alone_and_outlines_regions():
    image = np.full((9, 9, 3), (90, 120, 150), np.uint8)
    label = np.zeros((9, 9), int)
    label[2:7, 2:7] = 1
    shown = visualize.overlay(image, label, PALETTE, alpha=0.5)
    np.testing.assert_array_equal(shown[label == 0], image[label == 0])
    np.testing.assert_array_equal(shown[2, 2:7], [PALETTE[1]] * 5)
    gray = 0.299 * 90 + 0.587 * 120 + 0.114 * 150  # half of it and half of red
    np.testing.assert_allclose(shown[4, 4], [127.5 + gray / 2, gray / 2, gray / 2], atol=1)


def test_a_large_overlay_is_painted_in_bands_that_do_not_show(monkeypatch):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 65536, (50, 20, 3), np.uint16)
    label = np.repeat(rng.choice([0, 1, 2, IGNORE_LABEL], (10, 4)), 5, axis=0).repeat(5, axis=1)
    whole = visualize.overlay(image, label, PALETTE)
    monkeypatch.setattr(visualize, '_BAND', 16)
    np.testing.assert_array_equal(visualize.overlay(image, label, PALETTE), whole)


def test_overlay_refuses_a_label_of_another_size():
    with pytest.raises(ValueError, match=r'\(4, 4\).*\(4, 5\)'):
        visualize.overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), int), PALETTE)


def test_error_map_marks_wrong_pixels_only():
    label = np.array([[0, 1, 1, IGNORE_LABEL]])
    prediction = np.array([[0, 1, 2, 2]])
    shown = visualize.error_map(label, prediction, np.zeros((1, 4, 3), np.uint8)).astype(int)
    redness = shown[0, :, 0] - shown[0, :, 1]
    assert redness[2] > 80 and not redness[[0, 1, 3]].any()


def test_image_iou_by_hand():
    label = np.array([[0, 0, 1, 1], [0, 0, 1, IGNORE_LABEL]])
    prediction = np.array([[0, 0, 1, 0], [0, 2, 1, 2]])
    # 0: 3 of 5 pixels; 1: 2 of 3; 2 occurs in the prediction only; the void pixel counts nowhere
    assert visualize.image_iou(label, prediction) == pytest.approx({0: 3 / 5, 1: 2 / 3, 2: 0.0})


def test_panel_grows_small_pictures_by_whole_factors():
    label = np.arange(32 * 32).reshape(32, 32) % 3
    row = visualize.Row(np.zeros((32, 32, 3), np.uint8), label, label, 'a')
    picture = visualize.panel([row], class_names=NAMES, palette=PALETTE)
    side, top, margin, gap = 256, 20 + 10, visualize.MARGIN, visualize.GAP
    truth = picture[margin + top :, margin + side + gap :][:side, :side]
    expected = visualize.colorize(np.kron(label, np.ones((8, 8), int)), PALETTE)
    np.testing.assert_array_equal(truth, expected)
    prediction = picture[margin + top :, margin + 2 * (side + gap) :][:side, :side]
    np.testing.assert_array_equal(prediction, expected)


@pytest.mark.parametrize('shape', [(1, 1), (3, 700), (128, 96), (2000, 1500)])
def test_panel_takes_any_size_and_a_smaller_image(shape):
    label = np.zeros(shape, int)
    image = np.zeros((max(shape[0] // 2, 1), max(shape[1] // 2, 1), 1), np.uint16)
    row = visualize.Row(image, label, label, 'a rather long caption ' * 20)
    picture = visualize.panel([row, row], class_names=NAMES, palette=PALETTE, errors=True)
    assert picture.ndim == 3 and picture.shape[1] <= 4 * 1000 + 100


def test_panel_without_ground_truth_has_two_columns():
    label = np.zeros((256, 256), int)
    image = np.zeros((256, 256, 3), np.uint8)
    both = [visualize.Row(image, label, label), visualize.Row(image, None, label)]
    width = [
        visualize.panel(rows, class_names=NAMES, palette=PALETTE).shape[1]
        for rows in (both, both[1:])
    ]
    assert width[0] - width[1] == 256 + visualize.GAP


def test_comparison_puts_every_prediction_in_a_column_of_its_own():
    label = np.zeros((256, 256), int)
    predictions = [np.full((256, 256), i) for i in range(3)]
    void = np.full((256, 256), IGNORE_LABEL)
    image = np.full((128, 128, 3), 77, np.uint8)
    rows = [
        visualize.Compared(image, label, predictions, 'a'),
        visualize.Compared(image, void, predictions),
    ]
    picture = visualize.comparison(
        rows,
        ['one', 'two', 'three'],
        subtitles=['.1', '.2', '.3'],
        class_names=NAMES,
        palette=PALETTE,
    )
    step, y = 256 + visualize.GAP, 20 + 2 * 30 + 100  # margin, two lines of titles, inside a cell
    seen = [picture[y, visualize.MARGIN + i * step + 128].tolist() for i in range(5)]
    assert seen == [[77] * 3, [0] * 3, *map(list, PALETTE)]
    assert picture.shape[1] == 2 * visualize.MARGIN + 5 * step - visualize.GAP


def test_captions_are_shortened_to_what_tells_pictures_apart():
    assert visualize._tail('/data/raw/camvid/train/0016E5_07080.png') == (
        'camvid/train/0016E5_07080.png'
    )
    assert visualize._tail('shapes/val/3') == 'shapes/val/3'
    font = visualize.typeface(13)
    short = visualize._shorten('a_very_long_name_of_a_picture_0001.png', font, 120)
    assert font.getlength(short) <= 120
    assert short.startswith('a_very') and short.endswith('1.png')


def test_legend_of_many_classes_says_how_many_it_leaves_out():
    label = np.arange(150).reshape(10, 15)
    names = [f'class {i}' for i in range(150)]
    keys = visualize._class_keys(label, names, color_map(150), {})
    assert len(keys) == visualize.MAX_LEGEND + 1
    assert keys[-1].name == f'and {150 - visualize.MAX_LEGEND} more'


def test_contact_sheet_shows_each_image_and_its_overlay():
    images = [np.full((128, 128, 3), value, np.uint8) for value in range(0, 160, 20)]
    labels = [np.full((128, 128), i % 3) for i in range(8)]
    captions = [f'record {i}' for i in range(8)]
    sheet = visualize.contact_sheet(
        images, labels, class_names=NAMES, palette=PALETTE, captions=captions
    )
    gap, margin, side = visualize.GAP, visualize.MARGIN, 256
    assert sheet.shape[1] == 2 * margin + 4 * side + 3 * gap
    x, y = margin + side + gap, margin  # the second image, below it its label
    np.testing.assert_array_equal(sheet[y : y + side, x : x + side], 20)
    overlaid = visualize.overlay(images[1], labels[1], PALETTE)[64, 64]
    np.testing.assert_array_equal(sheet[y + side + 2 + 64, x + 64], overlaid)


def test_write_png_round_trip_and_no_leftover(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    path = tmp_path / 'new' / 'a.png'
    visualize.write_png(path, picture)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
    assert [entry.name for entry in path.parent.iterdir()] == ['a.png']
