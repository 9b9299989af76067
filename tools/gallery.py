"""Put one figure of each kind of defect of a run, and one of a good image, into one picture.

python tools/gallery.py RUN docs/images/synthetic.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from anomalib_flows.results.files import save_image
from anomalib_flows.results.sheet import contact_sheet
from anomalib_flows.run.directory import Run


def main(run: str, output: str) -> None:
    kinds = sorted(folder for folder in Run.open(Path(run)).images.iterdir() if folder.is_dir())
    figures = [Image.open(sorted(kind.iterdir())[0]) for kind in kinds]
    save_image(contact_sheet(figures, columns=2, width=1280), Path(output))


if __name__ == "__main__":
    main(*sys.argv[1:])
