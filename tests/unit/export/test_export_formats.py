"""Export formats are found by name, and follow one contract."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from anomalib_flows.core.errors import InputError
from anomalib_flows.core.types import Interface, Precision
from anomalib_flows.export.export import require_installed, require_offered
from anomalib_flows.export.formats import exporter, format_names
from anomalib_flows.export.options import ExportOptions, FolderLayout, InputOptions, QuantizationOptions


@pytest.mark.parametrize("name", format_names())
def test_formats_follow_the_contract(name: str) -> None:
    found = exporter(name)
    assert found.suffix.startswith(".")
    assert found.precisions
    assert set(found.precisions) <= set(get_args(Precision))
    assert {"native"} <= set(found.interfaces) <= set(get_args(Interface))
    assert {"folder"} <= set(found.layouts) <= set(get_args(FolderLayout))
    assert callable(found.write)


def test_unknown_formats_are_refused_with_close_names() -> None:
    with pytest.raises(InputError, match="There is no format 'openvin': did you mean 'openvino'"):
        exporter("openvin")
    with pytest.raises(InputError, match="There is no format 'tflite': there are " + ", ".join(format_names())):
        exporter("tflite")


def test_names_and_options_import_no_library() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'openvino', 'onnx']))\n"
        "from anomalib_flows.export.formats import format_names\n"
        "from anomalib_flows.export.options import ExportOptions\n"
        "from anomalib_flows.commands.export import COMMAND\n"
        "print(*format_names(), ExportOptions().format, COMMAND.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == [*format_names(), "openvino", "export"], done.stderr


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("onnx", {"precision": "int8"}, "`precision` int8 is not available with `format` onnx, which offers fp32"),
        ("torch", {"precision": "fp32", "layout": "ovms"}, "`layout` ovms is not available with `format` torch"),
        ("torch", {"precision": "fp32", "interface": "anomalib"}, "`interface` anomalib is not available with `fo"),
        (
            "openvino",
            {"precision": "fp16", "int8": QuantizationOptions(images=5, preset="mixed")},
            "`int8.images` and `int8.preset` cannot be used with `precision` fp16: use int8",
        ),
    ],
)
def test_options_that_a_format_does_not_offer_are_refused(name: str, options, words: str) -> None:
    with pytest.raises(InputError) as caught:
        require_offered(exporter(name), ExportOptions(format=name, **options))
    assert str(caught.value).startswith(words)


def test_missing_modules_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match="`format` onnx needs the module onnxscript: run pip install .* onnxscript[.]"):
        require_installed(exporter("onnx"), ExportOptions(format="onnx"))
    require_installed(exporter("torch"), ExportOptions(format="torch"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch": -1}, "`input.batch` cannot be -1"),
        ({"size": "90,"}, "`input.size` 90, is not a size"),
        ({"size": 90, "preprocessing": False}, "`input.size` cannot be 90: it must be left out without `input.prep"),
        ({"layout": "NCHW", "preprocessing": False}, "`input.preprocessing` cannot be false"),
        ({"channels": "BGR", "preprocessing": False}, "`input.preprocessing` cannot be false"),
    ],
)
def test_invalid_inputs_are_refused(options, words: str) -> None:
    with pytest.raises(InputError) as caught:
        InputOptions(**options)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    "options", [{"images": 0}, {"max_drop": -0.1}, {"max_drop": 1.1}, {"max_drop": 0.1}, {"smooth_quant": 2.0}]
)
def test_invalid_numbers_of_int8_are_refused(options) -> None:
    with pytest.raises(InputError, match=f"`int8.{next(iter(options))}` cannot be"):
        QuantizationOptions(**options)


def test_folders_are_named_by_format_precision_and_interface() -> None:
    assert ExportOptions(precision="fp16").folder_name == "openvino-fp16"
    assert ExportOptions(precision="int8", interface="anomalib").folder_name == "openvino-int8-anomalib"
