from pathlib import Path

from flows_example.gaussian import Gaussian, Standardise
from flows_example.named_files import NamedFiles
from flows_example.two_scales import Fusion, TwoScales
from PIL import Image

from anomalib_flows.testing import check_bijection, check_dataset, check_detector


def test_flow() -> None:
    check_bijection(Standardise((3, 2, 2)), (3, 2, 2))


def test_model() -> None:
    check_detector(lambda size: Gaussian(size, backbone="test_resnet", weights="random"))


def test_fusion_of_two_maps() -> None:
    check_bijection(Fusion(2, 3), [(2, 4, 4), (3, 2, 2)])


def test_model_of_two_scales() -> None:
    check_detector(lambda size: TwoScales(size, backbone="test_resnet", weights="random"))


def test_dataset(tmp_path: Path) -> None:
    for name in ("ok_1", "ok_2", "ok_10", "ng_1"):
        Image.new("RGB", (8, 6)).save(tmp_path / f"{name}.png")
    check_dataset(NamedFiles(root=tmp_path))
