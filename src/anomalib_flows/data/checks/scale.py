"""Warn of photos that are scaled down so far that small defects vanish."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from anomalib_flows.core.types import ImageSize, ResizeMode, content_size

LARGEST_FACTOR = 4
"""Photos that are scaled down further than this are warned of."""
VISIBLE = 8
"""Side of the smallest defect that is seen reliably, in pixels of the input (docs/how-to/large-images.md)."""
SIDES = (256, 384, 512, 768, 1024)
"""Longer sides of the image sizes that are proposed."""
MULTIPLE = 32
"""Divisor of each proposed side: the coarsest stride of most encoders."""


@dataclass(frozen=True)
class InputScale:
    """Size of a model's input, to which photos are scaled down.

    Args:
        size: Height and width of the input.
        resize: ``stretch`` or ``pad``.
    """

    size: ImageSize
    resize: ResizeMode

    def factor(self, photo: ImageSize) -> float:
        """Return by which factor a photo is scaled down, in the direction that shrinks more.

        Example:
            >>> InputScale((256, 256), "stretch").factor((3000, 4000))
            15.625
        """
        inner = content_size(*photo, self.size, self.resize)
        return max(photo[0] / inner[0], photo[1] / inner[1])

    def smallest_defect(self, photo: ImageSize) -> int:
        """Return the side of the smallest defect that is seen reliably, in pixels of a photo."""
        return round(VISIBLE * self.factor(photo))

    def larger(self) -> list[InputScale]:
        """Return the larger sizes that are proposed, of about the same aspect ratio."""
        longer = max(self.size)
        return [self._scaled(side / longer) for side in SIDES if side > longer]

    def _scaled(self, factor: float) -> InputScale:
        height, width = (max(1, round(side * factor / MULTIPLE)) * MULTIPLE for side in self.size)
        return InputScale((height, width), self.resize)

    def __str__(self) -> str:
        """Return the size as the option takes it."""
        height, width = self.size
        return str(height) if height == width else f"{height},{width}"


def warn_of_scale(photos: Mapping[ImageSize, int], scale: InputScale) -> None:
    """Warn once if photos, counted by height and width, are scaled down more than fourfold."""
    if text := about_scale(photos, scale):
        warnings.warn(text, stacklevel=2)


def about_scale(photos: Mapping[ImageSize, int], scale: InputScale) -> str:
    """Return a warning if photos are scaled down more than fourfold; else nothing."""
    count = sum(number for photo, number in photos.items() if scale.factor(photo) > LARGEST_FACTOR)
    if not count:
        return ""
    photo = max(photos, key=scale.factor)
    return (
        f"{count} of {sum(photos.values())} photos are scaled down more than fourfold, up to "
        f"{scale.factor(photo):.1f}-fold: there, defects smaller than about {square(scale, photo)} pixels of the photo "
        f"are likely missed. {advice(photo, scale)}"
    )


def square(scale: InputScale, photo: ImageSize) -> str:
    """Return the size of the smallest defect in words."""
    side = scale.smallest_defect(photo)
    return f"{side} x {side}"


def advice(photo: ImageSize, scale: InputScale) -> str:
    """Return how smaller defects of a photo are seen: by a larger input, or in tiles if no input is large enough."""
    larger = scale.larger()
    if not larger:
        return "To see smaller ones, cut the photos into tiles."
    enough = [one for one in larger if one.factor(photo) <= LARGEST_FACTOR]
    best = (enough or larger[-1:])[0]
    sees = f"trained with `image.size` {best} sees those from about {square(best, photo)} pixels on"
    return f"A model {sees}." if enough else f"Even one {sees}: to see smaller ones, cut the photos into tiles."
