"""Looks through the raw files of a data set and says what is wrong with them, all of it at once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np

from segjax.data.dataset import Dataset, Roots
from segjax.data.images import read_image
from segjax.data.pairs import DOUBTFUL_VALUES, Pair, PairedDataset, check_sizes, check_type
from segjax.types import IGNORE_LABEL, UserError


@dataclasses.dataclass
class Report:
    """What check() found.

    Attributes:
      problems: (file, what is wrong and how to mend it), in the order of splits and files.
      counts: pictures of each split.
      class_names: of the data set.
      pixels: pixels of each class, `k`, in the readable masks of the split train.
      ignored: pixels of IGNORE_LABEL there.
      weights: median-frequency weights of the classes, `k`; 0 for a class without a pixel.
      sizes: pictures of each (height, width), the commonest first.
      left_out: (file, object and what is wrong with it) of objects that training leaves out.
    """

    problems: list[tuple[str, str]]
    counts: dict[str, int]
    class_names: tuple[str, ...]
    pixels: np.ndarray
    ignored: int
    weights: np.ndarray
    sizes: dict[tuple[int, int], int]
    left_out: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def median_frequency_weights(pixels: np.ndarray, present: np.ndarray) -> np.ndarray:
    """weight_c = median(frequency) / frequency_c, the median over the classes that occur.

    frequency_c is the number of pixels of class c, divided by the number of labelled pixels in the
    pictures in which c occurs (Eigen and Fergus, "Predicting depth, surface normals and semantic
    labels", ICCV 2015, section 6.2; SegNet's class weights for CamVid).

    Args:
      pixels: `k`, pixels of each class.
      present: `k`, labelled pixels of the pictures in which each class occurs.

    Returns:
      `k` float64; 0 for a class without a pixel.
    """
    occurs = pixels > 0
    frequency = pixels / np.maximum(present, 1)
    if not occurs.any():
        return np.zeros(len(pixels))
    return np.where(occurs, np.median(frequency[occurs]) / np.where(occurs, frequency, 1), 0.0)


class _Histogram:
    """Pixels of each class, and of the pictures in which it occurs."""

    def __init__(self, num_classes: int):
        self.pixels = np.zeros(num_classes, np.int64)
        self.present = np.zeros(num_classes, np.int64)
        self.ignored = 0

    def add(self, label: np.ndarray) -> None:
        counts = np.bincount(label.ravel(), minlength=IGNORE_LABEL + 1)
        counts, self.ignored = counts[: len(self.pixels)], self.ignored + int(counts[IGNORE_LABEL])
        self.pixels += counts
        self.present[counts > 0] += counts.sum()


class _Inspection:
    """The report in the making."""

    def __init__(self, dataset: Dataset, roots: Roots):
        self.class_names = dataset.info(roots).class_names
        self.histogram = _Histogram(len(self.class_names))
        self.problems: list[tuple[str, str]] = []
        self.left_out: list[tuple[str, str]] = []
        self.counts: dict[str, int] = {}
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.first: dict[str, Path] = {}  # dtype and path of the first picture

    def add_label(self, split: str, label: np.ndarray) -> None:
        if split == 'train':  # weights are for training
            self.histogram.add(label)

    def note(self, file: Path | str, error: UserError) -> None:
        text = str(error).removeprefix(f'{file}: ')
        self.problems.append((str(file), text))

    def report(self) -> Report:
        pixels, present = self.histogram.pixels, self.histogram.present
        return Report(
            problems=self.problems,
            counts=self.counts,
            class_names=self.class_names,
            pixels=pixels,
            ignored=self.histogram.ignored,
            weights=median_frequency_weights(pixels, present),
            sizes=dict(self.sizes.most_common()),
            left_out=self.left_out,
        )


def _read_pair(
    dataset: PairedDataset, pair: Pair, roots: Roots, inspection: _Inspection
) -> np.ndarray | None:
    """The label of a pair; None, and a note for each of its files that is bad."""
    image = label = None
    try:
        image = read_image(dataset.read_picture(pair, roots), name=str(pair.image))
        inspection.sizes[image.shape[:2]] += 1
        check_type(pair.image, image, inspection.first, dataset.normalize)
    except UserError as error:
        inspection.note(pair.image, error)
    try:
        label = dataset.read_label(pair, roots)
        if image is not None:
            check_sizes(pair, image, label)
    except UserError as error:
        inspection.note(pair.mask, error)
        return None
    return label


def _inspect_pairs(dataset: PairedDataset, roots: Roots, inspection: _Inspection) -> None:
    values: dict[Path, set[int]] = {}
    for split in dataset.splits(roots):
        pairs = dataset.pairs(split, roots)
        inspection.counts[split] = len(pairs)
        for pair in pairs:
            label = _read_pair(dataset, pair, roots, inspection)
            if label is not None:
                values[pair.mask] = set(np.unique(label).tolist())
                inspection.add_label(split, label)
                inspection.left_out += [(str(pair.image), text) for text in dataset.flaws(pair)]
    for mask in dataset.doubtful(values):
        inspection.problems.append((str(mask), DOUBTFUL_VALUES))


def _inspect_samples(dataset: Dataset, roots: Roots, inspection: _Inspection) -> None:
    for split in dataset.splits(roots):
        source = dataset.source(split, roots)
        inspection.counts[split] = len(source)
        for index in range(len(source)):
            try:
                sample = source[index]
            except UserError as error:
                inspection.note(source.name(index), error)
                continue
            inspection.sizes[source.size(index)] += 1
            if sample.label is not None:
                inspection.add_label(split, sample.label)


def check(dataset: Dataset, roots: Roots) -> Report:
    """Reads every raw picture and mask of every split, and goes on after a bad one.

    Reported are unreadable files, masks of another size than their picture, ids outside 0..K-1 and
    IGNORE_LABEL, colours that no class has, and masks of exactly {0, 255} whose meaning is open;
    beside them objects without pixels, or with a box that is none or outside the picture.

    Raises:
      UserError: there is nothing to look through: no data, no pairs, no list of classes.
    """
    inspection = _Inspection(dataset, roots)
    if isinstance(dataset, PairedDataset):
        dataset.require(roots)
        _inspect_pairs(dataset, roots, inspection)
    else:
        _inspect_samples(dataset, roots, inspection)
    return inspection.report()
