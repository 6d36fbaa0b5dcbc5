"""A folder of pictures with masks of one foreground, as polyp and lesion data sets have them.

    Kvasir-SEG  FOLDER/images/NAME.jpg  FOLDER/masks/NAME.jpg
    ISIC 2018   FOLDER/ISIC2018_Task1-2_Training_Input/NAME.jpg
                FOLDER/ISIC2018_Task1_Training_GroundTruth/NAME_segmentation.png

Unlike in a Folder there is no classes.txt, and masks may be JPEGs (Kvasir's are): what is brighter
than the middle is foreground.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from segjax.data.dataset import Info, Roots
from segjax.data.datasets.folder import Folder
from segjax.data.images import read_image
from segjax.data.pairs import Pair
from segjax.types import UserError


@dataclasses.dataclass(frozen=True)
class BinaryFolder(Folder):
    """Pictures and masks of background and one foreground; splits and groups as in Folder.

    Attributes:
      images, masks: the folders in FOLDER; with ISIC,
        --images=ISIC2018_Task1-2_Training_Input --masks=ISIC2018_Task1_Training_GroundTruth.
      foreground: its name.
    """

    images: str = 'images'
    masks: str = 'masks'
    foreground: str = 'foreground'

    def __post_init__(self):
        super().__post_init__()
        if self.mask_values or self.void_values:
            raise UserError('--mask_values and --void_values are for a Folder with a classes.txt.')

    @property
    def folders(self) -> tuple[str, str]:
        return self.images, self.masks

    def side_files(self, roots: Roots) -> list[Path]:
        return []

    def info(self, roots: Roots) -> Info:
        self.require(roots)
        return Info(('background', self.foreground), ((0, 0, 0), (230, 57, 70)))

    def read_label(self, pair: Pair, roots: Roots) -> np.ndarray:
        mask = read_image(pair.mask, channels=1)[..., 0]
        if mask.dtype != np.uint8:
            raise UserError(f'{pair.mask}: holds {mask.dtype.name}; save the mask with 8 bits.')
        label = mask > 127
        if not label.any() and mask.max() > 0:
            raise UserError(
                f'{pair.mask}: has no pixel above 127, and values up to {mask.max()}; if they are '
                f'ids of classes, take --exp=unet_folder with a classes.txt.'
            )
        return label.astype(np.uint8)

    def doubtful(self, values: dict[Path, set[int]]) -> list[Path]:
        return []
