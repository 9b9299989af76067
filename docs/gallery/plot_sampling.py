"""
Sampling from a flow
====================

A flow works in both directions. Backward, it turns normally distributed numbers into features that it considers good.
This shows what a model has learned: structure where the product has some, and noise where it has learned nothing.

:doc:`/explanation/sampling` explains it.
"""

import tempfile

import matplotlib.pyplot as plt
import torch

from anomalib_flows import TrainConfig, load, read_image, train
from anomalib_flows.core.types import NORMAL


def detector_of(model, steps):
    """Train a model on the drawn plate, and return its pipeline and a good photo."""
    config = TrainConfig.from_dict(
        {
            "model": model,
            "data": {"class_path": "synthetic", "init_args": {"category": "plate"}},
            "image": {"size": 160},
            "trainer": {"max_steps": steps},
            "false_alarm_rate": 0.1,
            "pictures": 0,
            "output": tempfile.mkdtemp(),
        }
    )
    run = train(config)
    good = next(s for s in config.data.build("datasets").samples() if s.label == NORMAL)
    return load(run.model_file), read_image(good.path)


fastflow, photo = detector_of("fastflow", 40)
cflow, _ = detector_of("cflow", 30)

# %%
# Draw features
# -------------
#
# FastFlow's flow generates a whole feature map at once. CFLOW's flow generates the feature vector of each position,
# given the code of the position. Numbers with a standard deviation below 1, here 0.7, give more typical features.

torch.manual_seed(0)
channels, height, width = fastflow.detector.shapes[0]
with torch.no_grad():
    whole = fastflow.detector.flows[0].inverse(0.7 * torch.randn(1, channels, height, width))[0][0]
    flow = cflow.detector.flows[0]
    vectors = flow.inverse(0.7 * torch.randn(height * width, channels), flow.code.everywhere())[0]
    positions = vectors.T.view(channels, height, width)

# %%
# Back to the encoder's features
# ------------------------------
#
# Features are whitened before the flow. The inverse of whitening gives features as the encoder has them. It restores
# the mean at each position, which shows the holes, and the correlations of the channels.


def colouring(pipeline, whitened):
    """Return features as the encoder gives them, (C, h, w)."""
    whitening = pipeline.detector.norms[0]
    return torch.einsum("cd,dhw->chw", torch.linalg.pinv(whitening.matrix), whitened) + whitening.mean


with torch.no_grad():
    real = fastflow.features(fastflow.preprocess.resize(photo[None]))[0][0]
    samples = {"FastFlow's sample": colouring(fastflow, whole), "CFLOW's sample": colouring(cflow, positions)}

# %%
# Look at them
# ------------
#
# All pictures show three principal components of the real features as red, green and blue.

flat = real.flatten(1).T
basis = torch.linalg.svd(flat - flat.mean(0), full_matrices=False).Vh[:3].T
low, high = (torch.quantile(flat @ basis, share, dim=0) for share in (0.01, 0.99))


def colours(features):
    """Return a picture of features (C, h, w)."""
    return ((torch.einsum("chw,ck->hwk", features, basis) - low) / (high - low)).clamp(0, 1)


shown = {"photo": photo.permute(1, 2, 0).byte(), "its features": colours(real)}
shown |= {title: colours(features) for title, features in samples.items()}
figure, row = plt.subplots(1, 4, figsize=(12, 3.3), layout="constrained")
for axes, (title, picture) in zip(row, shown.items(), strict=True):
    axes.imshow(picture)
    axes.set(title=title, xticks=[], yticks=[])
