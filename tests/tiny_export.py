"""A model that is small enough to compute by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as op

from anomalib_flows.runtime.model_card import ModelCard, write_card

CARD = ModelCard(
    version="0.1.0",
    interface="native",
    precision="fp32",
    inference_precision="f32",
    model="fastflow",
    backbone="resnet18",
    config="",
    dataset="folder",
    subset="tiles",
    protocol="calibrated",
    image_size=(8, 12),
    resize="stretch",
    input_layout="NHWC",
    channels="RGB",
    false_alarm_rate=0.2,
    image_threshold=0.8,
    pixel_threshold=0.75,
    typical=0.25,
    score_typical=0.2,
    calibration_scores=(0.1, 0.2, 0.4, 0.8),
    calibration_maxima=(0.3, 0.4, 0.5, 0.75),
)


def build(card: ModelCard, batch: int = 1, size: tuple[int, int] = (-1, -1)) -> ov.Model:
    """Nearest neighbours to (H, W), mean of colours / 255 as raw map; its maximum plus the mean of red / 2550 as score.

    Red counts more, so that an error in the order of colours shows.
    """
    nhwc = card.input_layout == "NHWC"
    shape = [batch, *size, 3] if nhwc else [batch, 3, *size]
    image = op.parameter(shape, np.uint8, name="image")
    image.output(0).set_names({"image"})
    x = op.convert(image, "f32")
    x = op.transpose(x, op.constant([0, 3, 1, 2])) if nhwc else x
    x = op.gather(x, op.constant([2, 1, 0]), op.constant(1)) if card.channels == "BGR" else x
    x = resized(x, card)
    raw = op.divide(op.reduce_mean(x, op.constant([1]), keep_dims=True), op.constant(np.float32(255)))
    red = op.reduce_mean(op.gather(x, op.constant(0), op.constant(1)), op.constant([1, 2]))
    score = op.add(op.reduce_max(raw, op.constant([1, 2, 3])), op.divide(red, op.constant(np.float32(2550))))
    map01 = normalised(raw, card.typical, card.pixel_threshold)
    outputs = {
        "pred_score": normalised(score, card.score_typical, card.image_threshold),
        "pred_label": op.convert(op.greater(score, op.constant(np.float32(card.image_threshold))), "i32"),
        "anomaly_map": map01,
        "pred_mask": op.convert(op.greater(map01, op.constant(np.float32(0.5))), "u8"),
        "raw_score": score,
    }
    results = []
    for name, node in outputs.items():
        node.output(0).set_names({name})
        results.append(op.result(node))
    model = ov.Model(results, [image], "tiny")
    write_card(model, card)
    return model


def resized(x, card: ModelCard):
    """Resize by nearest neighbours; where padding is kept, only sizes that need no rounding are right."""
    height, width = card.image_size
    if card.resize == "stretch":
        sizes = op.constant(np.array([height, width], np.int64))
    else:
        shape = op.convert(op.gather(op.shape_of(x), op.constant([2, 3]), op.constant(0)), "f32")
        scale = op.reduce_min(op.divide(op.constant(np.array([height, width], np.float32)), shape), op.constant(0))
        sizes = op.convert(op.round(op.multiply(shape, scale)), "i64")
    x = op.interpolate(
        x,
        sizes,
        "nearest",
        "sizes",
        axes=op.constant(np.array([2, 3])),
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    if card.resize == "stretch":
        return x
    missing = op.subtract(op.constant(np.array([height, width])), sizes)
    ends = op.concat([op.constant(np.array([0, 0])), missing], 0)
    return op.pad(x, op.constant(np.zeros(4, np.int64)), ends, "edge")


def normalised(raw, typical: float, threshold: float):
    scaled = op.multiply(op.subtract(raw, op.constant(np.float32(typical))), op.constant(np.float32(0.5)))
    return op.clamp(op.divide(scaled, op.constant(np.float32(threshold - typical))), 0.0, 1.0)


def write(file: Path, batch: int = 1, size: tuple[int, int] = (-1, -1), **facts) -> Path:
    """Write the model, with some facts of its card replaced."""
    ov.save_model(build(replace(CARD, **facts), batch, size), file, compress_to_fp16=False)
    return file
