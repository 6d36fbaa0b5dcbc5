"""U-Net++ with deep supervision on a folder of polyps, lesions, cells: --folder=PATH.

    python launch.py --exp=unetpp_folder --folder=PATH

FOLDER/images and FOLDER/masks with files of one name, in the masks what is bright being foreground
(Kvasir-SEG; ISIC's layout is in segjax/data/README.md). --group=REGEX keeps the pictures of one
patient in one split. Several classes with a classes.txt: --exp=unet_folder. After training,
--mode=eval --prune=2 evaluates the network that is left when levels 3 and 4 are cut off.
"""

from segjax.data.datasets.binary_folder import BinaryFolder
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Flip, ScaleJitter
from segjax.losses import CrossEntropyDice
from segjax.models import UNetPlusPlus
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """Half the published width, batch normalisation, half a cross-entropy and a Dice."""
    return Experiment(
        model=UNetPlusPlus(num_classes=1, widths=(16, 32, 64, 128, 256), norm='batch', dropout=0.0),
        task=Semantic(CrossEntropyDice(), supervision='mean', scores=('image',)),
        optimizer=AdamW(learning_rate=2e-3, schedule=WarmupCosine(warmup=0.1), weight_decay=1e-2),
        dataset=BinaryFolder(),
        train=TrainPipeline(
            batch_size=8,
            crop=(192, 192),
            transforms=(ScaleJitter(0.5, 1.5), Flip(), Flip('vertical'), ColorJitter()),
        ),
        eval=EvalPipeline(batch_size=8, round_to=32),
        num_steps=600,
        eval_every=150,
    )
