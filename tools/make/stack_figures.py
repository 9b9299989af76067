"""Stack figures of a run in one picture, such as the README's.

python tools/make/stack_figures.py docs/images/synthetic.jpg RUN/images/snag/001.jpg RUN/images/good/001.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

WIDTH, SPACE = 900, 8
"""Width of the picture, and space between figures, in pixels."""


def stack(output: Path, files: list[Path]) -> None:
    """Write the figures below each other."""
    figures = [Image.open(file) for file in files]
    scaled = [figure.resize((WIDTH, figure.height * WIDTH // figure.width)) for figure in figures]
    height = sum(figure.height + SPACE for figure in scaled) - SPACE
    picture, top = Image.new("RGB", (WIDTH, height), "white"), 0
    for figure in scaled:
        picture.paste(figure, (0, top))
        top += figure.height + SPACE
    picture.save(output, quality=85)


if __name__ == "__main__":
    stack(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
