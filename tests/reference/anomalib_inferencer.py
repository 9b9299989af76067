"""Let anomalib's OpenVINOInferencer predict images.

It runs in an environment with anomalib: python anomalib_inferencer.py MODEL OUTPUT IMAGE ...
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image


def main(model: str, output: str, images: list[str]) -> None:
    from anomalib.deploy import OpenVINOInferencer

    found: dict[str, np.ndarray] = {}
    for name, config in (("f32", {"INFERENCE_PRECISION_HINT": "f32"}), ("default", None)):
        inferencer = OpenVINOInferencer(model, device="CPU", config=config)
        answers = [inferencer.predict(Image.open(image).convert("RGB")) for image in images]
        for field in ("pred_score", "pred_label", "anomaly_map", "pred_mask"):
            found[f"{name}/{field}"] = np.stack([np.asarray(getattr(answer, field)) for answer in answers])
    np.savez(output, **found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
