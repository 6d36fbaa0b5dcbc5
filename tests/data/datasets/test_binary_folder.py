"""Folders in the layouts of Kvasir-SEG and ISIC."""

import numpy as np
import pytest
from PIL import Image

from segjax.data.check import check
from segjax.data.dataset import Roots
from segjax.data.datasets.binary_folder import BinaryFolder
from segjax.types import UserError

ISIC = {
    'images': 'ISIC2018_Task1-2_Training_Input',
    'masks': 'ISIC2018_Task1_Training_GroundTruth',
}
MASK = np.zeros((32, 32), np.uint8)
MASK[10:21, 5:27] = 255


def write(folder, images='images', masks='masks', ending='', suffix='jpg', mask=MASK):
    for part in (images, masks):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for i in range(10):
        Image.new('RGB', (32, 32), (i, 80, 160)).save(folder / images / f'p{i % 5}_{i}.jpg')
        Image.fromarray(mask).save(folder / masks / f'p{i % 5}_{i}{ending}.{suffix}')


@pytest.fixture
def roots(tmp_path):
    return Roots(tmp_path, tmp_path / 'data')


def test_masks_saved_as_jpeg(tmp_path, roots):
    write(tmp_path / 'kvasir')
    noisy = np.asarray(Image.open(tmp_path / 'kvasir' / 'masks' / 'p0_0.jpg'))
    assert len(np.unique(noisy)) > 2  # what the compression invented
    dataset = BinaryFolder(folder=str(tmp_path / 'kvasir'), foreground='polyp')
    np.testing.assert_array_equal(dataset.source('train', roots)[0].label, MASK > 0)
    assert dataset.info(roots).class_names == ('background', 'polyp')
    assert not check(dataset, roots).problems


def test_isic(tmp_path, roots):
    write(tmp_path / 'isic', **ISIC, ending='_segmentation', suffix='png')
    dataset = BinaryFolder(folder=str(tmp_path / 'isic'), **ISIC)
    np.testing.assert_array_equal(dataset.source('val', roots)[0].label, MASK > 0)


def test_a_patient_stays_in_one_split(tmp_path, roots):
    write(tmp_path / 'kvasir')
    dataset = BinaryFolder(folder=str(tmp_path / 'kvasir'), group=r'p(\d)_')
    patients = [{p.name[:2] for p in dataset.pairs(s, roots)} for s in ('train', 'val')]
    assert patients[0] | patients[1] == {f'p{i}' for i in range(5)}
    assert not patients[0] & patients[1]


def test_ids_in_the_place_of_black_and_white_are_refused(tmp_path, roots):
    write(tmp_path / 'ids', suffix='png', mask=MASK // 255)
    with pytest.raises(UserError, match='no pixel above 127, and values up to 1'):
        BinaryFolder(folder=str(tmp_path / 'ids')).source('train', roots)


def test_an_empty_mask_is_a_mask(tmp_path, roots):
    write(tmp_path / 'empty', mask=0 * MASK)
    assert BinaryFolder(folder=str(tmp_path / 'empty')).source('train', roots)[0].label.max() == 0


def test_a_missing_folder_is_named(tmp_path, roots):
    (tmp_path / 'isic').mkdir()
    with pytest.raises(UserError, match='neither ISIC2018_Task1-2_Training_Input/'):
        BinaryFolder(folder=str(tmp_path / 'isic'), **ISIC).source('train', roots)
