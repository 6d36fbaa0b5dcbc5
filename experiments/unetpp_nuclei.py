"""U-Net++ with deep supervision on the nuclei of the 2018 Data Science Bowl, for two CPU cores.

    python launch.py --exp=unetpp_nuclei
    python launch.py --exp=unetpp_nuclei --deep_supervision=false
    python launch.py --exp=unetpp_nuclei --mode=sweep

The network is half as wide as the published one (Zhou et al., DLMIA 2018), with batch
normalisation in place of dropout, so that it learns in minutes; the loss is the authors', half a
cross-entropy and a Dice. Patches of 96 pixels are cut out of the pictures as they are;
--stretch=96,96 shrinks whole pictures to that size instead, in training and evaluation, which is
the known cause of nuclei figures that nobody could reproduce. The published network is
--widths=32,64,128,256,512 --norm=none --model.dropout=0.5 --learning_rate=3e-4, for an accelerator;
it was not run here.

Val (24 of 100 pictures, the split and the augmentation of unet_nuclei), seed 0, the best
checkpoint, that of step 600 of 1000: IoU of the nuclei, mean of the pictures, .771 (fluorescence
.809, stained .629; Otsu's threshold .712, .756, .543), of all pixels together .795; objects by
watershed: AP .376 over IoU .5:.95, AP50 .605, AJI .619. The last has .763; unet_nuclei says why. 32
min on one core of an AMD EPYC that other work shared, 4.7 img/s (Python 3.11.7, jax 0.10.2); two
idle ones do 11 img/s, 12 minutes of training.

sweep() has the arms of the paper's question, whether deep supervision helps: U-Net, a U-Net that is
wider by the same share as the paper's (35 for 32), U-Net++ without deep supervision and with the
four weightings of its heads, and the networks that pruning leaves, L1 to L3, trained by themselves.
"""

import dataclasses
from collections.abc import Iterator

from segjax.data.datasets.nuclei import Nuclei
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Flip, Invert, ScaleJitter, Turn
from segjax.losses import CrossEntropyDice
from segjax.models import UNet, UNetPlusPlus
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """Four heads, the mean of their losses; the deepest predicts."""
    return Experiment(
        model=UNetPlusPlus(num_classes=2, widths=(16, 32, 64, 128, 256), norm='batch', dropout=0.0),
        task=Semantic(
            CrossEntropyDice(),
            supervision='mean',
            scores=('image', 'components', 'watershed'),
            best_metric='image_iou',
        ),
        optimizer=AdamW(learning_rate=2e-3, schedule=WarmupCosine(warmup=0.1), weight_decay=1e-2),
        dataset=Nuclei(normalize='zscore'),
        train=TrainPipeline(
            batch_size=8,
            crop=(96, 96),
            max_class_share=0.98,
            balance=1.0,
            transforms=(
                ScaleJitter(0.5, 1.5),
                Turn(),
                Flip(),
                ColorJitter(0.4, 0.4, 0.4, hue=0.03),
                Invert(0.3),
            ),
        ),
        eval=EvalPipeline(batch_size=8, round_to=64, scales=(0.5, 0.75, 1.0)),
        num_steps=1000,
        eval_every=200,
    )


def sweep(e: Experiment | None = None) -> Iterator[tuple[str, Experiment]]:
    """The arms; `unet` is the control."""
    e = e or experiment()
    model, widths = e.model, e.model.widths
    shared = ('num_classes', 'widths', 'norm', 'dropout', 'dtype')
    unet = UNet(padding='same', **{name: getattr(model, name) for name in shared})
    yield 'unet', dataclasses.replace(e, model=unet)
    first = -(-35 * widths[0] // 32)  # 18 for 16; 35 for the paper's 32
    wide = tuple(width * first // widths[0] for width in widths)
    yield 'wide_unet', dataclasses.replace(e, model=unet.clone(widths=wide))
    yield 'unetpp', dataclasses.replace(e, model=model.clone(deep_supervision=False))
    deep = dataclasses.replace(e, model=model.clone(deep_supervision=True))
    for supervision in ('mean', 'sum', 'halving', 'ramp'):
        task = dataclasses.replace(e.task, supervision=supervision)
        yield f'unetpp_ds_{supervision}', dataclasses.replace(deep, task=task)
    for depth in (1, 2, 3):
        alone = model.clone(deep_supervision=False, depth=depth, widths=widths[: depth + 1])
        yield f'unetpp_l{depth}_alone', dataclasses.replace(e, model=alone)
