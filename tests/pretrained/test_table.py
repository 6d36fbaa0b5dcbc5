"""The table of known weights."""

import re

import pytest

from segjax.data.normalize import NORMALIZATIONS
from segjax.pretrained import table
from segjax.pretrained.layouts import LAYOUTS
from segjax.types import UserError

DOWNLOADED = [known for known in table.KNOWN.values() if known.url]
OWN = [known for known in table.KNOWN.values() if not known.url]


@pytest.mark.parametrize('known', DOWNLOADED, ids=lambda known: known.name)
def test_entries_are_complete(known):
    """Names of things that exist, an address, the hash that the file's name carries.

    Only Caffe's files come over http, and only theirs and milesial's without a hash: there is no
    other way to them.
    """
    assert known.layout in LAYOUTS and known.preprocessing in NORMALIZATIONS
    assert re.fullmatch(r'https?://\S+/[\w.-]+\.(pth|safetensors|caffemodel)', known.url)
    checked = known.url.startswith('https:') and known.sha256
    assert checked or known.layout in ('caffe', 'milesial')
    assert known.url.startswith('https:') or known.layout == 'caffe'
    assert (known.layout == 'caffe') == known.url.endswith('.caffemodel')
    assert re.fullmatch(r'[0-9a-f]{8,64}|', known.sha256)
    assert not known.sha256 or known.file_name.endswith(f'-{known.sha256[:8]}.pth')
    assert known.model and known.classes and known.figure and known.licence


@pytest.mark.parametrize('known', OWN, ids=lambda known: known.name)
def test_networks_without_an_address_say_so(known):
    assert known.layout in LAYOUTS and known.preprocessing in NORMALIZATIONS
    assert known.model and known.figure == 'layout tested, file not tried'
    line = next(x for x in table.listing().splitlines() if x.split()[0] == known.name)
    assert 'by its path' in line and line.endswith('file not tried')


def test_what_the_architectures_to_come_need_is_there():
    wanted = 'vgg11 vgg16 alexnet googlenet resnet18 resnet34 resnet50 resnet101 mobilenet_v2'
    assert {*wanted.split(), 'mobilenet_v3_large', 'vgg16_caffe'} <= table.KNOWN.keys()
    files = [known.file_name for known in DOWNLOADED]
    assert len(set(files)) == len(files)
    assert table.find('vgg16').file_name == 'vgg16-397923af.pth'
    assert table.find('resnet50').sha256 == '0676ba61'


def test_the_listing_has_a_line_for_each():
    lines = table.listing().splitlines()
    for name in table.KNOWN:
        assert sum(line.split()[0] == name for line in lines) == 1
    assert any('BSD-3-Clause' in line for line in lines)


def test_a_misspelt_name_is_mended():
    with pytest.raises(UserError, match=r"'resnet5'.*Did you mean.*resnet50.*--list_weights"):
        table.find('resnet5')


def test_another_normalisation_is_said():
    assert table.normalization_note('vgg16', 'imagenet') == ''
    assert table.normalization_note('runs/mine', 'caffe') == ''
    note = table.normalization_note('vgg16', 'caffe')
    assert note == (
        'Note: vgg16 was trained on images with --normalize=imagenet; the data is set to caffe.'
    )
