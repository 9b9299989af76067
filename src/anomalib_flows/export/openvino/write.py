"""From a calibrated pipeline to a graph of OpenVINO in a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino as ov

from anomalib_flows.export.exported import INFERENCE_PRECISION, Exported
from anomalib_flows.export.judging import by_openvino, compiled
from anomalib_flows.export.network import Network
from anomalib_flows.export.openvino.graph import build_network, decide
from anomalib_flows.export.openvino.information import describe_for_model_api
from anomalib_flows.export.openvino.int8 import QuantizationData, requantized
from anomalib_flows.export.openvino.parts import sizes
from anomalib_flows.export.openvino.storage import compress_to_fp16
from anomalib_flows.export.options import QuantizationOptions
from anomalib_flows.export.parity import Judge
from anomalib_flows.models.postprocess import Postprocess
from anomalib_flows.runtime.card import Card, write_card


def write_openvino(
    network: Network,
    postprocess: Postprocess,
    card: Callable[[Postprocess], Card],
    file: Path,
    data: QuantizationData | None,
    options: QuantizationOptions,
) -> Exported:
    """Write a pipeline as a graph of OpenVINO, and read it again.

    Args:
        network: From images to raw maps.
        postprocess: Calibrated constants.
        card: Makes the card, given the constants that the graph decides by.
        file: The ``.xml``; ``.bin`` goes beside it.
        data: Images for INT8; None for other precisions.
        options: How to quantise.
    """
    start = time.perf_counter()
    graph = build_network(network)
    seconds = time.perf_counter() - start
    quantization: dict[str, Any] = {}
    if data is not None:
        graph, postprocess, quantization = requantized(graph, network, postprocess, data, options)
    facts = card(postprocess)
    start = time.perf_counter()
    if facts.precision == "fp16":
        compress_to_fp16(graph)
    model = decide(graph, postprocess, facts.interface)
    write_card(model, facts)
    if facts.interface.startswith("model-api"):
        describe_for_model_api(model, facts)
    ov.save_model(model, file, compress_to_fp16=False)
    seconds += time.perf_counter() - start
    return Exported(
        judges=read_again(file, network, postprocess),
        sizes=sizes(model),
        seconds=seconds,
        postprocess=postprocess,
        quantization=quantization,
    )


def read_again(file: Path, network: Network, postprocess: Postprocess) -> dict[str, Judge]:
    """Read a file in the precision that it is for, and in the one that the device would choose, if it has another."""
    judges: dict[str, Judge] = {}
    for precision in (INFERENCE_PRECISION, None):
        model = compiled(file, precision)
        name = precision or model.get_property("INFERENCE_PRECISION_HINT").to_string()
        judges.setdefault(name, by_openvino(model, network, postprocess))
    return judges
