"""Read a file of ``torch.save`` without running anything that is in it.

A pickle is a program: it can import any name and call anything. Here it can do neither. Each name stands for a class
of ours that does nothing, and the file can only call, fill or change objects of these classes. So checkpoints of
Lightning can be read, whose settings hold objects for which torch's ``weights_only`` refuses the whole file: these
objects become empty, and the rest is kept.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anomalib_flows.core.errors import InputError, first_line

STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
}


class Inert(dict[Any, Any]):
    """Stand for any class, object or function: accept every call and change, keep items, do nothing.

    The methods that unpickling looks for take no ``self``, so that nothing happens if a file calls them on the class.
    """

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        """Accept any arguments."""
        return super().__new__(cls)

    def __init__(*_: Any, **__: Any) -> None:
        """Accept any arguments."""

    def __call__(*_: Any, **__: Any) -> Inert:
        """Return another object that does nothing."""
        return Inert()

    def __hash__(self) -> int:  # type: ignore[override]  # dictionaries have none
        """Return the identity, so that it can be a key."""
        return id(self)

    def append(*_: Any) -> None:
        """Accept any item or state."""

    extend = add = __setstate__ = append


class Stored:
    """A tensor, as the arguments in the file to rebuild it."""

    arguments: tuple[Any, ...] = ()
    __setstate__ = Inert.append

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def read(self) -> Tensor:
        """Read the numbers; raise an error of any kind if the arguments are invalid."""
        storage, offset, size, stride, *_ = self.arguments
        if 0 in size:
            return torch.empty(size, dtype=storage.dtype)
        flat = torch.frombuffer(bytearray(storage.checkpoint.record(f"data/{storage.key}")), dtype=storage.dtype)
        if math.prod(size) > len(flat):  # strides of 0 could make it larger than any memory
            raise ValueError("a tensor is larger than its numbers")
        return flat.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)


class Storage(NamedTuple):
    """Place of a tensor's numbers."""

    checkpoint: Checkpoint
    key: str
    dtype: torch.dtype


class Parameter:
    """Stand for the function that makes a parameter of a tensor: return the tensor."""

    __setstate__ = Inert.append

    def __new__(cls, tensor: Any = None, *_: Any) -> Any:
        """Return the tensor."""
        return tensor


class Attribute:
    """Stand for ``getattr``, by which pickles name classes within classes: return a class that does nothing."""

    __setstate__ = Inert.append

    def __new__(cls, *_: Any) -> Any:
        """Return the class."""
        return Inert


STAND_INS: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): Stored,
    ("torch._utils", "_rebuild_parameter"): Parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): Parameter,
    ("__builtin__", "getattr"): Attribute,
    ("builtins", "getattr"): Attribute,
    **{("torch", name): dtype for name, dtype in STORAGES.items()},
}
"""Stand-ins by name; all other names stand for :class:`Inert`."""


class Unpickler(pickle.Unpickler):
    """Rebuild pickled objects from stand-ins."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(io.BytesIO(checkpoint.record("data.pkl")), encoding="utf-8")
        self.checkpoint = checkpoint

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a name; nothing is imported."""
        return STAND_INS.get((module, name), Inert)

    def persistent_load(self, pid: Any) -> Any:
        """Return the place of a tensor's numbers, or an inert object for types that no model needs."""
        _, dtype, key, *_ = pid
        return Storage(self.checkpoint, key, dtype) if isinstance(dtype, torch.dtype) else Inert()


class Checkpoint:
    """A file of ``torch.save`` since torch 1.6, a zip of ``NAME/data.pkl`` and of the numbers of all tensors.

    Its ``content`` is a dictionary with :class:`Stored` for tensors.
    """

    def __init__(self, file: Path, archive: zipfile.ZipFile) -> None:
        self.file, self.archive = file, archive
        names = [n for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(names) != 1:
            raise self.error("it holds no 'data.pkl'")
        self.folder = names[0].removesuffix("data.pkl")
        try:
            self.content: Any = Unpickler(self).load()
        except Exception as error:  # a damaged pickle raises any kind
            raise self.error(f"{type(error).__name__}: {first_line(error)}") from error
        if not isinstance(self.content, dict):
            raise self.error("its content is not a dictionary")

    def record(self, name: str) -> bytes:
        """Read a record; records are not compressed, so that none is larger than the file."""
        info = self.archive.getinfo(self.folder + name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise zipfile.BadZipFile(f"{name} is compressed")
        return self.archive.read(info)

    def tensors(self, state: Any) -> dict[str, Tensor]:
        """Read a state dict."""
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise self.error("its weights are not a dictionary of tensors")
        return {key: self.tensor(key, value) for key, value in state.items()}

    def tensor(self, key: str, value: Any) -> Tensor:
        """Read a tensor; ``key`` is for messages."""
        if not isinstance(value, Stored):
            raise self.error(f"{key} is not a tensor")
        try:
            tensor = value.read()
        except Exception as error:  # of any kind, since the file gives the arguments
            raise self.error(f"{key}: {first_line(error)}") from error
        if not tensor.isfinite().all():
            raise InputError(f"{self.file} holds values in {key} that are not finite: import an earlier checkpoint.")
        return tensor

    def error(self, reason: str) -> InputError:
        """Return the error for a file that cannot be read."""
        return InputError(
            f"{self.file} cannot be read as a checkpoint ({reason}): it is damaged, or not a file that torch.save of "
            "torch 1.6 or later writes."
        )


@contextmanager
def open_checkpoint(file: Path) -> Iterator[Checkpoint]:
    """Open a checkpoint; tensors can be read while it is open."""
    if not file.is_file():
        raise InputError(f"There is no file {file}: name the checkpoint to import.")
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(
            f"{file} is not a checkpoint, or was written by torch before 1.6: if torch can load it, save it again."
        ) from error
    with archive:
        yield Checkpoint(file, archive)
