"""Predict with an exported model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, tee
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor
from tqdm import tqdm

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import NORMAL, ImageResult, Sample
from anomalib_flows.data.checks.checking import Checker
from anomalib_flows.data.loading.loader import Loader
from anomalib_flows.data.loading.masks import resize_mask
from anomalib_flows.inference.photos import Photo, fitting_batch_size, read_photo
from anomalib_flows.results.sinks import Thresholds
from anomalib_flows.run.options import ImageOptions, LoaderOptions
from anomalib_flows.runtime import ExportedModel, frames


class ExportedPredictor:
    """Predict samples, or the frames of a video, with an exported model (.xml) on a device of OpenVINO."""

    def __init__(self, path: Path, loader: LoaderOptions, device: str) -> None:
        self.loader, self.model = loader, ExportedModel(path, device)
        self.card = self.model.card
        # Of raw scores and normalised maps.
        self.thresholds = Thresholds(self.card.image_threshold, 0.5, self.card.score_typical)

    def predict(self, samples: Sequence[Sample], done: int = 0) -> Iterator[ImageResult]:
        """Yield the result of each image but the first ``done`` ones, in their order; each file is decoded once.

        Files that cannot be read or have a size that the model does not take raise an InputError, or are skipped as
        ``loader.on_error`` says.
        """
        checker = Checker(self.loader.on_error, done)
        ahead, photos = tee(self._photos(samples, checker, done))
        results = self.model.stream(photo.picture for photo in ahead)
        for result, photo in zip(results, photos, strict=True):
            sample = checker.image(photo.sample, photo.pixels, photo.mask)
            mask = photo.mask if sample.mask else None
            yield replace(result, sample=sample, ground_truth=self._ground_truth(sample, mask, result))
        checker.finish()

    def predict_video(self, video: Path, last: str = "") -> Iterator[ImageResult]:
        """Yield the result of each frame, named NAME-000001 and so on, after the one of a name."""
        checker = Checker(self.loader.on_error, bool(last))
        found = frames(video, checker.fault, after=str(Path(last)) if last else "")
        ahead, named = tee(tqdm(found, "Predicting", unit="frame", delay=1, leave=False))
        results = self.model.stream(pixels for _, pixels in ahead)
        for result, (name, pixels) in zip(results, named, strict=True):
            yield replace(result, sample=checker.image(Sample(Path(name), "test"), pixels, None))
        checker.finish()

    def _photos(self, samples: Sequence[Sample], checker: Checker, done: int) -> Iterator[Photo]:
        """Read images of a size that the model takes."""
        batch_size = fitting_batch_size(samples, self.loader.images_per_batch)
        loader = Loader(samples[done:], ImageOptions(), replace(self.loader, batch_size=batch_size, cache="none"))
        with tqdm(total=len(samples), initial=done, desc="Predicting", unit="image", delay=1, leave=False) as bar:
            for found in chain.from_iterable(batch for _, batch in loader.ahead(self._read)):
                if isinstance(found, Photo):
                    yield found
                else:
                    checker.fault(found)
                bar.update()

    def _read(self, sample: Sample) -> Photo | InputError:
        photo = read_photo(sample, self.loader.max_megapixels)
        try:
            if isinstance(photo, Photo):
                self.model.input.require_size(photo.picture.shape[:2], sample.path)
        except InputError as fault:
            return fault
        return photo

    def _ground_truth(self, sample: Sample, mask: Tensor | None, result: ImageResult) -> npt.NDArray[np.bool_] | None:
        """Return the mask in the size of the result's map."""
        size = result.mask.shape
        if mask is None:
            return np.zeros(size, bool) if sample.label == NORMAL else None
        return resize_mask(mask, (size[0], size[1]), (size[0], size[1])).numpy()
