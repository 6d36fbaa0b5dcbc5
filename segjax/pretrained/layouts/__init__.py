"""How names and axes map between segjax and other libraries, a file a family of models.

A layout is a name ('torchvision', 'caffe', ...) and, for each family, a function from the names of
a model's arrays to their counterparts; it returns None for a model that is not of its family. The
next family goes into a file of its own and into `LAYOUTS`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection

from segjax.pretrained.layouts import (
    alexnet,
    caffe,
    deeplab,
    googlenet,
    mask_rcnn,
    mobilenet,
    resnet,
    unet,
    unet_transfer,
    unetplusplus,
    vgg,
)
from segjax.pretrained.layouts.counterpart import Counterpart, NameMap
from segjax.types import UserError

LAYOUTS: dict[str, tuple[Callable[[Collection[str]], NameMap | None], ...]] = {
    'torchvision': (
        mask_rcnn.torchvision,
        mask_rcnn.torchvision_old,
        deeplab.torchvision,
        vgg.torchvision,
        resnet.torchvision,
        googlenet.torchvision,
        mobilenet.torchvision,
        alexnet.torchvision,
    ),
    'caffe': (caffe.caffe,),
    'milesial': (unet.milesial,),
    'torch_em': (unet.torch_em,),
    '4uiiurz1': (unetplusplus.nested_unet,),
    'ternausnet': (unet_transfer.ternausnet,),
    'smp': (deeplab.smp, unetplusplus.smp, unet_transfer.smp),
}
MARKS = {  # an array that only files of a layout have
    'milesial': 'inc.double_conv.0.weight',
    'torch_em': 'encoder.blocks.0.block.0.weight',
    '4uiiurz1': 'conv0_0.conv1.weight',
    'ternausnet': 'center.block.1.*',
    'smp': 'segmentation_head.0.weight',
}

__all__ = ['LAYOUTS', 'Counterpart', 'NameMap', 'layout_of', 'name_map']


def layout_of(names: Collection[str]) -> str:
    """The layout of a Torch file, by the names of its arrays; 'torchvision' where no mark tells."""
    found = (layout for layout, mark in MARKS.items() if fnmatch.filter(names, mark))
    return next(found, 'torchvision')


def name_map(names: Collection[str], layout: str, theirs: Collection[str] = ()) -> NameMap:
    """The counterparts of a model's arrays.

    Args:
      names: of the arrays, as in `params/vgg16/stage1/conv1_1/kernel`.
      layout: a key of `LAYOUTS`.
      theirs: the names in a file. Some models can be read from two kinds of files, their own and
        those of the classifier that they are built over: the map that knows more of the names is
        taken, without names that of the whole model.

    Raises:
      UserError: there is no such layout, or it knows no model with these names.
    """
    if layout not in LAYOUTS:
        raise UserError(f'there is no layout {layout!r} of weights; known: {", ".join(LAYOUTS)}')
    found = [m for family in LAYOUTS[layout] if (m := family(names)) is not None]
    if found:
        known = lambda m: sum(there.name in theirs for there in m.counterparts.values())
        return max(found, key=known)  # of equals the first
    first = ', '.join(sorted(names)[:3])
    raise UserError(
        f'the layout {layout!r} knows no model with the arrays {first}, ...; weights that segjax '
        'saved (--weights=RUN) fit every model'
    )
