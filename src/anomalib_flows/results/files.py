"""Results on disk: figures, the pictures that ``predict`` makes, and tables."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import FileIO, StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from anomalib_flows.core.parallel import default_threads
from anomalib_flows.core.files import atomic
from anomalib_flows.results.figure import figure
from anomalib_flows.results.heatmap import Picture, as_image, heatmap, mask_image, overlay
from anomalib_flows.results.result import WORDS, Result

CSV_COLUMNS = ("path", "score", "p_value", "label")

Row = tuple[str | Path, float, float, int]
"""An image's path, score, p-value and label (0 or 1)."""


def write_figures(results: Sequence[Result], folder: Path, root: Path) -> list[Path]:
    """Write a figure (JPEG) of each result; sub-folders below ``root`` are kept.

    Args:
        results: What to show.
        folder: Where the figures go.
        root: The folder that the images lie in, as in ROOT/test/DEFECT/NAME.

    Returns:
        The files written, in the order of the results.

    Raises:
        OSError: If a figure cannot be written, or an image not be read.
    """
    names = [relative(result.path, root) for result in results]
    files = [folder / name for name in unique_names(names, ".jpg")]

    def write(result: Result, name: Path, file: Path) -> None:
        save_image(figure(result, name.as_posix()), file)

    with ThreadPoolExecutor(default_threads()) as pool:
        written = pool.map(write, results, names, files)
        for _ in tqdm(written, desc="Figures", total=len(files), unit="figure", disable=None):
            pass
    return files


def write_prediction_images(
    folder: Path, name: Path, picture: Picture, map01: NDArray[np.floating], mask: NDArray[np.bool_]
) -> None:
    """Write FOLDER/heatmap/NAME, FOLDER/overlay/NAME and FOLDER/mask/NAME at the size of the image.

    Args:
        folder: Where the three folders go.
        name: A relative path with the suffix ``.png``, such as :func:`unique_names` gives.
        picture: The image.
        map01: Anomaly map of shape (H, W) in [0, 1], 0.5 being the decision threshold.
        mask: True where the detector sees a defect, of shape (H, W).

    Raises:
        OSError: If a file cannot be written.
    """
    image = as_image(picture)
    size = (image.height, image.width)
    save_image(heatmap(map01, size), folder / "heatmap" / name)
    save_image(overlay(image, map01, mask), folder / "overlay" / name)
    save_image(mask_image(mask, size), folder / "mask" / name)


def write_csv(rows: Iterable[Row], file: Path) -> None:
    """Write a table of path, score, p-value and label; labels are written as words.

    Args:
        rows: For each image its path, score, p-value and label (0 or 1).
        file: The table's name.

    Raises:
        OSError: If it cannot be written.
    """
    with csv_table(file) as write:
        for row in rows:
            write(row)


@contextmanager
def csv_table(file: Path) -> Iterator[Callable[[Row], None]]:
    """Write a table row by row; what is yielded writes one, to a temporary name until the block ends.

    A row is in the file at once, and whole: where the disk is full, those before it stay.

    Lines end in CR LF as RFC 4180 has it, since Python quotes both characters in a name only then.

    Args:
        file: The table's name.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic(file) as temporary, temporary.open("wb", buffering=0) as stream:
        write_whole(stream, csv_line(CSV_COLUMNS))

        def write(row: Row) -> None:
            path, score, p_value, label = row
            write_whole(stream, csv_line((path, short(score), short(p_value), WORDS[label])))

        yield write


def csv_line(values: Iterable[object]) -> bytes:
    """Write values as a line of CSV."""
    line = StringIO(newline="")
    csv.writer(line).writerow(values)
    # File names need not be valid UTF-8: surrogateescape writes the bytes that the file system gave.
    return line.getvalue().encode(errors="surrogateescape")


def write_whole(stream: FileIO, line: bytes) -> None:
    """Append a line, or nothing of it where that fails."""
    end = stream.tell()
    try:
        while line:
            line = line[stream.write(line) :]
    except OSError:
        stream.truncate(end)
        raise


def short(value: float) -> str:
    """Write a number of single precision with as few digits as give it back.

    Example:
        >>> short(0.4000000059604645)
        '0.4'
    """
    return str(np.float32(value))


def save_image(image: Image.Image, file: Path) -> None:
    """Write an image, quickly rather than as small as can be; the suffix chooses the format.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic(file) as temporary:
        # PNG ignores the last two options and JPEG the first. Without subsampling=0 thin red lines blur.
        image.save(temporary, compress_level=1, quality=90, subsampling=0)


def relative(path: Path, root: Path) -> Path:
    """Path below ``root``; of a file that lies elsewhere the whole path, without its drive or leading slash.

    Example:
        >>> relative(Path("/data/tiles/test/crack/1.png"), Path("/data/tiles")).as_posix()
        'test/crack/1.png'
    """
    # Not resolve: a folder of links to images keeps its own names.
    path, root = (Path(os.path.normpath(p.absolute())) for p in (path, root))
    return path.relative_to(root if path.is_relative_to(root) else path.anchor)


def unique_names(paths: Sequence[Path], suffix: str) -> list[Path]:
    """Replace each file's suffix, or append the new one throughout a folder where two names would become one.

    Args:
        paths: Different relative paths.
        suffix: The new suffix with its dot.

    Example:
        >>> paths = [Path("x/a.jpg"), Path("y/a.jpg"), Path("y/a.png")]
        >>> [name.as_posix() for name in unique_names(paths, ".png")]
        ['x/a.png', 'y/a.jpg.png', 'y/a.png.png']
    """
    replaced = [path.with_suffix(suffix) for path in paths]
    # Windows and macOS take A.png and a.png for one file.
    counts = Counter(str(name).casefold() for name in replaced)
    ambiguous = {str(name.parent).casefold() for name in replaced if counts[str(name).casefold()] > 1}
    appended = [path.with_name(path.name + suffix) for path in paths]
    return [a if str(a.parent).casefold() in ambiguous else r for a, r in zip(appended, replaced, strict=True)]
