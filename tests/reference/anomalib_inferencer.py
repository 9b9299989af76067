"""Let anomalib's OpenVINOInferencer judge images: python anomalib_inferencer.py MODEL OUTPUT IMAGE ..."""

from __future__ import annotations

import sys

import numpy as np
from anomalib.deploy import OpenVINOInferencer
from PIL import Image

model, output, *images = sys.argv[1:]
exact = {"INFERENCE_PRECISION_HINT": "f32"}
found: dict[str, np.ndarray] = {}
for name, config in (("f32", exact), ("default", None)):
    inferencer = OpenVINOInferencer(model, device="CPU", config=config)
    answers = [inferencer.predict(Image.open(image).convert("RGB")) for image in images]
    for field in ("pred_score", "pred_label", "anomaly_map", "pred_mask"):
        found[f"{name}/{field}"] = np.stack([np.asarray(getattr(answer, field)) for answer in answers])
np.savez(output, **found)
