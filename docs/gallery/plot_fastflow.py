"""
FastFlow on a drawn fabric
==========================

This page trains FastFlow on drawn photos of a fabric, and shows what it marks on photos with defects. The training is
short and the images are small, so that it takes seconds. With the defaults (256 x 256 pixels and 120 steps), training
takes a minute and the model detects more.

The model card is :doc:`/models/fastflow`.
"""

import tempfile

import matplotlib.pyplot as plt
import torch

from anomalib_flows import TrainConfig, load, read_image, train
from anomalib_flows.core.types import ANOMALOUS

# %%
# Train
# -----
#
# A run is a value: a :class:`~anomalib_flows.TrainConfig` holds everything that makes it. The fabric is drawn when it
# is first needed: 80 good photos, and a test set of 24 good photos and 50 with defects of six kinds.

config = TrainConfig.from_dict(
    {
        "model": "fastflow",
        "data": {"class_path": "synthetic", "init_args": {"category": "fabric"}},
        "image": {"size": 160},
        "trainer": {"max_steps": 40},
        "false_alarm_rate": 0.1,
        "pictures": 0,
        "output": tempfile.mkdtemp(),
    }
)
run = train(config)

# %%
# Decisions and metrics
# ---------------------
#
# 12 of the good photos were held out of training. They set the threshold for a false-alarm rate of 10 %.

metrics = run.metrics()
errors = metrics["errors"]
print(f"false alarms: {errors['false_alarms']['count']} of {errors['false_alarms']['of']} good photos")
print(f"missed: {errors['missed']['count']} of {errors['missed']['of']} defects")
for kind, missed in errors["missed_of_kind"].items():
    print(f"  {kind}: {missed['count']} of {missed['of']}")
print(f"image AUROC {metrics['image']['auroc']:.3f}")
print(f"pixel AUROC {metrics['pixel']['auroc']:.3f}, AUPRO {metrics['pixel']['aupro']:.3f}")

# %%
# Look at photos
# --------------
#
# The model file holds the whole pipeline, from the pixels to the decision. Heatmaps have a fixed scale, on which 0.5 is
# the pixel threshold. The white line is the contour of what lies above it. Another map gives the score, so a photo can
# be anomalous without a contour.

pipeline = load(run.model_file)
tested = [sample for sample in config.data.build("datasets").samples() if sample.label == ANOMALOUS]
shown = [tested[0], tested[12], tested[20], tested[30]]


def heatmap(image):
    """Return the normalised map of an image, in [0, 1]."""
    prediction = pipeline(image[None])
    return pipeline.postprocess.normalise(prediction.maps)[0, 0], prediction


figure, rows = plt.subplots(3, len(shown), figsize=(10, 7.6), layout="constrained")
for column, sample in enumerate(shown):
    image = read_image(sample.path)
    values, prediction = heatmap(image)
    truth = read_image(sample.mask)[0] > 0
    rows[0, column].imshow(image.permute(1, 2, 0).byte())
    rows[0, column].set_title(sample.defect.replace("_", " "))
    rows[1, column].imshow(truth, cmap="gray")
    drawn = rows[2, column].imshow(values, vmin=0, vmax=1, cmap="inferno")
    rows[2, column].contour(prediction.masks[0, 0], levels=[0.5], colors="white", linewidths=1)
    score = pipeline.postprocess.normalise_scores(prediction.scores).item()
    rows[2, column].set_title(f"score {score:.2f}: {'anomalous' if prediction.labels[0] else 'normal'}")
for name, axes in zip(("photo", "ground truth", "heatmap"), rows[:, 0], strict=True):
    axes.set_ylabel(name)
for axes in rows.flat:
    axes.set(xticks=[], yticks=[])
figure.colorbar(drawn, ax=rows[2], ticks=[0, 0.5, 1])

# %%
# An image's score is its own
# ---------------------------
#
# The score of a photo does not depend on the photos beside it.

images = torch.stack([read_image(sample.path) for sample in shown])
alone = torch.cat([pipeline(image[None]).scores for image in images])
together = pipeline(images).scores
print(f"largest difference: {(alone - together).abs().max().item():.1e}")
