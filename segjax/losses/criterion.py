"""What a loss is to a task."""

from __future__ import annotations

import dataclasses

from segjax.types import Array

Terms = dict[str, tuple[Array, Array]]


@dataclasses.dataclass(frozen=True)
class Criterion:
    """The loss of one head, as a field of a task. A subclass is CrossEntropy, or Dice."""

    def terms(
        self, logits: Array, label: Array, weight: Array | None, step: Array | int = 0
    ) -> Terms:
        """Named terms, each a sum and what a batch divides it by, for every image.

        The loss is `sum_t (sum_b S_tb / sum_b C_tb)`.

        Args:
          logits: `b h w k` float32.
          label: `b h w` int32; ids that are no class count for nothing.
          weight: `b h w` float32 or None.
          step: steps done.

        Returns:
          {name: (S `b`, C `b`)}.
        """
        raise NotImplementedError

    def of_all_pixels(self) -> Criterion:
        """What evaluation reports: without sampling of pixels, each image by itself."""
        return self

    @property
    def is_sum_over_images(self) -> bool:
        """Whether images may be spread over microbatches without changing the loss."""
        return True
