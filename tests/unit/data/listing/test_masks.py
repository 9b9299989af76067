import warnings

import pytest

from anomalib_flows.data.listing import pair_masks


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_masks_are_paired_by_name(save, tmp_path):
    images = [save(f"x/{name}") for name in ("cut/1.bmp", "cut/1.png", "cut/2.PNG", "dent/1.png", "dent/1.5.png")]
    for name in (
        "cut/1_mask.bmp",
        "cut/1_mask.png",
        "cut/2.tif",
        "dent/1_MASK.PNG",
        "dent/1.5_mask.png",
        "cut/9.png",
    ):
        save(f"masks/{name}")
    pairs = pair_masks(images, tmp_path / "x", tmp_path / "masks")
    assert [pairs[i].relative_to(tmp_path / "masks").as_posix() for i in images] == [
        "cut/1_mask.bmp",
        "cut/1_mask.png",
        "cut/2.tif",
        "dent/1_MASK.PNG",
        "dent/1.5_mask.png",
    ]


def test_a_folder_is_a_mask_only_if_it_mirrors_no_images(save, tmp_path):
    images = [save(f"images/{name}.png") for name in ("1", "cut", "cut/1")]
    for name in ("1/0", "1/1", "cut/1", "cut/9/0"):
        save(f"masks/{name}.png")
    with pytest.warns(UserWarning, match="1 of 3"):
        found = pair_masks(images, tmp_path / "images", tmp_path / "masks")
    assert found == {images[0]: tmp_path / "masks/1", images[2]: tmp_path / "masks/cut/1.png"}


def test_images_without_mask_give_one_warning(save, tmp_path):
    images = [save(f"x/{i}.png") for i in range(3)]
    save("masks/1.png")
    with pytest.warns(UserWarning, match=r"2 of 3 defective images lack a mask in .*0\.png") as caught:
        pairs = pair_masks(images, tmp_path / "x", tmp_path / "masks")
    assert len(caught) == 1
    assert list(pairs) == [images[1]]
