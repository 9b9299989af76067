from pathlib import Path

import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.data.datasets.base import parse_size
from anomalib_flows.data.datasets.folder import Folder


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (256, (256, 256)),
        ("256", (256, 256)),
        ("256,320", (256, 320)),
        ("256x320", (256, 320)),
        ("[256, 320]", (256, 320)),
        ((256, 320), (256, 320)),
        ([256, 320], (256, 320)),
    ],
)
def test_sizes(value, size):
    assert parse_size(value) == size


@pytest.mark.parametrize("value", [0, -1, "256,0", "0x256", "256,-3", "1,2,3", "", "big", "25.6", (), (1, 2, 3), "3,"])
def test_what_is_no_size(value):
    with pytest.raises(InputError, match=r"--data.image_size .* is not a size: write 256"):
        parse_size(value)


@pytest.mark.parametrize(
    "option",
    [
        {"image_size": "big"},
        {"batch_size": 0},
        {"workers": -1},
        {"calibration_fraction": 0.0},
        {"calibration_fraction": 1.0},
        {"calibration_fraction": float("nan")},
    ],
)
def test_bad_options_are_refused_at_once(option):
    with pytest.raises(InputError, match=f"--data.{next(iter(option))} "):
        Folder(normal=Path("good"), **option)
