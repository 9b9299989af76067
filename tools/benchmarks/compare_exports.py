"""Compare our exports with anomalib's: time to export, size on disk and latency in OpenVINO, as Markdown tables.

Each implementation exports in an environment of its own; then one process of ours loads the files that belong together
and times one inference of each in turn, in an order that is swapped every time, so that whatever else the machine does
meets all alike: trust the ratios, not the milliseconds. Encoders and flows are the same, with random weights.

    python tools/compare_exports.py FOLDER --ours PYTHON --anomalib PYTHON

FOLDER keeps the exports, which are made again only where their options or the versions of what makes them are others,
and `results.json`: whoever changes code within a version takes a new folder. `--show` writes the tables from that
alone. Ours has two rows: `ours` has anomalib's architecture, encoder's layers and norm included, with hard permutations
in both; `ours, default` has the options that `train` takes if none are given. Parameters and constants of flows and
norms are random, or else converters would leave out a multiplication by one.

Ours takes a photo as it was decoded, uint8 of any size, NHWC, and resizes it in the graph; anomalib's takes float32
from 0 to 1, NCHW, of 256 pixels, which somebody has to make of the photo before: that is not measured. Both give score,
label, map and mask.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from comparison.settings import STAGES
from comparison.turns import processor, show, spread

KERNELS = [3, 1]
"""Kernel sizes in turn, as in anomalib's FastFlow unless told otherwise."""
OURS, DEFAULT, THEIRS = NAMES = ("ours", "ours, default", "anomalib")
RUNS = {
    "f32": ("model", {"INFERENCE_PRECISION_HINT": "f32"}),
    "device's default": ("model", {}),
    "INT8, rest f32": ("int8", {"INFERENCE_PRECISION_HINT": "f32"}),
    "INT8, rest device's default": ("int8", {}),
}
"""What is timed: which file, and by which properties."""
WARM_UP = 3
MADE_WITH = "made_with.json"
VERSIONS = """
import json
from importlib.metadata import distributions
wanted = ("anomalib", "anomalib-flows", "nncf", "openvino", "timm", "torch")
print(json.dumps({d.name: d.version for d in distributions() if d.name in wanted}))
"""
"""What is run in an environment to ask for its versions."""
FILES = ["model", "backbone", "exported by", "export, s", "INT8, s", "fp32, MB", "fp16, MB", "INT8, MB"]
LATENCIES = ["model", "backbone", "precision", *(f"{name}, ms" for name in NAMES)]
LATENCIES += ["anomalib / ours", "anomalib / ours, default"]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Do something and say how many seconds it took."""
    begin = time.perf_counter()
    return work(), time.perf_counter() - begin


def megabytes(path: Path) -> float:
    """Size of a graph on disk with its weights."""
    return (path.stat().st_size + path.with_suffix(".bin").stat().st_size) / 1e6


def disturb(modules: Any) -> None:
    """Let no parameter or constant be zero or one."""
    import torch

    with torch.no_grad():
        for tensor in [*modules.parameters(), *(b for b in modules.buffers() if b.is_floating_point())]:
            tensor.add_(0.01 * torch.randn_like(tensor))


# --- Exporting: one process for each file's maker ------------------------------------------------------------------


def export_ours(options: SimpleNamespace, folder: Path) -> dict[str, float]:
    import numpy as np
    import openvino as ov

    from anomalib_flows.export.network import InputOptions, Network
    from anomalib_flows.export.openvino.graph import build_network, decide
    from anomalib_flows.export.openvino.quantization import quantize
    from anomalib_flows.export.openvino.storage import compress_to_fp16
    from anomalib_flows.export.options import QuantizationOptions

    pipeline = our_pipeline(options)
    network, building = timed(lambda: build_network(Network(pipeline, InputOptions())))
    ov.save_model(decide(network.clone(), pipeline.postprocess, "native"), folder / "fp32.xml", compress_to_fp16=False)

    def finish(network: Any, name: str) -> None:
        model = decide(network, pipeline.postprocess, "native")
        compress_to_fp16(model)
        ov.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)

    _, saving = timed(lambda: finish(network.clone(), "model"))
    shape = (options.images, 1, options.size, options.size, 3)
    images = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    _, quantising = timed(lambda: finish(quantize(network, images, QuantizationOptions()), "int8"))
    return {"export": building + saving, "int8": quantising} | {
        f"{to}_size": megabytes(folder / f"{name}.xml") for to, name in {"fp32": "fp32", "fp16": "model"}.items()
    }


def our_pipeline(options: SimpleNamespace) -> Any:
    """Make a pipeline that decides, though by nothing learnt."""
    import torch

    from anomalib_flows import CFlow, FastFlow
    from anomalib_flows.inference.calibration import calibrate
    from anomalib_flows.models.pipeline import Pipeline
    from anomalib_flows.run.options import HeatmapOptions

    models: dict[str, Any] = {"fastflow": FastFlow, "cflow": CFlow}
    alike = {
        "fastflow": FastFlow.published | {"kernel_sizes": KERNELS},
        "cflow": {"norm": "none", "clamp": 1.9, "local_scale": 0.0, "layers": list(STAGES[options.backbone])},
    }
    recipe = alike[options.model] if options.name == OURS else {}
    size = (options.size, options.size)
    detector = models[options.model](size, options.backbone, weights="random", **recipe)
    heatmap = HeatmapOptions(top_percent=0.0) if options.name == OURS else HeatmapOptions()
    pipeline = Pipeline(detector, heatmap=heatmap).eval()
    for part in (detector.flows, detector.norms, detector.scales):
        disturb(part)
    with torch.no_grad():
        resized = torch.rand(4, 3, *size) * 255
        detector.calibrate([pipeline.features(resized)])
        calibrate(pipeline.postprocess, pipeline.maps(resized), false_alarm_rate=0.5)
    return pipeline


def export_theirs(options: SimpleNamespace, folder: Path) -> dict[str, float]:
    import openvino as ov
    import torch
    from anomalib.deploy import CompressionType

    module, size = their_module(options), (options.size, options.size)
    path, exporting = timed(lambda: module.to_openvino(folder, input_size=size))
    core = ov.Core()
    ov.save_model(core.read_model(path), folder / "fp16.xml")  # as `to_openvino` does with CompressionType.FP16
    batches = [{"image": torch.rand(1, 3, *size)} for _ in range(options.images)]
    loader = Loader(batches)
    data = SimpleNamespace(setup=lambda stage: stage, val_dataloader=lambda: loader)
    compress = module._compress_ov_model  # noqa: SLF001 (what `to_openvino` calls after another conversion)
    int8, quantising = timed(lambda: compress(core.read_model(path), CompressionType.INT8_PTQ, data))
    ov.save_model(int8, folder / "int8.xml", compress_to_fp16=False)
    for suffix in (".xml", ".bin"):
        path.with_suffix(suffix).replace(folder / f"model{suffix}")
    sizes = {"fp32_size": megabytes(folder / "model.xml"), "fp16_size": megabytes(folder / "fp16.xml")}
    return {"export": exporting, "int8": quantising} | sizes


class Loader(list[Any]):
    """Batches, and what anomalib asks of a data loader."""

    @property
    def dataset(self) -> Loader:
        return self


def their_module(options: SimpleNamespace) -> Any:
    """Make a module with limits and thresholds, for without them NNCF's graph does not compile."""
    import torch
    from anomalib.models import Cflow, Fastflow

    if options.model == "fastflow":
        module: Any = Fastflow(options.backbone, pre_trained=False)
        flows = torch.nn.ModuleList([module.model.fast_flow_blocks, module.model.norms])
    else:
        module = Cflow(options.backbone, [f"layer{i}" for i in STAGES[options.backbone]], pre_trained=False)
        flows = module.model.decoders
    for block in flows.modules():  # not their buffers, for in some of them permutations are kept as numbers
        for parameter in block.parameters(recurse=False):
            if parameter.requires_grad:
                parameter.data.add_(0.01 * torch.randn_like(parameter))
    module.eval()
    with torch.no_grad():
        maps = module.model(torch.rand(2, 3, options.size, options.size)).anomaly_map
    limits = {"min": maps.min(), "max": maps.max(), "threshold": maps.mean()}
    for name, buffer in module.post_processor.named_buffers():
        if (limit := limits.get(name.rpartition("_")[2])) is not None:
            buffer.copy_(limit)
    return module


def work(options: SimpleNamespace, folder: Path) -> None:
    """Export, and leave what was measured beside the files."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    figures = (export_theirs if options.name == THEIRS else export_ours)(options, folder)
    figures["int8_size"] = megabytes(folder / "int8.xml")
    (folder / "figures.json").write_text(json.dumps(figures))


# --- Timing: one process for all -----------------------------------------------------------------------------------


def measure(options: SimpleNamespace, folder: Path) -> None:
    """Time the exports of one model and leave milliseconds of each, in turns, beside them."""
    import openvino as ov

    core = ov.Core()
    about = {"openvino": ov.__version__, "device": core.get_property("CPU", "FULL_DEVICE_NAME")}
    runs: dict[str, Any] = {}
    for run, (file, properties) in RUNS.items():
        common = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": options.threads}
        compiled = {
            name: core.compile_model(folder / name / f"{file}.xml", "CPU", common | properties)
            for name in options.names
        }
        precision = str(next(iter(compiled.values())).get_property("INFERENCE_PRECISION_HINT").to_string())
        requests = [request_of(model, options.size) for model in compiled.values()]
        runs[run] = {"precision": precision, "ms": dict(zip(compiled, turns(requests, options.repeats), strict=True))}
    (folder / "latencies.json").write_text(json.dumps({"about": about, "runs": runs}))


def request_of(compiled: Any, size: int) -> Any:
    """Make a request with an image in it that the model answers by numbers."""
    import numpy as np
    import openvino as ov

    image = np.random.default_rng(0).integers(256, size=(1, size, size, 3), dtype=np.uint8)
    if compiled.input(0).get_element_type() == ov.Type.f32:
        image = np.ascontiguousarray(image.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(image))
    request.infer()
    if not all(np.isfinite(tensor.data).all() for tensor in request.output_tensors):
        sys.exit("An exported model answers with something else than numbers.")
    return request


def turns(requests: Sequence[Any], repeats: int) -> list[list[float]]:
    """Milliseconds of each request, one after the other in an order that is swapped every time."""
    spent: list[list[float]] = [[] for _ in requests]
    for turn in range(WARM_UP + repeats):
        for i in range(len(requests))[:: -1 if turn % 2 else 1]:
            _, seconds = timed(partial(infer, requests[i]))
            spent[i].append(1000 * seconds)
    return [times[WARM_UP:] for times in spent]


def infer(request: Any) -> None:
    """Infer without copies of the outputs."""
    request.start_async()
    request.wait()


# --- The parent: processes and tables ------------------------------------------------------------------------------


def call(python: str, command: str, options: dict[str, Any], folder: Path) -> None:
    """Run a part of this tool in its environment; what libraries print goes to a file, which is shown if it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(options["threads"]))
    with (folder / f"{command}.log").open("w") as log:
        line = [python, __file__, command, json.dumps(options), str(folder)]
        done = subprocess.run(line, check=False, env=os.environ | threads, stdout=log, stderr=log)
    if done.returncode:
        sys.exit(Path(log.name).read_text()[-4000:] + f"\nThe process of {folder} failed: see its error above.")


def compare(args: argparse.Namespace, model: str, backbone: str) -> dict[str, Any]:
    """Export what is not there yet, or was made otherwise, and time it."""
    folder = args.folder / f"{model}-{backbone}"
    options = {"model": model, "backbone": backbone, "names": args.names}
    options |= {key: getattr(args, key) for key in ("size", "images", "threads", "repeats")}
    for name in args.names:
        python = args.anomalib if name == THEIRS else args.ours
        exported, made_with = folder / name, made(python, options)
        kept = made_before(exported) == made_with
        print(f"{model} {backbone}: {name} {'has exports already' if kept else 'exports'}", file=sys.stderr)
        if not kept:
            shutil.rmtree(exported, ignore_errors=True)
            call(python, "export", options | {"name": name}, exported)
            (exported / MADE_WITH).write_text(json.dumps(made_with))
    print(f"{model} {backbone}: timing", file=sys.stderr)
    call(args.ours, "measure", options, folder)
    figures = {name: json.loads((folder / name / "figures.json").read_text()) for name in args.names}
    return options | {"figures": figures} | json.loads((folder / "latencies.json").read_text())


@cache
def versions(python: str) -> dict[str, str]:
    """Versions of the packages in an environment that exports depend on."""
    done = subprocess.run([python, "-c", VERSIONS], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def made(python: str, options: dict[str, Any]) -> dict[str, Any]:
    """What exports depend on: options, those of timing left out, and versions."""
    return {key: options[key] for key in ("model", "backbone", "size", "images", "threads")} | versions(python)


def made_before(folder: Path) -> dict[str, Any] | None:
    """What the exports in a folder were made with, if there are whole ones."""
    file = folder / MADE_WITH
    return dict(json.loads(file.read_text())) if file.is_file() else None


def tables(results: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the rows of both tables, heads included, with an empty one between them."""
    yield from (FILES, ["---"] * len(FILES))
    for compared in results["compared"]:
        for name, figures in compared["figures"].items():
            keys = ("export", "int8", "fp32_size", "fp16_size", "int8_size")
            yield [compared["model"], compared["backbone"], name, *(f"{figures[key]:.1f}" for key in keys)]
    yield []
    yield from (LATENCIES, ["---"] * len(LATENCIES))
    for compared in results["compared"]:
        for run, measured in compared["runs"].items():
            precision = run.replace("device's default", f"device's default ({measured['precision']})")
            yield [compared["model"], compared["backbone"], precision, *latencies(measured["ms"])]


def latencies(times: dict[str, list[float]]) -> Iterator[str]:
    """Yield median and quartiles of each, and of anomalib's over ours, in pairs."""
    for name in NAMES:
        yield spread(times[name]) if name in times else ""
    for name in (OURS, DEFAULT):
        both = zip(times.get(THEIRS, []), times.get(name, []), strict=False)
        ratios = [theirs / ours for theirs, ours in both]
        yield spread(ratios) if ratios else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where exports and results.json are kept")
    parser.add_argument("--ours", default=sys.executable, help="Python interpreter that has anomalib-flows and nncf")
    parser.add_argument("--anomalib", default=None, help="Python interpreter that has anomalib; without it, ours alone")
    parser.add_argument("--models", nargs="+", default=["fastflow", "cflow"], choices=["fastflow", "cflow"])
    parser.add_argument("--backbones", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--size", type=int, default=256, help="height and width of the images")
    parser.add_argument("--images", type=int, default=16, help="images for quantisation")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--show", action="store_true", help="only show the results that are there")
    args = parser.parse_args()
    args.names = NAMES if args.anomalib else NAMES[:2]
    args.folder = args.folder.absolute()
    file = args.folder / "results.json"
    if not args.show:
        compared = [compare(args, model, backbone) for model in args.models for backbone in args.backbones]
        file.write_text(json.dumps({"processor": processor(), "compared": compared}))
    results = json.loads(file.read_text())
    first = results["compared"][0]
    print(
        f"{results['processor']}, {first['threads']} threads, OpenVINO {first['about']['openvino']}, batch 1, ", end=""
    )
    print(f"{first['size']} x {first['size']}. Median (quartiles) of {first['repeats']} inferences, ratios in pairs.\n")
    for row in tables(results):
        show(row) if row else print()


if __name__ == "__main__":
    parts = {"export": work, "measure": measure}
    if sys.argv[1:2] and sys.argv[1] in parts:
        parts[sys.argv[1]](SimpleNamespace(**json.loads(sys.argv[2])), Path(sys.argv[3]))
    else:
        main()
