"""What fuzzing has found in files of exported models."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_export
from anomalib_flows import InputError
from anomalib_flows.runtime.exported_model import ExportedModel


@pytest.mark.parametrize("letters", [b"\xed\xa0\x80", b"\xff"])
def test_letters_that_are_no_unicode_are_damage(tmp_path: Path, letters: bytes) -> None:
    file = tiny_export.write(tmp_path / "model.xml")
    content = file.read_bytes()
    for old in (b'type="Parameter"', b'element_type="u8"', b'version="opset1"'):
        file.write_bytes(content.replace(old, old[:-2] + letters + old[-2:], 1))
        with pytest.raises(InputError, match="model.xml"):
            ExportedModel(file)
