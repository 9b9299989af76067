"""Damage of an exported model's files is found before they are used."""

import random
from contextlib import suppress
from pathlib import Path

import openvino as ov
import pytest

from anomalib_flows import InputError
from anomalib_flows.runtime import ExportedModel
from anomalib_flows.runtime.digest import digest_of, require_intact, save_sealed
from tiny_export import CARD, build


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    save_sealed(build(CARD), tmp_path / "model.xml")
    return tmp_path / "model.xml"


def test_an_intact_model_is_read(sealed: Path) -> None:
    require_intact(sealed)
    assert ExportedModel(sealed).card == CARD
    assert digest_of(sealed) in sealed.read_text()


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_no_changed_bit_goes_unseen(sealed: Path, suffix: str) -> None:
    file, chance = sealed.with_suffix(suffix), random.Random(0)  # noqa: S311
    content = file.read_bytes()
    for _ in range(200):
        damaged = bytearray(content)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged)
        # A model without a digest is not compared.
        with suppress(InputError) if b"<digest value=" not in damaged else pytest.raises(InputError, match="model[.]"):
            ExportedModel(sealed)
    file.write_bytes(content)
    require_intact(sealed)


def test_files_of_two_exports_are_refused(sealed: Path) -> None:
    ov.save_model(build(CARD), sealed.with_name("other.xml"), compress_to_fp16=False)
    weights = sealed.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(InputError, match="not of one export"):
        ExportedModel(sealed)
