"""U-Net on the nuclei of the 2018 Data Science Bowl, sized for two CPU cores and 20 minutes.

    python launch.py --exp=unet_nuclei

Patches of 128 pixels are cut out of the pictures as they are, and pictures are evaluated whole, at
their own resolution. Each is normalised by itself, as the brightness of fluorescence varies
tenfold. The split keeps look-alikes together and parts each modality (segjax/data/README.md): val
shows looks that train has not. So each look of train, most of which have one picture, is drawn as
often as any other (`balance`), and some patches are inverted, which makes of fluorescence something
like stains.

Val (24 of 100 pictures: 19 fluorescence, 5 stained), seed 0, the best checkpoint, which is that of
step 1000: IoU of the nuclei, mean of the pictures; beside it --mode=eval --orientations=7 of the
same weights, and Otsu's threshold on the same pictures (python -m segjax.tools.otsu):

    all                 .772   .776   Otsu .712
    fluorescence        .815   .819        .756
    stained             .610   .615        .543
    all pixels together .805   .811        .635

Objects by watershed: AP .355 over IoU .5:.95, AP50 .565, AJI .624; by connected parts .326, .502,
.547. 31 min on 2 cores of an AMD EPYC that six to ten other programs shared, 8 to 10 img/s where
they left it one of them (Python 3.11.7, jax 0.10.2).

That checkpoint is a lucky one: the last of the same run, after 1500 steps, has .762, and so had
every variant that was tried at its end: 1000 steps .763; with a moving average of the weights .762;
patches of 96 with half the balance .764 after 1200 steps, .762 after 1800. Without inverted patches
that was .755, without balance too .753. The worst pictures remain two of pink tissue (.37 and .44
in the run with .764), whose look a single picture of train has.
"""

from segjax.data.datasets.nuclei import Nuclei
from segjax.data.pipeline import EvalPipeline, TrainPipeline
from segjax.data.transforms import ColorJitter, Flip, Invert, ScaleJitter, Turn
from segjax.losses import CrossEntropyDice
from segjax.models import UNet
from segjax.optim import AdamW, WarmupCosine
from segjax.tasks import Semantic
from segjax.train.experiment import Experiment


def experiment() -> Experiment:
    """Patches of 128 pixels at native resolution; a quarter of the published width."""
    return Experiment(
        model=UNet(
            num_classes=2,
            widths=(16, 32, 64, 128, 256),
            padding='same',
            norm='batch',
            dropout=0.0,
        ),
        task=Semantic(
            CrossEntropyDice(),
            scores=('image', 'components', 'watershed'),
            best_metric='image_iou',
        ),
        optimizer=AdamW(learning_rate=2e-3, schedule=WarmupCosine(warmup=0.1), weight_decay=1e-2),
        dataset=Nuclei(normalize='zscore'),
        train=TrainPipeline(
            batch_size=8,
            crop=(128, 128),
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
        eval=EvalPipeline(batch_size=8, round_to=32, scales=(0.5, 0.75, 1.0)),
        num_steps=1200,
        eval_every=200,
    )
