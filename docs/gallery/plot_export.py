"""
Export, and compare with the trained model
==========================================

An exported file contains every step from the photo to the decision. This page writes one for OpenVINO in float32,
float16 and INT8, and compares its scores with those of the trained model.

:doc:`/how-to/intel` lists the options.
"""

import io
import tempfile
from contextlib import redirect_stderr, redirect_stdout

import matplotlib.pyplot as plt
import torch

from anomalib_flows import ExportOptions, TrainConfig, export_run, load, read_image, train
from anomalib_flows.runtime import ExportedModel

config = TrainConfig.from_dict(
    {
        "model": "fastflow",
        "data": {"class_path": "synthetic", "init_args": {"category": "plate"}},
        "image": {"size": 128},
        "trainer": {"max_steps": 40},
        "false_alarm_rate": 0.1,
        "pictures": 0,
        "output": tempfile.mkdtemp(),
    }
)
run = train(config)

# %%
# Export
# ------
#
# On the command line this is ``anomalib-flows export RUN --precision int8``. Each export is compared with the trained
# model on held-out photos at once. An export whose results differ too much is not kept.

reports = {}
for precision in ("fp32", "fp16", "int8"):
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # NNCF draws bars
        reports[precision] = export_run(run.path, ExportOptions(precision=precision))
for precision, report in reports.items():
    size = sum(file.stat().st_size for file in report.file.parent.glob("model.*"))
    print(f"{precision}: {size / 1e6:.1f} MB")

# %%
# Predict with and without torch
# ------------------------------
#
# :class:`~anomalib_flows.runtime.ExportedModel` needs OpenVINO, NumPy and Pillow only.

pipeline = load(run.model_file)
tested = [sample for sample in config.data.build("datasets").samples() if sample.split == "test"]
raw = torch.cat([pipeline(read_image(sample.path)[None]).scores for sample in tested])
trained = pipeline.postprocess.normalise_scores(raw).numpy()
exported = {
    precision: [result.score for result in ExportedModel(report.file).batch(sample.path for sample in tested)]
    for precision, report in reports.items()
}

# %%
# In float32 the scores are the same up to rounding. In float16 the weights are rounded. In INT8 the activations are
# rounded as well. Thresholds are then set again, so its scores have another scale.

figure, row = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained", sharey=True)
for axes, (precision, scores) in zip(row, exported.items(), strict=True):
    colour = ["tab:red" if sample.label else "tab:blue" for sample in tested]
    axes.scatter(trained, scores, s=14, c=colour)
    axes.plot((0, 1), (0, 1), color="grey", linewidth=0.8)
    axes.axhline(0.5, color="grey", linestyle=":")
    axes.axvline(0.5, color="grey", linestyle=":")
    agree = sum((a > 0.5) == (b > 0.5) for a, b in zip(trained, scores, strict=True))
    axes.set(title=f"{precision}: {agree} of {len(scores)} decisions agree", xlabel="score of the trained model")
row[0].set_ylabel("score of the exported model")
