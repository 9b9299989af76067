"""A broken plug-in is named in one sentence, never looks like a fault of the user, and harms no other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tiny import SMALL

from anomalib_flows.cli import main
from anomalib_flows.core import registry

pytestmark = pytest.mark.filterwarnings("always")  # the command line prints them

MODULE = """
from dataclasses import dataclass
from pathlib import Path
from anomalib_flows import Dataset, FastFlow
def fail(here):
    if here == {place!r}:
        {fault}
fail("import")
@dataclass(kw_only=True)
class Data(Dataset):
    root: Path = Path()
    def __post_init__(self): fail("construct dataset")
    @property
    def subset(self): return "all"
    def samples(self): fail("samples")
class Model(FastFlow):
    def __init__(self, image_size, **options):
        fail("construct model")
        super().__init__(image_size, **options)
    def encode(self, images):
        fail("encode")
        return super().encode(images)
    def loss(self, batch): fail("loss")
"""
FAULTS = {
    "raise ZeroDivisionError('one\\n  two')": "ZeroDivisionError: one two",
    "raise OSError(22, 'no licence')": "no licence",
    "import sys; sys.exit(0)": "SystemExit: 0",
    "exit('no licence')": "SystemExit: no licence",
    "raise LookupError": "LookupError",
    "import no_such_module": "No module named 'no_such_module'",
}
PLACES = {
    "import": ["--model=fastflow", "--data=odd"],
    "construct dataset": ["--model=fastflow", "--data=odd"],
    "samples": ["--model=fastflow", "--data=odd"],
    "construct model": ["--model=odd_model"],
    "encode": ["--model=odd_model"],
    "loss": ["--model=odd_model"],
}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a package ``odd-plug-in`` with entry points and a module."""
    site = tmp_path / "site"

    def write(entries: str, code: str = "", name: str = "odd_plug_in") -> None:
        info = site / f"{name}-3.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 3.0\n")
        (info / "entry_points.txt").write_text(entries)
        (site / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(site)

    yield write
    sys.modules.pop("odd_plug_in", None)


def words(tree: Path, output: Path, place: str) -> list[str]:
    data = ["--data=mvtec", f"--data.root={tree}", "--data.category=stripes"] if "model" in PLACES[place][0] else []
    given = PLACES[place] if "--data=odd" in PLACES[place] else [*PLACES[place], *data]
    return ["train", *SMALL, *given, f"--output={output}", "--trainer.max_epochs=1"]


ENTRIES = "[anomalib_flows.datasets]\nodd = odd_plug_in:Data\n[anomalib_flows.models]\nodd_model = odd_plug_in:Model\n"


CASES = [(place, fault) for place in PLACES for fault in FAULTS if "exit" in fault or place in ("import", "samples")]


@pytest.mark.parametrize(("place", "fault"), CASES)
def test_a_fault_anywhere_names_the_package(install, tree, tmp_path, capsys, place: str, fault: str) -> None:
    install(ENTRIES, MODULE.format(place=place, fault=fault))
    assert main(words(tree, tmp_path / "results", place)) == 2
    [error] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert error.startswith("error: odd_plug_in.")
    assert "of odd-plug-in 3.0 " in error
    assert FAULTS[fault] in error


@pytest.mark.parametrize("place", [place for place in PLACES if place not in ("encode", "loss")])
def test_ctrl_c_in_a_plug_in_stays_ctrl_c(install, tree, tmp_path, capsys, place: str) -> None:
    install(ENTRIES, MODULE.format(place=place, fault="raise KeyboardInterrupt"))
    assert main(words(tree, tmp_path / "results", place)) == 130
    assert "Interrupted" in capsys.readouterr().err


MALFORMED = ["not a path!", "odd_plug_in", "odd_plug_in:", ":Model", "a b:C", "odd plug/in:Model", "1 + 1"]


@pytest.mark.parametrize("value", MALFORMED)
def test_a_malformed_entry_point_is_named_and_harms_no_other(install, capsys, value: str) -> None:
    install(f"[anomalib_flows.models]\nodd = {value}\n[anomalib_flows.datasets]\nodd = {value}\n")
    sentence = f"odd-plug-in 3.0 registers 'odd' as {value!r}, which is not MODULE:CLASS: report it to its authors."
    assert "odd" not in registry.names("models")
    assert registry.load("models", "fastflow").__name__ == "FastFlow"
    for options in (["--model=odd", "--data=folder"], ["--model=fastflow", "--data=odd"]):
        assert main(["train", *options]) == 2
        assert capsys.readouterr().err == f"error: {sentence}\n"
    assert main(["list", "models"]) == 0
    listed = capsys.readouterr()
    assert "fastflow" in listed.out
    assert listed.err == f"warning: Left out: {sentence}\n"


@pytest.mark.parametrize("text", ["[anomalib_flows.models]\nodd\n", "no section\n", "[a]\n=\n[anomalib_flows.models\n"])
def test_a_list_of_entry_points_that_cannot_be_read_harms_no_other_package(install, text: str) -> None:
    before = {kind: registry.names(kind) for kind in ("models", "datasets", "weights")}
    install(text)
    install("[anomalib_flows.models]\nsound = sound:Model\n", name="sound")
    assert registry.names("models") == sorted([*before.pop("models"), "sound"])
    assert {kind: registry.names(kind) for kind in before} == before
