"""fcn8s_voc from end to end on a VOC tree made of the real pictures at hand: eleven of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launch import main
from segjax.data.dataset import Roots, color_map
from segjax.data.datasets.voc import CLASSES, Voc
from segjax.data.images import read_image, read_mask

SAMPLES = Path(__file__).parents[1] / '../shared/data/voc_samples'
VAINF_VOID = ((224, 224, 192),)
VAL = ('2007_004189', '2010_005582', '2011_000006', 'vainf_23')

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason='no VOC pictures in ../shared/data'),
]


def _pictures():
    """(name, picture, mask) of each sample."""
    for picture in sorted((SAMPLES / 'light-weight-refinenet/imgs/VOC').glob('*.jpg')):
        yield picture.stem, picture, picture.with_suffix('.png')
    labelme = SAMPLES / 'labelme/instance_segmentation/data_dataset_voc'
    for picture in sorted((labelme / 'JPEGImages').glob('*.jpg')):
        yield picture.stem, picture, labelme / 'SegmentationClass' / f'{picture.stem}.png'
    for picture in sorted((SAMPLES / 'vainf_deeplabv3plus').glob('*_image.png')):
        number = picture.stem.removesuffix('_image')
        yield f'vainf_{number}', picture, picture.with_name(f'{number}_target.png')
    yield (
        'berkeley',
        SAMPLES / 'fcn_berkeley_demo/image.jpg',
        SAMPLES / 'fcn_berkeley_demo/label.png',
    )


def build_voc(tree: Path) -> None:
    """Write VOC2012 with what there is; crops of 513 pixels are cut to VOC's 500."""
    lists, masks = tree / 'ImageSets/Segmentation', tree / 'SegmentationClass'
    for folder in (lists, masks, tree / 'JPEGImages'):
        folder.mkdir(parents=True)
    names = {'train': [], 'val': []}
    for name, picture, mask in _pictures():
        names['val' if name in VAL else 'train'].append(name)
        image = read_image(picture)[:500, :500]
        ids = read_mask(mask, palette=color_map(len(CLASSES)), void=VAINF_VOID)[:500, :500]
        Image.fromarray(image).save(tree / f'JPEGImages/{name}.jpg', quality=95)
        painted = Image.fromarray(ids)
        painted.putpalette(np.array(color_map(256), np.uint8).tobytes())
        painted.save(masks / f'{name}.png')
    for split, listed in (*names.items(), ('trainval', names['train'] + names['val'])):
        (lists / f'{split}.txt').write_text('\n'.join(listed) + '\n')


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    root = tmp_path_factory.mktemp('voc')
    build_voc(root / 'raw/voc2012/VOCdevkit/VOC2012')
    return Roots(root / 'raw', root / 'data')


def test_the_tree_has_real_ids_and_void(roots):
    source = Voc().source('trainval', roots)
    assert len(source) == 11
    ids = set().union(*(np.unique(source[i].label).tolist() for i in range(11)))
    assert {0, 15, 255} < ids
    assert len(ids) > 8
    assert ids <= {*range(21), 255}


def test_check_train_and_evaluate(roots, tmp_path, capsys):
    run = tmp_path / 'run'
    command = [
        '--exp=fcn8s_voc',
        f'--raw_dir={roots.raw_dir}',
        f'--data_dir={roots.data_dir}',
        '--weights=none',
        '--widths=4,4,8,8,8',
        '--fc_features=8',
        '--norm=batch',
        '--learning_rate=1e-7',
        '--momentum=0.9',
        '--train.batch_size=8',  # a picture for each of the devices that tests have
        '--num_steps=6',
        '--eval_every=3',
        '--log_every=3',
        f'--workdir={run}',
    ]
    assert main([*command, '--mode=check_data']) == 0
    assert json.loads((run / 'check_data.json').read_text())['problems'] == []
    assert main(command) == 0
    rows = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    losses = [row['loss'] for row in rows if row['split'] == 'train']
    assert losses[-1] < losses[0]
    result = json.loads((run / 'result.json').read_text())
    assert result['protocol']['images'] == 4
    assert main([f'--workdir={run}', *command[:3], '--mode=eval', '--checkpoint=latest']) == 0
    found = json.loads((run / 'eval/eval.json').read_text())
    assert found['metrics'] == result['metrics']
    labelled = sum(int((s.label != 255).sum()) for s in map(_sample(roots), range(4)))
    assert sum(map(sum, found['confusion'])) == labelled
    assert 'numbers are not comparable with published ones' in capsys.readouterr().out


def _sample(roots):
    source = Voc().source('val', roots)
    return lambda index: source[index]
