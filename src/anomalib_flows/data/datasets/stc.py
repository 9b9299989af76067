"""ShanghaiTech Campus: frames of surveillance videos; each scene is a category."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.files import map_in_threads
from anomalib_flows.core.finding import image_files, list_images, natural_key
from anomalib_flows.core.limits import require_size
from anomalib_flows.core.registry import unknown
from anomalib_flows.core.types import ANOMALOUS, Sample
from anomalib_flows.data.datasets.base import Archive, Card, CategoryDataset

ANOMALY = "anomaly"
QUALITY = 80
"""Quality of the JPEG files of frames, as in cflow-ad's custom_datasets/loader.py."""
VIDEOS, TRAINED = "training/videos", "training/frames"
TESTED, LABELS, PIXELS = "testing/frames", "testing/test_frame_mask", "testing/test_pixel_mask"
MASKS = "testing/masks"


@dataclass(kw_only=True)
class STC(CategoryDataset):
    """Read one scene of ShanghaiTech Campus; each frame is an image by itself.

    The frames of the training videos, ``ROOT/training/frames/01_001/00000000.jpg``, are made by :meth:`arrange`, as are
    the masks of the test frames that are labelled anomalous, ``ROOT/testing/masks/01_0014/045.png`` for
    ``ROOT/testing/frames/01_0014/045.jpg``. A frame without a mask is normal. The official layout and the frames are
    those that gudovskiy/cflow-ad reads. As there, all frames are trained on by default. Calibration and validation
    hold out whole videos: frames next to training frames would make false alarms look rarer than they are.

    A category is a scene, ``01`` to ``12``; scene ``13`` has training videos only.

    Args:
        every: Train on every n-th frame of a video; adjacent frames differ little. All test frames are used.
    """

    card = Card(
        title="ShanghaiTech Campus",
        homepage="https://svip-lab.github.io/dataset/campus_dataset.html",
        licence="see the homepage (anomalib's documentation says BSD 2-Clause)",
        citation=(
            "Luo, Liu, Gao, A Revisit of Sparse Coding Based Anomaly Detection in Stacked RNN Framework, ICCV 2017; "
            "Liu, Luo, Lian, Gao, Future Frame Prediction for Anomaly Detection - A New Baseline, CVPR 2018"
        ),
        archives=(Archive("shanghaitech.tar.gz"),),
    )
    arrange_needs: ClassVar = {"av": "av"}

    every: int = 1

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        require_size("every", self.every, 1)

    def trained(self) -> list[str]:
        """List the scenes that have frames to train on."""
        return scenes_of(videos(self.folder / TRAINED))

    def listed(self) -> list[str]:
        """List the scenes that have frames to train on and to test on."""
        tested = scenes_of(videos(self.folder / TESTED))
        return [scene for scene in self.trained() if scene in tested]

    def samples_of(self, category: str) -> list[Sample]:
        """List the frames of a scene, with the masks of the anomalous ones."""
        folders, scenes = videos(self.folder / TRAINED), self.trained()
        if not scenes:
            raise InputError(f"{self.folder / TRAINED} has no frames: prepare the dataset stc first.")
        if category not in scenes:
            raise InputError(f"In `root` {self.folder}: {unknown('scene', category, scenes)}")
        trained = of_scene(category, folders)
        samples = [Sample(frame, "train") for video in trained for frame in list_images(video)[:: self.every]]
        tested = of_scene(category, videos(self.folder / TESTED))
        samples += [sample for video in tested for sample in list_test_frames(video)]
        return sorted(samples, key=lambda sample: natural_key(sample.path))

    def together(self, samples: list[Sample]) -> dict[Path, Path]:
        """Return the video of each training frame, if there are several videos."""
        video_of = {sample.path: sample.path.parent for sample in samples if sample.split == "train"}
        return video_of if len(set(video_of.values())) > 1 else {}

    @classmethod
    def arrange(cls, folder: Path) -> None:
        """Convert the training videos to frames and the arrays to masks, and remove videos and arrays."""
        for part in (VIDEOS, TESTED, LABELS, PIXELS):
            if not (folder / part).is_dir():
                raise InputError(f"The archive lacks {part}: is it {cls.card.archives[0].file} of {cls.card.homepage}?")
        map_in_threads(write_masks, videos(folder / TESTED), "writing masks")
        map_in_threads(write_frames, sorted(folder.glob(f"{VIDEOS}/*.avi")), "writing frames")
        for part in (VIDEOS, LABELS, PIXELS):
            shutil.rmtree(folder / part)


def scenes_of(folders: list[Path]) -> list[str]:
    """Return the scenes of videos."""
    return sorted({folder.name.partition("_")[0] for folder in folders})


def of_scene(scene: str, folders: list[Path]) -> list[Path]:
    """Return the videos of a scene."""
    return [folder for folder in folders if folder.name.startswith(f"{scene}_")]


def videos(folder: Path) -> list[Path]:
    """Return the folders of frames, one for each video."""
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def list_test_frames(folder: Path) -> list[Sample]:
    """List the frames of a test video, the anomalous ones with their masks."""
    masks = {mask.stem: mask for mask in list_images(folder.parents[2] / MASKS / folder.name)}
    return [
        Sample(frame, "test", ANOMALOUS, ANOMALY, masks[frame.stem]) if frame.stem in masks else Sample(frame, "test")
        for frame in list_images(folder)
    ]


def write_masks(video: Path) -> None:
    """Write the mask of each frame of a test video that is labelled anomalous."""
    root, frames = video.parents[2], image_files(video)
    labels, masks = (read_array(root / part / f"{video.name}.npy") for part in (LABELS, PIXELS))
    if labels.shape != (len(frames),) or masks.ndim != 3 or len(masks) != len(frames):
        raise InputError(
            f"{video.name} has {len(frames)} frames, labels of shape {labels.shape} and masks of shape {masks.shape}: "
            "the archive is damaged or another version; get it again."
        )
    folder = root / MASKS / video.name
    folder.mkdir(parents=True)
    for i in np.flatnonzero(labels):
        Image.fromarray((masks[i] != 0).astype(np.uint8) * 255).save(folder / f"{frames[i].stem}.png")


def read_array(file: Path) -> npt.NDArray[np.generic]:
    """Map an array into memory; one of Python objects is refused, since reading it could run code."""
    name = f"{file.parent.name}/{file.name}"
    try:
        array: npt.NDArray[np.generic] = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"The archive lacks {name}: get it again.") from error
    except (ValueError, EOFError, OSError) as error:
        raise InputError(
            f"{name} in the archive is not an array of numbers or is damaged: get the archive again."
        ) from error
    return array


def write_frames(video: Path) -> None:
    """Write all frames of a training video."""
    import av  # an optional extra

    folder = video.parents[1] / "frames" / video.stem
    folder.mkdir(parents=True)
    try:
        with av.open(str(video)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                Image.fromarray(frame.to_ndarray(format="rgb24")).save(folder / f"{number:08}.jpg", quality=QUALITY)
    except (av.FFmpegError, IndexError) as error:  # IndexError: there is only sound
        raise InputError(f"The video {video.name} cannot be decoded ({error}): get the archive again.") from error
