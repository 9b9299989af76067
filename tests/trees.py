"""Small trees of files in the layout of every registered dataset, with what is awkward about the real ones.

A function draws a tree in a folder and returns the options that read it. A dataset that is added takes one function
here; the contract and a training from end to end then run on it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Options = dict[str, object]
SIZE = 24, 20
"""Height and width of the images."""


def draw(root: Path, *names: str) -> None:
    """Draw images of noise, other ones for each name."""
    for name in names:
        noise = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (*SIZE, 3), np.uint8)
        save(root / name, noise)


def draw_in(root: Path, category: str, *names: str) -> None:
    """Draw the images of a category, other ones than those of another category."""
    draw(root, *(f"{category}/{name}" for name in names))


def draw_masks(root: Path, *names: str, value: int = 255) -> None:
    """Draw masks of a square."""
    for name in names:
        mask = np.zeros(SIZE, np.uint8)
        mask[4:12, 6:14] = value
        save(root / name, mask)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def numbered(pattern: str, count: int) -> list[str]:
    return [pattern.format(i) for i in range(count)]


def mvtec(root: Path, category: str = "nut") -> Options:
    """Numbers without leading zeros, suffixes in upper case, an empty mask."""
    draw_in(root, category, *numbered("train/good/{}.PNG", 11), *numbered("test/good/{}.png", 2))
    draw_in(root, category, "test/cut/0.png", "test/cut/1.JPG", "test/big hole/0.png")
    draw_masks(root / category, "ground_truth/cut/0_mask.png", "ground_truth/big hole/0.PNG")
    draw_masks(root / category, "ground_truth/cut/1_mask.png", value=0)
    return {"root": root, "category": category}


def mvtec_with_split_files(root: Path) -> Options:
    """All images are named, those of the test without the kinds' order."""
    options = mvtec(root)
    train = [("good", str(i)) for i in range(11)]
    test = [("big hole", "0"), ("good", "1"), ("cut", "1"), ("good", "0"), ("cut", "0")]
    for split, named in {"train": train, "test": test}.items():
        entries = {str(i): {"name": name, "img_type": kind} for i, (kind, name) in enumerate(named)}
        (root / "nut" / f"nut_{split}.json").write_text(json.dumps(entries))
    return options


def mvtec_ad2(root: Path, category: str = "tin") -> Options:
    """Images of several lights, masks inside the folder of test images, private images without labels."""
    draw_in(
        root, category, *numbered("train/good/{:03}_regular.png", 8), *numbered("validation/good/{:03}_regular.png", 3)
    )
    draw_in(root, category, "test_public/good/000_regular.png", "test_public/good/000_overexposed.png")
    draw_in(root, category, "test_public/bad/000_regular.png", "test_public/bad/000_shift_1.png")
    draw_masks(root / category, "test_public/ground_truth/bad/000_regular_mask.png")
    draw_masks(root / category, "test_public/ground_truth/bad/000_shift_1_mask.png")
    draw_in(root, category, "test_private/000_regular.png", "test_private_mixed/000_mixed.png")
    return {"root": root, "category": category}


def mvtec_loco(root: Path, category: str = "box") -> Options:
    """A folder of masks for each image, with one or several in it, whose values differ."""
    draw_in(root, category, *numbered("train/good/{:03}.png", 8), *numbered("validation/good/{:03}.png", 3))
    draw_in(root, category, "test/good/000.png", "test/logical_anomalies/000.png", "test/structural_anomalies/000.png")
    draw_masks(root / category, "ground_truth/logical_anomalies/000/000.png", value=1)
    draw_masks(root / category, "ground_truth/logical_anomalies/000/001.png", value=254)
    draw_masks(root / category, "ground_truth/structural_anomalies/000/000.png")
    return {"root": root, "category": category}


def btad(root: Path, category: str = "00") -> Options:
    """Images in bmp and png, masks of another format, one of them empty, and masks of good images too."""
    draw_in(root, category, *numbered("train/ok/{:04}.bmp", 6), *numbered("train/ok/{:04}.png", 3))
    draw_in(root, category, "test/ok/0000.bmp", "test/ko/0000.bmp", "test/ko/0001.png", "test/ko/0002.bmp")
    draw_masks(root / category, "ground_truth/ko/0000.png", "ground_truth/ko/0001.bmp")
    draw_masks(root / category, "ground_truth/ko/0002.png", "ground_truth/ok/0000.png", value=0)
    return {"root": root, "category": category}


def visa(root: Path, category: str = "cake") -> Options:
    """Suffixes in upper case, masks whose values are classes of defects, images that the table leaves out."""
    normal, anomaly = (f"{category}/Data/Images/{kind}.JPG" for kind in ("Normal/{:04}", "Anomaly/{:03}"))
    draw(root, *numbered(normal, 11), *numbered(anomaly, 3))
    for i in range(3):
        draw_masks(root, f"{category}/Data/Masks/Anomaly/{i:03}.png", value=i + 1)
    rows = [f"{category},train,normal,{normal.format(i)}," for i in range(8)]
    rows += [f"{category},test,normal,{normal.format(i)}," for i in (9, 8)]
    rows += [f"{category},test,anomaly,{anomaly.format(i)},{category}/Data/Masks/Anomaly/{i:03}.png" for i in range(3)]
    table = root / "split_csv" / "1cls.csv"
    table.parent.mkdir(exist_ok=True)
    before = table.read_text().splitlines() if table.is_file() else ["object,split,label,image,mask"]
    table.write_text("\n".join([*before, *rows, ""]))
    return {"root": root, "category": category}


def cifar10(root: Path) -> Options:
    """One class to train on, and test images of several."""
    draw(root, *(f"train/{kind}/{i:05}.png" for i in range(9) for kind in ("cat", "dog")))
    draw(root, "test/cat/00000.png", "test/dog/00001.png", "test/ship/00002.png")
    return {"root": root, "category": "cat"}


def stc(root: Path) -> Options:
    """Two scenes, of which one is read, and masks of anomalous frames only."""
    draw(root, *(f"training/frames/{video}/{i:08}.jpg" for video in ("01_001", "01_02", "02_001") for i in range(6)))
    draw(root, *(f"testing/frames/{video}/{i:03}.jpg" for video in ("01_0014", "02_0128") for i in range(3)))
    draw_masks(root, "testing/masks/01_0014/001.png", "testing/masks/02_0128/000.png")
    return {"root": root, "category": "01", "every": 2}


def only_good(root: Path) -> Options:
    """Images of one folder and its sub-folder, and no others."""
    draw(root, *numbered("good/{}.png", 5), "good/night/1.png")
    return {"normal": root / "good"}


def good_and_bad(root: Path) -> Options:
    """Masks in a folder that mirrors that of the defective images."""
    draw(root, *numbered("good/{}.jpg", 12), "bad/1.png", "bad/cut/1.TIF")
    draw_masks(root, "masks/1.png", "masks/cut/1_mask.png")
    return {"root": root, "normal": Path("good"), "abnormal": Path("bad"), "masks": Path("masks")}


def good_to_test(root: Path) -> Options:
    """Two folders to train on, one of good images to test on, and no masks."""
    draw(root, *numbered("one/{}.png", 3), *numbered("two/{}.png", 3), "good/1.png", "bad/1.png")
    return {"normal": [root / "one", root / "two"], "normal_test": root / "good", "abnormal": root / "bad"}


def patterns(root: Path) -> Options:
    """Good and defective images side by side, with masks beside them."""
    draw(root, *numbered("photos/a/good_{}.png", 6), *numbered("photos/b/good_{}.png", 6), "photos/b/bad_1.png")
    draw_masks(root, "photos/b/bad_1_gt.bmp")
    return {"normal": root / "photos/*/good_*", "abnormal": root / "photos/*/bad_*", "mask_ending": "_gt"}


def table(root: Path) -> Options:
    """A table of all, as a spreadsheet writes it."""
    draw(root, *numbered("all/{}.png", 8))
    draw_masks(root, "all/mask.png")
    rows = [f"all/{i}.png,good,{split},," for i, split in enumerate(["train"] * 5 + ["test"])]
    rows += ["all/6.png,bad,test,all/mask.png,cut", "all/7.png,bad,test,,dent"]
    (root / "all.csv").write_text("\n".join(["\ufeffpath,label,split,mask,defect", *rows]), encoding="utf-8")
    return {"table": root / "all.csv"}


def fabric(root: Path) -> Options:
    """Drawn by the dataset itself."""
    return {"root": root, "category": "fabric"}


TREES: dict[str, list[Callable[[Path], Options]]] = {
    "btad": [btad],
    "cifar10": [cifar10],
    "folder": [only_good, good_and_bad, good_to_test, patterns, table],
    "mvtec": [mvtec, mvtec_with_split_files],
    "mvtec_ad2": [mvtec_ad2],
    "mvtec_loco": [mvtec_loco],
    "stc": [stc],
    "synthetic": [fabric],
    "visa": [visa],
}
"""For each registered dataset functions that make a small one in a folder, and return the options that read it."""


def several(make: Callable[..., Options], *categories: str, **options: object) -> Callable[[Path], Options]:
    """Make a tree of several categories, which are read as one product."""

    def make_all(root: Path) -> Options:
        made = [make(root, category) for category in categories] if categories else [make(root)]
        return made[0] | ({"category": [*categories]} if categories else {}) | options

    make_all.__name__ = f"several_of_{make.__name__}"
    return make_all


SEVERAL: dict[str, Callable[[Path], Options]] = {
    "btad": several(btad, "00", "07"),
    "cifar10": several(cifar10, category=["cat", "dog"]),
    "mvtec": several(mvtec, "nut", "bolt"),
    "mvtec_ad2": several(mvtec_ad2, "tin", "tube"),
    "mvtec_loco": several(mvtec_loco, "box", "bag"),
    "stc": several(stc, category=["01", "02"]),
    "synthetic": several(fabric, category=["fabric", "board"]),
    "visa": several(visa, "cake", "pie"),
}
"""For each dataset with categories a function that makes two of them."""

CASES = [(name, make) for name, makes in TREES.items() for make in makes]


def case_name(value: object) -> str:
    """Name a case in the output of pytest."""
    return getattr(value, "__name__", str(value))
