"""Pictures of objects: overlaps by hand, who finds whom, what is drawn where."""

import numpy as np

from segjax import visualize_instances as show
from segjax.data.datasets.shapes import Shapes
from segjax.data.detection import DetectionTrain
from segjax.evaluate.detection_steps import Steps
from segjax.evaluate.instance import Found, InstanceSample
from segjax.types import Detections, Instances

NAMES = ('background', 'disc', 'square')


def known(*boxes, classes=None, crowd=None):
    n = len(boxes)
    shape = lambda box: (box[3] - box[1], box[2] - box[0])
    return Instances(
        boxes=np.array(boxes, np.float32).reshape(n, 4),
        classes=np.array(classes or [1] * n, np.int32),
        masks=tuple(np.ones(shape(box), np.uint8) for box in boxes),
        crowd=np.array(crowd or [False] * n, bool),
        valid=np.ones(n, bool),
    )


def found(*boxes, classes=None, scores=None, size=(20, 30), masks=True):
    from segjax.data.segmentations import encode_mask

    n, runs = len(boxes), []
    for left, top, right, bottom in boxes:
        mask = np.ones((bottom - top, right - left), np.uint8)
        runs.append(encode_mask(mask, (left, top), size))
    return Found(
        np.array(boxes, np.float32).reshape(n, 4),
        np.array(scores or [0.9] * n, np.float32),
        np.array(classes or [1] * n, np.int32),
        tuple(runs) if masks else None,
    )


def test_differences_by_hand():
    """One found, one of another class, one missed, a crowd that nobody looks for."""
    truth = known((0, 0, 10, 10), (15, 0, 25, 10), (0, 12, 6, 18), (20, 12, 28, 18),
                  classes=[1, 2, 1, 1], crowd=[False, False, False, True])  # fmt: skip
    guesses = found((0, 0, 10, 8), (15, 0, 25, 10), (0, 0, 3, 3), scores=[0.95, 0.8, 0.4])
    compared = show.differences(truth, guesses, (20, 30))
    assert compared.said == '3 there, 2 found, 1 of them right; quality 0.32'  # .8 / (1 + 3 / 2)
    assert list(compared.drawn.texts) == ['', 'missed', 'missed', '0.95 / 0.80', '0.80 / 0.00']
    boxes_alone = found((0, 0, 10, 8), masks=False)
    assert show.differences(truth, boxes_alone, (20, 30)).matching.right == 1
    nothing = show.differences(known(), found(), (20, 30))
    assert nothing.said == '0 there, 0 found, 0 of them right'


def test_masks_colour_what_they_cover():
    image = np.full((20, 30, 3), 255, np.uint8)
    drawn = show.draw(image, show.known_objects(known((10, 12, 20, 18)), (20, 30), NAMES))
    scale = drawn.shape[0] // 20
    assert drawn.shape == (20 * scale, 30 * scale, 3)
    inside, outside = drawn[15 * scale, 15 * scale], drawn[18 * scale + 4, 25 * scale]
    assert inside.tolist() != [255] * 3 and outside.tolist() == [255] * 3
    np.testing.assert_array_equal(drawn[18 * scale - 1, 15 * scale], show.COLORS[0])


def test_a_panel_has_four_columns_and_takes_pictures_without_objects():
    image = np.zeros((20, 30, 3), np.uint8)
    samples = [
        InstanceSample(image, known((0, 0, 10, 10)), found((0, 0, 10, 9)), 0),
        InstanceSample(image, known(), found(), 1),
    ]
    picture = show.panel(samples, ['a', 'b'], class_names=NAMES, palette=())
    shown = show.draw(image, show.Drawn(np.zeros((0, 4)), [], [], []))
    assert picture.dtype == np.uint8 and picture.shape[1] > 4 * shown.shape[1]


def test_a_comparison_has_a_column_for_each_detector():
    image, truth = np.zeros((20, 30, 3), np.uint8), known((0, 0, 10, 10))
    guesses = [found((0, 0, 10, 9)), found(), found((0, 0, 9, 9), masks=False)]
    compare = lambda found, titles: show.comparison(
        [show.Compared(image, truth, found, 'x')], titles, subtitles=titles, class_names=NAMES
    )
    two, three = compare(guesses[:2], 'ab'), compare(guesses, 'abc')
    column = three.shape[1] - two.shape[1]
    assert two.shape[0] == three.shape[0] and two.shape[1] > 4 * (column - 10)
    np.testing.assert_array_equal(two[:, : 4 * column], three[:, : 4 * column])


def test_masks_of_a_large_picture_are_kept_at_the_size_at_which_they_are_shown():
    """A hundred canvases of 4000 x 6000 pixels would be 2.4 GB."""
    size = (4000, 6000)
    truth = known((1000, 1000, 3000, 3000))
    guesses = found((1000, 1000, 3000, 2900), size=size)
    compared = show.differences(truth, guesses, size)
    assert compared.said == '1 there, 1 found, 1 of them right; quality 0.95'
    shown = show.visualize.display_size(*size)
    drawn = [compared.drawn, show.known_objects(truth, size, NAMES)]
    drawn.append(show.found_objects(guesses, size, NAMES))
    assert [mask.shape for objects in drawn for mask in objects.masks] == [shown] * 4
    assert abs(drawn[1].masks[0].mean() - 4 / 24) < 0.002


def test_a_sheet_shows_samples_of_a_training():
    source = Shapes(num_train=4).source('train', None)
    make = DetectionTrain(batch_size=1, crop=(128, 128), instances=8, mask_size=14)
    samples = [make.sample(source, seed=0, number=i) for i in range(3)]
    names = tuple('abcdef')
    sheet = show.sheet(samples, ['x', 'y', 'z'], class_names=names)
    plain = [s._replace(instances=s.instances._replace(valid=np.zeros(8, bool))) for s in samples]
    without = show.sheet(plain, ['x', 'y', 'z'], class_names=names)
    assert sheet.shape == without.shape and (sheet != without).any(-1).mean() > 0.02


def test_steps_show_the_masks_of_sure_detections():
    image = np.full((20, 30, 3), 90, np.uint8)
    boxes = np.array([[1, 1, 9, 9], [10, 2, 20, 12]], np.float32)
    masks, sure = np.ones((2, 7, 7), np.float32), np.array([0.9, 0.2])
    there = np.ones(2, bool)
    found = Detections(boxes, sure, np.array([1, 2]), masks, there, np.int32(0))
    with_masks = show.steps_picture(Steps(image, boxes, boxes, found), class_names=NAMES)
    boxes_alone = show.steps_picture(
        Steps(image, boxes, boxes, found._replace(masks=None)), class_names=NAMES
    )
    assert with_masks.shape[0] > boxes_alone.shape[0] + 20
    nothing = found._replace(valid=~there)
    assert show.steps_picture(Steps(image, boxes, boxes[:0], nothing), class_names=NAMES).any()
