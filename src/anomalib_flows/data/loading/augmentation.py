"""Augment images at random, for training and for tests under disturbance.

The same code serves both. The changes of an image depend on the seed, the epoch and its file name, never on the other
images of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anomalib_flows.core.cuda import to_device
from anomalib_flows.core.types import Batch
from anomalib_flows.data.loading.randomness import generator
from anomalib_flows.run.options import AugmentOptions

DRAWS = 9
"""Random numbers of each image. The count is fixed, so that one option does not change the numbers of another."""


def augment_batch(batch: Batch, options: AugmentOptions, *names: object) -> Batch:
    """Return a batch with augmented images, and masks of defects; padding still repeats the border.

    The changes of an image depend on ``names``, such as seed and epoch, and on its file and folder.
    """
    if not options.active:
        return batch
    images, masks = batch.images.clone(), list(batch.masks)
    for height, width in sorted(set(batch.contents)):
        chosen = [i for i, content in enumerate(batch.contents) if content == (height, width)]
        files = [batch.samples[i].path for i in chosen]
        draws = RandomChanges(options, [generator(*names, file.parent.name, file.name) for file in files])
        below, beside = images.shape[2] - height, images.shape[3] - width
        changed = draws.images(images[chosen, :, :height, :width])
        images[chosen] = F.pad(changed, (0, beside, 0, below), mode="replicate")
        for place, i in enumerate(chosen):
            if (mask := masks[i]) is not None and mask.any():
                masks[i] = F.pad(draws.mask(mask[:height, :width], place), (0, beside, 0, below))
    return replace(batch, images=images, masks=masks)


class RandomChanges:
    """Random changes of B images of one size, to be applied to images and masks; each has a generator."""

    def __init__(self, options: AugmentOptions, generators: Sequence[np.random.Generator]) -> None:
        self.options, self.generators = options, generators
        self.drawn = torch.from_numpy(np.stack([g.uniform(-1, 1, DRAWS) for g in generators], axis=1)).float()

    def images(self, images: Tensor) -> Tensor:
        """Change images of shape (B, 3, h, w), values 0 to 255."""
        return self._noise(self._blur(self._light(self._move(images, self.drawn, self.options.interpolation))))

    def mask(self, mask: Tensor, place: int) -> Tensor:
        """Move the boolean mask (h, w) of the image at a place as that image is moved."""
        one = self.drawn[:, place : place + 1]
        return self._move(mask[None, None].float(), one, "nearest")[0, 0].bool()

    def _move(self, images: Tensor, drawn: Tensor, interpolation: str) -> Tensor:
        """Flip, then rotate, scale and shift at once, about the image's centre."""
        angle, flip, zoom, down, across = to_device(drawn[:5], images.device)
        if self.options.flip:
            images = torch.where((flip < 0).view(-1, 1, 1, 1), images.flip(-1), images)
        if not self.options.moves:
            return images
        from kornia.geometry.transform import get_affine_matrix2d, warp_affine  # slow to import

        size = images.new_tensor(images.shape[-2:]).flip(0)  # x before y
        matrix = get_affine_matrix2d(
            translations=self.options.shift * torch.stack([across, down], 1) * size,
            center=((size - 1) / 2).expand(len(images), 2),
            scale=(self.options.zoom**zoom)[:, None].expand(-1, 2),
            angle=-self.options.rotate * angle,  # counter-clockwise to us, clockwise to this function
        )
        height, width = images.shape[-2:]
        return warp_affine(images, matrix[:, :2], (height, width), interpolation, self.options.border)

    def _light(self, images: Tensor) -> Tensor:
        """Scale the values, and their difference from the image's mean."""
        if not (self.options.brightness or self.options.contrast):
            return images
        from kornia.enhance import adjust_brightness_accumulative, adjust_contrast_with_mean_subtraction

        brightness, contrast = to_device(self.drawn[5:7], images.device)
        if self.options.brightness:
            factor = 1 + self.options.brightness * brightness
            images = 255 * adjust_brightness_accumulative(images / 255, factor)
        if self.options.contrast:
            factor = 1 + self.options.contrast * contrast
            images = 255 * adjust_contrast_with_mean_subtraction(images / 255, factor)
        return images

    def _blur(self, images: Tensor) -> Tensor:
        if not self.options.blur:
            return images
        from kornia.filters import gaussian_blur2d

        reach = min(int(3 * self.options.blur) + 1, min(images.shape[-2:]) - 1)  # a reflected border has no more
        sigma = (self.options.blur * self.drawn[7].abs()).clamp(min=1e-3).to(images.device)
        return gaussian_blur2d(images, 2 * reach + 1, sigma[:, None].expand(-1, 2))

    def _noise(self, images: Tensor) -> Tensor:
        if not self.options.noise:
            return images
        white = np.stack([g.standard_normal(images.shape[1:], np.float32) for g in self.generators])
        amount = (self.options.noise * self.drawn[8].abs()).view(-1, 1, 1, 1)
        return (images + (amount * torch.from_numpy(white)).to(images.device)).clamp(0, 255)
