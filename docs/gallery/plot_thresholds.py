"""
Thresholds and false alarms
===========================

A detector computes scores, and a threshold turns them into decisions. This page shows how the threshold is set, what it
promises, and how to set another one without training.

:doc:`/explanation/thresholds` has the theory.
"""

import tempfile

import matplotlib.pyplot as plt
import numpy as np
import torch

from anomalib_flows import CalibrateOptions, TrainConfig, calibrate, load, read_image, train

config = TrainConfig.from_dict(
    {
        "model": "fastflow",
        "data": {"class_path": "synthetic", "init_args": {"category": "fabric"}},
        "image": {"size": 128},
        "split": {"calibration_fraction": 0.4},
        "trainer": {"max_steps": 40},
        "false_alarm_rate": 0.05,
        "pictures": 0,
        "output": tempfile.mkdtemp(),
    }
)
run = train(config)
pipeline = load(run.model_file)

# %%
# Good photos set the threshold
# -----------------------------
#
# 32 of the 80 good photos were held out of training, and the model keeps their scores. With n of them and a
# false-alarm rate a, the threshold is the k-th highest score, where k is a (n + 1), rounded down. A new good photo
# exceeds it with a probability of at most a, for any distribution of the scores.

calibration = pipeline.postprocess.calibration_scores
tested = [sample for sample in config.data.build("datasets").samples() if sample.split == "test"]
scores = torch.cat([pipeline(read_image(sample.path)[None]).scores for sample in tested])
bad = torch.tensor([sample.label == 1 for sample in tested])


def normalised(raw):
    """Return scores on the scale that people see: 0 is typical, 0.5 is the threshold."""
    return pipeline.postprocess.normalise_scores(raw)


figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
bins = np.linspace(0, 1, 41)
axes.hist(normalised(calibration).numpy(), bins, alpha=0.6, label="good, held out of training", density=True)
axes.hist(normalised(scores[~bad]).numpy(), bins, alpha=0.6, label="good, test", density=True)
axes.hist(normalised(scores[bad]).numpy(), bins, alpha=0.6, label="with defects, test", density=True)
axes.axvline(0.5, color="black", linestyle="--")
axes.annotate("threshold", (0.505, axes.get_ylim()[1] * 0.9))
axes.set(xlabel="normalised score", ylabel="density of photos")
axes.legend()

# %%
# Another rate needs no training
# ------------------------------
#
# ``calibrate`` sets other thresholds from the scores that the model keeps. On the command line it is
# ``anomalib-flows calibrate RUN --false-alarm-rate 0.2``.

for rate in (0.05, 0.1, 0.2, 0.4):
    threshold = calibrate(run.path, CalibrateOptions(false_alarm_rate=rate)).postprocess.image_threshold
    alarms, missed = (scores[~bad] > threshold).sum(), (scores[bad] <= threshold).sum()
    print(f"rate {rate:4.0%}: {alarms:2} false alarms of {(~bad).sum()}, {missed:2} missed of {bad.sum()}")

# %%
# What is promised, and what is measured
# --------------------------------------
#
# The promise is a rate over many photos. 24 good test photos can only show it roughly.

rates = np.linspace(1 / (len(calibration) + 1), 0.6, 60)
ranked = calibration.sort(descending=True).values
thresholds = [ranked[int(rate * (len(ranked) + 1) + 1e-9) - 1] for rate in rates]
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
axes.plot(rates, rates, color="grey", linestyle=":", label="promised")
axes.plot(rates, [(scores[~bad] > t).float().mean() for t in thresholds], label="false alarms")
axes.plot(rates, [(scores[bad] <= t).float().mean() for t in thresholds], label="missed defects")
axes.set(xlabel="false-alarm rate that the threshold is set for", ylabel="share of test photos", ylim=(0, 1))
axes.legend()

# %%
# How many good photos does a rate need?
# --------------------------------------
#
# The smallest rate that n photos can promise is 1 / (n + 1). If you ask for less, the threshold is the highest of their
# scores, and a warning gives its rate.

for n in (9, 19, 49, 99, 999):
    print(f"{n:4} held-out photos: {1 / (n + 1):.1%}")
