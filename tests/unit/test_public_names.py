"""The names that ``anomalib_flows`` offers."""

import subprocess
import sys

import pytest

import anomalib_flows


@pytest.mark.parametrize("name", anomalib_flows.__all__)
def test_public_names_can_be_imported(name: str) -> None:
    assert getattr(anomalib_flows, name) is getattr(anomalib_flows, name)


def test_public_names_stand_for_one_thing_each() -> None:
    values = [getattr(anomalib_flows, name) for name in anomalib_flows.__all__]
    assert len(set(values)) == len(values)


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, anomalib_flows; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no 'fastflow'; it has .*FastFlow"):
        _ = anomalib_flows.fastflow
