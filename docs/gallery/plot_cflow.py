"""
CFLOW on a drawn plate
======================

CFLOW learns the density of single feature vectors, given their positions in the image. This suits products that always
lie in the same place, such as this drawn metal plate with holes.
"""

import tempfile

import matplotlib.pyplot as plt
import torch

from anomalib_flows import TrainConfig, load, read_image, train
from anomalib_flows.core.types import NORMAL

# %%
# Train
# -----
#
# The training is short and the images are small, so that it takes seconds.

config = TrainConfig.from_dict(
    {
        "model": "cflow",
        "data": {"class_path": "synthetic", "init_args": {"category": "plate"}},
        "image": {"size": 160},
        "trainer": {"max_steps": 30},
        "false_alarm_rate": 0.1,
        "pictures": 0,
        "output": tempfile.mkdtemp(),
    }
)
run = train(config)
metrics = run.metrics()
print(f"image AUROC {metrics['image']['auroc']:.3f}, pixel AUROC {metrics['pixel']['auroc']:.3f}")

# %%
# What it marks
# -------------

pipeline = load(run.model_file)
tested = {s.defect: s for s in config.data.build("datasets").samples() if s.split == "test"}
kinds = sorted(tested, key=lambda kind: (kind != "good", kind))
figure, rows = plt.subplots(2, len(kinds), figsize=(12, 4.4), layout="constrained")
for column, kind in enumerate(kinds):
    image = read_image(tested[kind].path)
    prediction = pipeline(image[None])
    rows[0, column].imshow(image.permute(1, 2, 0).byte())
    rows[0, column].set_title(kind.replace("_", " "))
    rows[1, column].imshow(pipeline.postprocess.normalise(prediction.maps)[0, 0], vmin=0, vmax=1, cmap="inferno")
    score = pipeline.postprocess.normalise_scores(prediction.scores).item()
    rows[1, column].set_title(f"score {score:.2f}")
for axes in rows.flat:
    axes.set(xticks=[], yticks=[])

# %%
# The same features at another place
# ----------------------------------
#
# Take the feature vector at one position of a good photo, and ask how probable it would be at every position. Where the
# plate looks like that, it is expected. Elsewhere it is not: there the same pixels would be an anomaly.

detector = pipeline.detector
sample = next(s for s in config.data.build("datasets").samples() if s.label == NORMAL)
image = read_image(sample.path)
flow = detector.flows[0]
with torch.no_grad():
    features = detector.norms[0](pipeline.features(pipeline.preprocess.resize(image[None]))[0])[0]
channels, height, width = features.shape


def expected(row, column):
    """Return the log-density of one feature vector, per channel, at every position (h, w)."""
    vectors = features[:, row, column].expand(height * width, channels)
    with torch.no_grad():
        z, log_det = flow(vectors, flow.code.everywhere())
    return ((log_det - 0.5 * z.square().sum(1)) / channels).view(height, width)


places = [(1, 1), (height // 2, width // 2), (height // 2, 2)]
figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
axes[0].imshow(image.permute(1, 2, 0).byte(), extent=(-0.5, width - 0.5, height - 0.5, -0.5))
for number, (row, column) in enumerate(places, 1):
    axes[0].annotate(str(number), (column, row), color="red", fontsize=13, ha="center", va="center")
    axes[number].imshow(expected(row, column), cmap="viridis")
    axes[number].plot(column, row, "rx")
    axes[number].set_title(f"log-density of vector {number}")
for one in axes:
    one.set(xticks=[], yticks=[])
