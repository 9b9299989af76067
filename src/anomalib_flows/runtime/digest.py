"""A digest of an exported model within its .xml file, so that damage of either of its files is found."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import openvino as ov

from anomalib_flows.core.errors import InputError
from anomalib_flows.runtime.model_card import SECTION

EMPTY = "0" * 64
"""Stands for the digest while the digest is computed."""
DIGEST = re.compile(rb'(<digest value=")([^"]*)(")')


def save_sealed(model: ov.Model, file: Path) -> None:
    """Save a model as .xml and .bin files, with a digest of both in its ``rt_info``."""
    model.set_rt_info(EMPTY, [SECTION, "digest"])
    ov.save_model(model, file, compress_to_fp16=False)
    digest = digest_of(file).encode()
    file.write_bytes(DIGEST.sub(rb"\g<1>" + digest + rb"\g<3>", file.read_bytes(), count=1))


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a model's .xml file, its digest as zeros, followed by its .bin file."""
    found = hashlib.sha256(DIGEST.sub(rb"\g<1>" + EMPTY.encode() + rb"\g<3>", file.read_bytes(), count=1))
    with file.with_suffix(".bin").open("rb") as weights:
        while part := weights.read(2**20):
            found.update(part)
    return found.hexdigest()


def identity(file: Path) -> str:
    """Return the digest of a model that was read, and so compared with the one that it stores, if it stores one."""
    stored = DIGEST.search(file.read_bytes())
    return stored[2].decode() if stored else digest_of(file)


def require_intact(file: Path) -> None:
    """Raise an InputError if a model has a digest, and its files differ from it.

    Models of other programs and of earlier versions have none.
    """
    stored = DIGEST.search(file.read_bytes())
    if stored and stored[2] != digest_of(file).encode():
        raise InputError(
            f"{file} or {file.with_suffix('.bin').name} is damaged, or they are not of one export: copy both again, or "
            "export the model again."
        )
