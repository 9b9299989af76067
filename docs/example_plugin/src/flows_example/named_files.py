"""Images whose names say what they are: ``ok_1.png`` is good, ``ng_1.png`` is defective."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.finding import image_files
from anomalib_flows.core.types import ANOMALOUS, Sample
from anomalib_flows.data.datasets.base import Dataset


@dataclass(kw_only=True)
class NamedFiles(Dataset):
    """Read one folder of images named ``ok_*`` and ``ng_*``.

    Every fifth good image is kept for the test.

    Args:
        root: The folder.
    """

    root: Path

    @property
    def subset(self) -> str:
        """Name of the folder."""
        return self.root.absolute().name

    def samples(self) -> list[Sample]:
        """List the images, sorted by path."""
        images = image_files(self.root)
        good = [path for path in images if path.name.startswith("ok_")]
        if not good:
            raise InputError(f"`root` {self.root} has no images named ok_*: give the folder that has.")
        tested = set(good[::5])
        return [
            Sample(path, "test", ANOMALOUS, "defect")
            if path.name.startswith("ng_")
            else Sample(path, "test" if path in tested else "train")
            for path in images
            if path.name.startswith(("ok_", "ng_"))
        ]
