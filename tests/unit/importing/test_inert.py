"""Reading a checkpoint runs nothing that is in it."""

from __future__ import annotations

import argparse
import builtins
import collections
import enum
import importlib
import os
import pickle
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from anomalib_flows.core.errors import InputError
from anomalib_flows.importing import inert


class Colour(enum.Enum):
    RED = 1


class Outer:
    class Inner:
        pass


class Custom:
    def __init__(self) -> None:
        self.tensor = torch.ones(2)
        self.me = self


class Calls:
    """Pickle a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call

    def __call__(self) -> None:
        """Let pickle take it for a function."""


def write(file: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED, **records: bytes) -> Path:
    """Write an archive as torch does, with any pickle."""
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, record in records.items():
            archive.writestr(f"archive/data/{key.lstrip('_')}", record)
    return file


def test_tensors_of_every_kind_come_back(tmp_path: Path) -> None:
    dtypes = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)
    state: dict[str, Any] = {str(dtype): torch.arange(6).to(dtype).view(2, 3) for dtype in dtypes}
    base = torch.arange(24.0).view(2, 3, 4)
    state |= {
        "view": base[:, 1],
        "transposed": base.transpose(0, 2),
        "expanded": torch.ones(1, 4).expand(1, 4),
        "parameter": nn.Parameter(torch.rand(3)),
        "fixed": nn.Parameter(torch.rand(3), requires_grad=False),
        "scalar": torch.tensor(3),
        "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    torch.save(state, tmp_path / "file.pt")
    with inert.open_checkpoint(tmp_path / "file.pt") as opened:
        read = opened.tensors(opened.content)
    assert read.keys() == state.keys()
    for key, tensor in state.items():
        assert read[key].dtype == tensor.dtype
        assert torch.equal(read[key], tensor.detach())
        assert read[key].is_contiguous()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_objects_are_empty_and_what_lies_beside_them_is_read(tmp_path: Path, protocol: int) -> None:
    content = collections.OrderedDict(
        weights=nn.Linear(2, 3).state_dict(),
        module=nn.Sequential(nn.Linear(2, 2), nn.ReLU()),
        namespace=argparse.Namespace(a=1),
        default=collections.defaultdict(list, a=[1]),
        colour=Colour.RED,
        inner=Outer.Inner(),
        classes=[nn.Linear, Outer.Inner, torch.float32, torch.Size([2]), torch.device("cpu")],
        custom=Custom(),
        keys={Colour.RED: 1, Path("x"): 2, 3: {4, 5}, frozenset({6}): (7,)},
        bytes=b"abc",
        array=torch.zeros(2, dtype=torch.uint8),
        complex=1 + 2j,
        deque=collections.deque([1, 2]),
        simple=types.SimpleNamespace(a=1),
        text="hello",
        numbers=(1, 2.5, None, True),
    )
    torch.save(content, tmp_path / "file.pt", pickle_protocol=protocol)
    with inert.open_checkpoint(tmp_path / "file.pt") as opened:
        read = opened.content
        weights = opened.tensors(read["weights"])
    assert list(read) == list(content)
    assert all(torch.equal(tensor, weights[key]) for key, tensor in content["weights"].items())
    assert (read["text"], read["numbers"], read["default"]) == ("hello", (1, 2.5, None, True), {"a": [1]})
    for key in ("module", "namespace", "colour", "inner", "custom"):
        assert type(read[key]) is inert.Inert or read[key] is inert.Inert


HOSTILE = [
    (os.system, "touch {}"),
    (os.mkdir, "{}"),
    (subprocess.run, ["touch", "{}"]),
    (subprocess.Popen, ["touch", "{}"]),
    (builtins.eval, "__import__('os').system('touch {}')"),
    (builtins.exec, "open('{}', 'w')"),
    (builtins.open, "{}", "w"),
    (Path.touch, Path("{}")),
    (importlib.import_module, "hostile"),
    (torch.hub.load_state_dict_from_url, "file://{}"),
    (torch.save, 3, "{}"),
    (torch.load, "{}"),
    (torch.jit.load, "{}"),
    (getattr, os, "system"),
    (map, os.system, ["touch {}"]),
]


def filled(value: Any, text: str) -> Any:
    if isinstance(value, str):
        return value.replace("{}", text)
    if isinstance(value, Path):
        return Path(text)
    return [filled(item, text) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda a: getattr(a[0], "__name__", "attack"))
@pytest.mark.parametrize("where", ["value", "key", "within a tensor", "state", "nested"])
def test_calls_are_not_made(tmp_path: Path, monkeypatch, attack: tuple[Any, ...], where: str) -> None:
    (tmp_path / "hostile.py").write_text("from pathlib import Path\nPath(__file__).with_name('made').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    made, file = tmp_path / "made", tmp_path / "file.pt"
    function, *arguments = attack
    if arguments[0] is os:  # modules cannot be pickled, but an attacker writes what he likes
        arguments = [Calls(importlib.import_module, "os"), arguments[1]]
    call = Calls(function, *(filled(a, str(made)) for a in arguments))
    if where == "nested":
        call = Calls(Calls(Calls(getattr, call, "__call__")), call)
    content: Any = {
        "value": {"weights": {"a": call}},
        "key": {call: 1},
        "within a tensor": {"a": Calls(torch._utils._rebuild_tensor_v2, call, call, call, call, call, call)},
        "state": {"a": collections.OrderedDict(x=call)},
        "nested": {"a": call},
    }[where]
    write(file, pickle.dumps(content, 2))
    before = set(sys.modules)
    try:
        with inert.open_checkpoint(file) as opened:
            opened.tensors(opened.content)
    except InputError as error:
        assert str(file) in str(error)  # noqa: PT017 - it may be refused, but not run
    assert not made.exists()
    assert "hostile" not in set(sys.modules) - before


GLOBAL = b"c%s\n%s\n"
INERT, ORDERED = b"canything\nat_all\n", b"ccollections\nOrderedDict\n"
TENSOR, DTYPE = b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"
PARAMETER, GETATTR = b"ctorch._utils\n_rebuild_parameter\n", b"c__builtin__\ngetattr\n"
STATE = b"(N}X\x09\x00\x00\x00__class__K\x01X\x06\x00\x00\x00appendK\x01st"
"""A state (None, {'__class__': 1, 'append': 1}), which a pickle sets as attributes."""


@pytest.mark.parametrize("target", [INERT, ORDERED, TENSOR, DTYPE, PARAMETER, GETATTR])
@pytest.mark.parametrize(
    "operations",
    [
        STATE + b"b",  # set attributes of the class
        b")R" + STATE + b"b",  # of what it returns
        b")\x81" + STATE + b"b",  # of an object
        b")}\x92" + STATE + b"b",
        b"K\x01K\x02s",  # set an item of the class
        b"K\x01a",  # append to it
        b"(K\x01K\x02e",
        b"(K\x01K\x02\x90",  # add to it as to a set
        b")R)R)R",  # call what it returns
        b")\x81)R",
        b")R(K\x01e",
        b"Q",  # take it for a persistent id
    ],
    ids=range(12),
)
def test_nothing_is_done_to_the_stand_ins_themselves(tmp_path: Path, target: bytes, operations: bytes) -> None:
    classes = [inert.Inert, inert.Stored, inert.Storage, inert.Parameter, inert.Attribute]
    before = [dict(vars(c)) for c in classes], dict(inert.STAND_INS)
    file = write(tmp_path / "file.pt", b"\x80\x04}X\x01\x00\x00\x00a" + target + operations + b"s.")
    try:
        with inert.open_checkpoint(file) as opened:
            opened.tensors(opened.content)
    except InputError as error:
        assert str(file) in str(error)  # noqa: PT017 - it may be refused
    assert ([dict(vars(c)) for c in classes], dict(inert.STAND_INS)) == before


FLOATS = b"\0" * 40


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ((0, (11,), (1,)), "0"),
        ((1, (10,), (1,)), "0"),
        ((-1, (2,), (1,)), "0"),
        ((0, (2,), (-1,)), "0"),
        ((0, (-2,), (1,)), "0"),
        ((0, (2**62,), (0,)), "0"),
        ((0, (2**40, 2**40), (0, 0)), "0"),
        ((2**70, (2,), (1,)), "0"),
        ((0, "ab", (1,)), "0"),
        ((0, (2,), None), "0"),
        ((0, (2,), (1, 1)), "0"),
        ((0, (2.0,), (1,)), "0"),
        ((0, (2,), (1,)), "1"),
        ((0, (2,), (1,)), "../data.pkl"),
        ((0, (2,), (1,)), "/etc/passwd"),
    ],
)
def test_tensors_that_their_numbers_do_not_hold_are_refused(tmp_path: Path, arguments: Any, key: str) -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, key, "cpu", 10) if value == "numbers" else None

    with (tmp_path / "pickled").open("wb") as stream:
        Pickler(stream, 2).dump({"w": Calls(torch._utils._rebuild_tensor_v2, "numbers", *arguments, False, None)})
    file = write(tmp_path / "file.pt", (tmp_path / "pickled").read_bytes(), _0=FLOATS)
    with inert.open_checkpoint(file) as opened, pytest.raises(InputError, match="cannot be read"):
        opened.tensors(opened.content)


def assert_refused(file: Path, words: str | None = None) -> None:
    with pytest.raises(InputError, match=words) as raised, inert.open_checkpoint(file) as opened:
        opened.tensors(opened.content)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file.pt"
    torch.save({"w": torch.rand(1000)}, file)
    whole = file.read_bytes()
    for length in (0, 1, 4, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert_refused(file)
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + b"\xff\xff\xff\xff" + whole[middle + 4 :])  # within the numbers
    assert_refused(file, "CRC")


@pytest.mark.parametrize(
    "pickled", [b"", b".", b"N.", b"K\x03.", b"(l.", b"0.", b"\x80\xff.", b"]K\x01", b"I1" * 9, b"Q.", b"}QK\x01s."]
)
def test_pickles_that_are_no_checkpoint_are_refused(tmp_path: Path, pickled: bytes) -> None:
    assert_refused(write(tmp_path / "file.pt", pickled))


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nothing.pt", "There is no file")
    assert_refused(tmp_path, "There is no file")
    file = tmp_path / "file.pt"
    file.write_text("not a checkpoint")
    assert_refused(file, "not a checkpoint")
    torch.save({"w": torch.rand(3)}, file, _use_new_zipfile_serialization=False)
    assert_refused(file, "before 1.6")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/b.txt", "text")
    assert_refused(file, "data.pkl")
    torch.save([torch.rand(3)], file)
    assert_refused(file, "not a dictionary")


def test_packed_archives_are_refused(tmp_path: Path) -> None:
    pickled = pickle.dumps({"w": "a" * 10**6}, 2)
    assert_refused(write(tmp_path / "file.pt", pickled, zipfile.ZIP_DEFLATED), "compressed")
