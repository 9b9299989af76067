import importlib
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from anomalib_flows.core import registry
from anomalib_flows.core.errors import InputError
from anomalib_flows.models.options import Model

OWN = "from anomalib_flows.models.options import Model\nclass Own(Model): ...\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution with entry points, as pip would, in front of all others."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(distribution: str, points: dict[str, str], kind: str = "models", **modules: str) -> None:
        info = tmp_path / f"{distribution}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        lines = [f"[anomalib_flows.{kind}]"] + [f"{name} = {value}" for name, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for name, code in modules.items():
            (tmp_path / f"{name}.py").write_text(code)

    yield write
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == tmp_path:
            del sys.modules[name]


def test_built_in_names_are_entry_points_of_this_package():
    for kind in ("models", "datasets"):
        ours = {e.name for e in entry_points(group=f"anomalib_flows.{kind}") if e.module.startswith("anomalib_flows.")}
        assert ours <= set(registry.names(kind))
    assert registry.names("datasets") == sorted(registry.names("datasets"))


@pytest.mark.parametrize("name", ["fastflow", "FastFlow", "anomalib_flows.models.fastflow.FastFlow"])
def test_a_model_has_a_name_a_class_name_and_a_dotted_path(name):
    assert registry.path_of("models", name) == "anomalib_flows.models.fastflow.FastFlow"
    loaded = registry.load("models", name)
    assert (loaded.__module__, loaded.__name__) == ("anomalib_flows.models.fastflow", "FastFlow")


@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_every_name_leads_to_a_class_and_back(kind):
    for name in registry.names(kind):
        assert registry.name_of(kind, registry.load(kind, name)) == name


class Own(Model):
    """Of this module, which no package registers."""


def test_a_class_that_is_not_registered_goes_by_its_path():
    assert registry.name_of("models", Own) == f"{__name__}.Own"
    assert registry.load("models", registry.name_of("models", Own)) is Own  # this process has imported it


@pytest.mark.parametrize(
    "path",
    [
        "unknown_module.Own",  # lies in the working folder, which is on the path
        "this.Own",  # a module of Python that prints when it is imported
        "subprocess.Popen",  # imported, but no model
        "lazy_module.Own",  # imported, with a function that is called for unknown names
        "not_a_module.Own",
        *("os.path.join", "builtins.dict"),
    ],
)
@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_a_name_from_a_file_runs_no_code(kind, path, tmp_path, monkeypatch, capsys):
    (tmp_path / "unknown_module.py").write_text(f"{OWN}raise AssertionError('imported')\n")
    (tmp_path / "lazy_module.py").write_text("def __getattr__(name):\n    raise AssertionError('called')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "lazy_module", importlib.import_module("lazy_module"))
    monkeypatch.setitem(sys.modules, "not_a_module", None)
    before = set(sys.modules)
    with pytest.raises(InputError, match="^No installed package registers .* that run/config.yaml names.*`trust`"):
        registry.load(kind, path, named_by="run/config.yaml")
    assert set(sys.modules) == before
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("path", ["anomalib_flows.core.files.fresh_folder", "anomalib_flows.models.options.Any"])
def test_what_is_of_another_kind_is_refused(path):
    for kind in ("models", "datasets"):
        with pytest.raises(InputError, match=f"^{path} is not a {kind[:-1]}: it must be a subclass of"):
            registry.load(kind, path)


def test_a_trusted_name_is_imported_once_and_known_from_then_on(tmp_path, monkeypatch):
    (tmp_path / "trusted_module.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    loaded = registry.load("models", "trusted_module.Own", trust=True)
    assert registry.load("models", "trusted_module.Own") is loaded
    del sys.modules["trusted_module"]


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("models", "fastflwo", "There is no model 'fastflwo': did you mean 'fastflow'?"),
        ("datasets", "mvtek", "There is no dataset 'mvtek': did you mean 'mvtec'?"),
    ],
)
def test_unknown_names_list_close_ones(kind, name, message):
    with pytest.raises(InputError) as raised:
        registry.path_of(kind, name)
    assert str(raised.value) == message
    with pytest.raises(InputError, match="did you mean"):
        registry.load(kind, name)


def test_unknown_names_without_a_close_one_list_what_there_is():
    with pytest.raises(InputError, match=r"no dataset 'xyz': there are .*folder, .*mvtec, .*synthetic"):
        registry.path_of("datasets", "xyz")
    assert registry.unknown("model", "x", []) == "There is no model 'x': there are none."
    assert registry.unknown("model", "x", [f"name{i}" for i in range(21)]).endswith("name19, ....")


@pytest.mark.parametrize("name", ["..", ".", "x.", ".x", "a..b", "1.x", "a b.c"])
@pytest.mark.parametrize("trust", [True, False])
def test_what_is_no_path_is_unknown(name: str, trust: bool) -> None:
    with pytest.raises(InputError, match=f"^There is no model '{re.escape(name)}'"):
        registry.load("models", name, trust=trust, named_by="run/config.yaml")


@pytest.mark.parametrize("name", ["fastflow.FastFlow", "anomalib_flows.models.fastflow.Fast"])
def test_a_wrong_path_is_named(name):
    with pytest.raises(InputError, match=f"^{re.escape(name)} cannot be imported"):
        registry.load("models", name, trust=True)


def test_a_plug_in_is_listed_and_imported_only_when_asked_for(install):
    install("my-plug-in", {"mine": "my_module:Mine"}, my_module=OWN.replace("Own", "Mine"))
    assert "mine" in registry.names("models")
    assert registry.distribution(registry.entries("models")["mine"]) == "my-plug-in 1.2"
    assert registry.path_of("models", "mine") == registry.path_of("models", "Mine") == "my_module.Mine"
    assert "my_module" not in sys.modules
    assert registry.load("models", "mine") is sys.modules["my_module"].Mine


def test_models_and_datasets_are_kept_apart(install):
    install("my-plug-in", {"mine": "my_module:Mine"}, kind="datasets")
    assert "mine" in registry.names("datasets")
    assert "mine" not in registry.names("models")


def test_no_plug_in_takes_the_place_of_a_built_in(install):
    install("impostor", {"fastflow": "my_module:FastFlow"}, my_module="raise AssertionError('imported')\n")
    found = entry_points(group="anomalib_flows.models", name="fastflow")
    assert {e.dist.name for e in found} == {"impostor", "anomalib-flows"}
    assert registry.load("models", "fastflow").__module__ == "anomalib_flows.models.fastflow"
    assert registry.distribution(registry.entries("models")["fastflow"]).startswith("anomalib-flows ")


@pytest.mark.parametrize("name", ["broken", "Broken", "broken_module.Broken"])
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def", "SyntaxError"),
        ("", "AttributeError: module 'broken_module' has no attribute 'Broken'"),
    ],
)
def test_a_broken_plug_in_fails_when_asked_for_and_is_named(install, name, code, reason):
    install("broken-plug-in", {"broken": "broken_module:Broken"}, broken_module=code)
    assert {"broken", "fastflow"} <= set(registry.names("models"))
    registry.load("models", "fastflow")
    with pytest.raises(InputError) as raised:
        registry.load("models", name)
    assert str(raised.value).startswith("broken_module.Broken of broken-plug-in 1.2 cannot be imported")
    assert reason in str(raised.value)
